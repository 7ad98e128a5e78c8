r"""The message function of a circuit that changes, found together with its weights and with what changes.

For a given curve g, weights and gains are found as `modulated` says. The curve then takes the Gauss-Newton step of
`curve_step` on what the divided equations leave, off their free columns, which hold the sensitivities of the gain, too:

.. math:: \min_\delta \sum_i w_i \, \| r_i / \gamma_i - P_i^\perp M_i \delta \|^2

so that what another course of the gain would explain as well is no reason to change the curve. The first curve is the
best of a few, each with the best of a few courses.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from lobula.config.regression import SplineConfig
from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.split import Split
from lobula.data.wiring import Wiring
from lobula.regression.circuit import LinearCircuit
from lobula.regression.curve import Curve, basis_of, initial_knots
from lobula.regression.curve_step import bounded_step, settle_gauge, some_targets, weighted_normal
from lobula.regression.dense_curve import basis_columns, equations_of
from lobula.regression.drifting import AROUND, DriftCourse, best_period, refined_period
from lobula.regression.modulated import Problem, products, settled_course
from lobula.regression.own_terms import NoTerms, OwnTerms, TanhTerm
from lobula.regression.plasticity import PlasticCourse, best_start, few_frames, mean_size
from lobula.regression.ridge import solve
from lobula.regression.spline import (
    FRAMES_PER_WEIGHT,
    SplineFit,
    first_curves,
    improved,
    visited_between,
    voltage_sample,
)
from lobula.regression.varying import Change, check_changing, fit_changing

COURSE_ROUNDS = 5
"""Steps of the gain for every curve, from where the last curve left it."""
PERIOD_TOLERANCE = 1e-4
"""Of the logarithm of a period, as long as the curve is not found."""

Start = tuple[Curve, PlasticCourse | DriftCourse]
"""A curve and the course of the gain to start from."""


@dataclass(frozen=True, eq=False)
class Search:
    """What a message function is searched with.

    Attributes:
        frames: a split of a recording, without trials.
        target: "observed" or "drift".
        change: what changes.
        own: terms of every neuron's own voltage.
        settings: section `spline`.
        sample: (S,) voltages of the recording [a.u.].
    """

    frames: Split
    target: str
    change: Change
    own: OwnTerms
    settings: SplineConfig
    sample: np.ndarray

    @classmethod
    def of(cls, frames: Split, target: str, change: Change, own: OwnTerms, settings: SplineConfig) -> "Search":
        """For a recording.

        Raises:
            ConfigError: if it consists of trials, or own terms and change do not go together.
        """
        check_changing(frames, change, own)
        return cls(frames, target, change, own, settings, voltage_sample(frames, target))

    def problem(self, wiring: Wiring, curve: Curve) -> Problem:
        """The equations of a graph, with as many frames as a first fit needs."""
        return few_frames(Problem(self.frames, self.frames.dt, wiring, curve, self.target))

    def first_curves(self) -> list[Curve]:
        """Those of section `spline`."""
        several, knots = self.settings.start == "best", initial_knots(self.sample, self.settings.n_knots)
        return first_curves(self.settings.basis, knots, float(self.sample.std()), several)

    def course(self, numbers: np.ndarray) -> PlasticCourse | DriftCourse:
        """A course from its numbers."""
        if self.change.kind == "plasticity":
            rate, alpha, start = numbers.reshape(3, -1)
            return PlasticCourse(rate, alpha, start, self.own)
        return DriftCourse(float(numbers[0]), numbers[1:].reshape(2, -1), self.own)

    def best_start(self, wiring: Wiring, curves: list[Curve], steps: KeptSteps) -> Start:
        """The best of some curves, each with the best of a few courses; kept."""
        size = mean_size(self.problem(wiring, curves[0]))

        def course_of(curve: Curve) -> tuple[float, PlasticCourse | DriftCourse]:
            problem = self.problem(wiring, curve)
            if self.change.kind == "plasticity":
                return best_start(problem, self.own, size)
            return best_period(problem, cast(NoTerms | TanhTerm, self.own), self.change.period)

        def best() -> np.ndarray:
            found = [course_of(curve) for curve in curves]
            first = int(np.argmin([score for score, _ in found]))
            return np.append(found[first][1].numbers, first)

        *numbers, first = steps.once(best)
        return curves[int(first)], self.course(np.array(numbers))


class Rounds:
    """The circuit for a curve, and the next curve; both go on from the gain that the last step started with.

    Args:
        search: what the curve is searched with.
        wiring: the graph, of the equations that count.
        course: gain to start from.
        steps: keeps the steps.
    """

    def __init__(self, search: Search, wiring: Wiring, course: PlasticCourse | DriftCourse, steps: KeptSteps) -> None:
        self._search, self._wiring, self._course, self._steps = search, wiring, course, steps
        self.fed = np.flatnonzero(wiring.in_degree > 0)
        settings, inputs = search.settings, int(wiring.in_degree[self.fed].mean()) if len(self.fed) else 0
        self._n_frames = max(settings.curve_frames, FRAMES_PER_WEIGHT * inputs)
        self._log_gain = np.zeros(wiring.n_neurons)

    def solved(self, curve: Curve, floor: float) -> LinearCircuit:
        """The circuit with what changes; lambda / n_frames is at least ``floor``."""
        problem, course = self._problem(curve), self._course
        if isinstance(course, DriftCourse) and self._search.change.period is None:
            few = self._search.problem(self._wiring, curve)
            course = replace(course, period=refined_period(few, course, AROUND, PERIOD_TOLERANCE))
        self._settled = settled_course(problem, course, COURSE_ROUNDS, floor)
        found = products(problem, self._settled, None)
        circuit = solve(found.grams, self._wiring, floor=floor)
        self._log_gain = found.log_gain
        return replace(circuit, residual_std=circuit.residual_std * np.exp(found.log_gain))

    def stepped(self, curve: Curve, circuit: Callable[[], LinearCircuit]) -> Curve:
        """The curve after a whole Gauss-Newton step, from the circuit that `solved` gave for it last."""
        kept = self._steps.once(lambda: self._step(curve, circuit()))
        step, course = np.split(kept, [curve.size])
        self._course = self._search.course(course)
        return settle_gauge(curve.with_values(curve.values + step), self._search.sample)

    def _step(self, curve: Curve, circuit: LinearCircuit) -> np.ndarray:
        """Of the curve (K,), and the numbers of the course that it was found with."""
        course, wiring = self._settled, self._wiring
        bases = [(basis_of(part), members) for part, members in curve.parts(wiring.n_neurons)]
        coefficients = equations_of(wiring, circuit.theta)

        def columns(voltage: np.ndarray) -> np.ndarray:
            return basis_columns(bases, voltage, coefficients)

        found = products(self._problem(curve), course, circuit, columns, curve.size)
        divided = replace(circuit, residual_std=circuit.residual_std * np.exp(-self._log_gain))
        normal, rhs = weighted_normal(found.with_columns or [], curve.size, divided, wiring, self.fed)
        return np.append(bounded_step(normal, rhs, [curve], self._search.settings.monotone), course.numbers)

    def _problem(self, curve: Curve) -> Problem:
        search = self._search
        whole = Problem(search.frames, search.frames.dt, self._wiring, curve, search.target)
        return whole.thinned(self._n_frames)


def found_curve(search: Search, wiring: Wiring, start: Start, steps: KeptSteps) -> tuple[Curve, list[dict[str, float]]]:
    """The message function of some equations, and one row per round.

    Args:
        search: what it is searched with.
        wiring: the graph of the equations that may be used.
        start: curve and course.
        steps: keeps and shows rounds, whose score is the mean log residual variance.
    """
    settings, part = search.settings, some_targets(wiring, search.settings.curve_neurons)
    rounds = Rounds(search, part, start[1], steps)
    curve, history = improved(
        start[0], rounds.fed, rounds.solved, rounds.stepped, settings.n_knots, settings.n_rounds, settings.tolerance,
        steps,
    )  # fmt: skip
    return settle_gauge(curve, search.sample), history


def fit_changing_spline(search: Search, wiring: Wiring, steps: KeptSteps = NOT_KEPT) -> SplineFit:
    """Circuit, message function of all neurons, and what changes.

    Args:
        search: what they are searched with.
        wiring: the known graph.
        steps: keeps and shows rounds, whose score is the mean log residual variance.
    """
    part = some_targets(wiring, search.settings.curve_neurons)
    curve, history = found_curve(search, part, search.best_start(part, search.first_curves(), steps), steps)
    circuit = fit_changing(
        search.frames, wiring, curve, search.change, search.target, search.settings.max_frames, search.own
    )
    return SplineFit(circuit, curve.as_linear(), visited_between(search.sample), history)
