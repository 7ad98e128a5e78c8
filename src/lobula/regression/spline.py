r"""The spline rung: an unknown message function, shared by all neurons, found together with the circuit.

Variable projection: for a given curve g every neuron's equation is solved in closed form (`ridge`). The curve then
takes a Gauss-Newton step on the residual that those solutions leave,

.. math:: \min_{\delta} \sum_i w_i \, \| r_i - P_i^\perp M_i \delta \|^2, \qquad
          (M_i)_{tk} = \sum_j \theta_{ij}\, \phi_k(v_j(t))

with phi_k the hat functions of the knots, P_i^perp the projection off neuron i's own regressors and w_i its inverse
residual variance. It starts at g(v) = v and knows nothing of the true nonlinearity. Monotone curves have increments >=
0. Where noise is left and neurons have many inputs, `noisy_curve` takes over from there. Reference: Golub & Pereyra
(1973); Kaufman (1975), A variable projection method for separable nonlinear least squares.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.wiring import Wiring
from lobula.regression.curve import Curve, PiecewiseLinear, SmoothCurve, initial_knots
from lobula.regression.curve_step import SHORTEST, curve_step, misfit, settle_gauge, some_targets
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import NO_TERMS, Frames, MessageFunction, accumulate, frame_blocks
from lobula.regression.noisy_curve import LEAST_EQUATIONS, CurveProblem, evidence_curve
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import LinearCircuit, Solver, solve

if TYPE_CHECKING:
    from lobula.regression.curve_set import CurveSet, TypedFit
    from lobula.regression.own_curves import OwnFit

logger = logging.getLogger(__name__)

Shape = TypeVar("Shape", "Curve", "CurveSet")

FLOORS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 0.0)
"""Least lambda / n_frames of the first rounds: without noise, unbounded weights would make up for a wrong curve."""
FIRST_WIDTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of tanh, in standard deviations of the voltage: first curves to choose from, beside v and its rectifier."""
FIRST_FLOOR = 1e-5
SLOW = 0.02
"""Gain of a round, in mean log residual variance, below which knots are missing rather than rounds, if the last ones
brought more than this."""
MOST_KNOTS = 320
"""From which on none are added; below, as long as they bring so much: pieces of a line follow a curved function, as
saturation is, by the square of their length, and without noise nothing else is left. Products of all knots with each
other are kept for every equation, a gigabyte and a half for these."""
FURTHER_ROUNDS = 4
"""For each time."""
FRAMES_PER_WEIGHT = 20
"""Of a round, at least: with four, the weights of 1,000 inputs make up for a wrong curve."""


@dataclass(frozen=True)
class SplineFit:
    """A fitted circuit with its message function.

    Attributes:
        circuit: coefficients of every neuron.
        curve: the message function, with offset and scale by `settle_gauge`.
        visited: (2,) voltages between which 99.8 % of the recording lies: outside, the curve is an extrapolation.
        history: one row per round: mean log residual variance, number of knots, step taken; or, where the curve climbs
            the evidence, -2 log evidence per frame and equation.
        own: circuit and functions where groups of neurons have their own; ``circuit`` and ``curve`` are then the start.
    """

    circuit: LinearCircuit
    curve: PiecewiseLinear
    visited: tuple[float, float]
    history: list[dict[str, float]] = field(default_factory=list)
    own: "OwnFit | TypedFit | None" = None


def fit_spline(
    frames: Frames,
    wiring: Wiring,
    target: str = "observed",
    n_knots: int = 40,
    n_rounds: int = 12,
    max_frames: int | None = None,
    curve_frames: int = 4000,
    curve_neurons: int = 1500,
    monotone: bool = True,
    tolerance: float = 1e-4,
    steps: KeptSteps = NOT_KEPT,
    own: OwnTerms = NO_TERMS,
    start: Literal["identity", "best"] = "identity",
    basis: Literal["linear", "cubic"] = "linear",
    solver: Solver = solve,
    curve_source: Frames | None = None,
) -> SplineFit:
    """Fits circuit and message function.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        target: "observed" or "drift".
        n_knots: knots to start with; as many are added where the slope changes, and to `MOST_KNOTS` while they help.
        n_rounds: most Gauss-Newton rounds, and `FURTHER_ROUNDS` each time that added knots have helped.
        max_frames: frames of the final solve (None: all).
        curve_frames: frames of each curve round, spread over the recording; more where neurons have many inputs.
        curve_neurons: equations that determine the curve (a random sample of the neurons that have inputs).
        monotone: keep g non-decreasing.
        tolerance: stop when the mean log residual variance improves by less per round.
        steps: keeps and shows rounds, whose score is the mean log residual variance.
        own: terms of every neuron's own voltage.
        start: the curve to start from: v, or the best of `first_curves`.
        basis: linear between knots, or cubic: closer to functions without a kink.
        solver: what solves for the circuit.
        curve_source: where the frames of curve rounds are from; None: stretches of ``frames``.
    """
    sample, part, source = voltage_sample(frames, target), some_targets(wiring, curve_neurons), curve_source or frames
    n_frames = max(curve_frames, FRAMES_PER_WEIGHT * part.n_edges // max(int((part.in_degree > 0).sum()), 1))

    def solved(message: MessageFunction, floor: float) -> LinearCircuit:
        return solver(accumulate(source, part, message, target, n_frames, own=own), part, floor=floor)

    def stepped(curve: Curve, circuit: Callable[[], LinearCircuit]) -> Curve:
        step = steps.once(lambda: curve_step(source, part, curve, circuit(), target, n_frames, monotone, own))
        return settle_gauge(curve.with_values(curve.values + step), sample)

    problem = CurveProblem(source, part, target, n_frames, own, monotone)
    trials, fed = first_curves(basis, initial_knots(sample, n_knots), float(sample.std()), start == "best"), problem.fed
    begun = best_start(trials, lambda trial: misfit(solved(trial, FIRST_FLOOR), fed), steps)
    curve, history = improved(begun, fed, solved, stepped, n_knots, n_rounds, tolerance, steps)
    curve = settle_gauge(curve, sample)
    alone = curve_source is None and solver is solve  # where types have functions of their own, misfit is no noise
    if alone and steps.once(problem.residual_misleads, partial(solved, curve, 0.0)):
        problem = replace(problem, wiring=some_targets(wiring, max(curve_neurons, LEAST_EQUATIONS)))
        curve, rows = evidence_curve(problem, [curve, begun], sample, n_rounds, steps, len(history))
        history += rows
    circuit = fit_circuit(frames, wiring, curve, target, max_frames, own=own, solver=solver)
    return SplineFit(circuit, curve.as_linear(), visited_between(sample), history)


def improved(
    curve: Shape,
    fed: np.ndarray,
    solved: Callable[[Shape, float], LinearCircuit],
    stepped: Callable[[Shape, Callable[[], LinearCircuit]], Shape],
    n_knots: int,
    n_rounds: int,
    tolerance: float,
    steps: KeptSteps = NOT_KEPT,
    first_floor: int = 0,
) -> tuple[Shape, list[dict[str, float]]]:
    """Gauss-Newton rounds, with steps that are shortened where they do not help and knots added on the way.

    Args:
        curve: where to start.
        fed: neurons whose equations count.
        solved: the circuit for a curve and a floor under lambda / n_frames.
        stepped: the curve after a whole Gauss-Newton step, which it keeps; the circuit is solved when it is called.
        n_knots: as in `fit_spline`.
        n_rounds: as in `fit_spline`.
        tolerance: as in `fit_spline`.
        steps: as in `fit_spline`.
        first_floor: which of `FLOORS` to start with.

    Returns:
        The best curve and one row per round.
    """
    history: list[dict[str, float]] = []
    best, best_score, step, level, direction = curve, np.inf, 1.0, first_floor, np.zeros(0)
    before, asked, round_ = np.inf, n_rounds, 0  # before: the score when knots were last added
    most_knots = MOST_KNOTS if isinstance(curve, PiecewiseLinear) else 0
    while round_ < n_rounds:
        circuit = cache(partial(solved, curve, FLOORS[level]))  # not called for what is kept
        score = float(steps.once(lambda here: misfit(here(), fed), circuit))
        row = {"round": round_, "score": score, "n_knots": curve.size, "step": step, "floor": FLOORS[level]}
        history.append(row)
        steps.on_round(round_, score)
        round_ += 1
        if score > best_score + tolerance:
            if step <= SHORTEST:
                break
            step *= 0.3
            curve = best.with_values(best.values + step * direction)
            continue
        gain, settled, whole = best_score - score, level >= len(FLOORS) - 1, curve.size >= 2 * n_knots
        more_pay = settled and before - score > SLOW and curve.size < most_knots
        slow = gain < (SLOW if more_pay or round_ > asked else tolerance)
        if slow and settled and whole and not more_pay:
            break
        best, best_score, step = curve, score, 1.0
        if slow and more_pay:
            n_rounds += FURTHER_ROUNDS
        if slow or round_ in (3, 5, 7):
            best, before = curve.refined(max(n_knots // 4, 2, curve.size // 3 if whole else 0)), score
        curve = stepped(best, circuit)
        direction = curve.values - best.values
        level, best_score = (level + 1, np.inf) if level < len(FLOORS) - 1 else (level, best_score)
    return best, history


def best_start(trials: list[Curve], score: Callable[[Curve], float], steps: KeptSteps) -> Curve:
    """The curve of least score, which is not asked for where there is one."""
    return trials[0] if len(trials) == 1 else trials[int(steps.once(lambda: np.argmin([score(t) for t in trials])))]


def first_curves(basis: str, knots: np.ndarray, scale: float, several: bool) -> list[Curve]:
    """v, its rectifier and tanh of several widths, or v alone, for voltages of standard deviation ``scale`` [a.u.]."""
    kind = SmoothCurve if basis == "cubic" else PiecewiseLinear
    curves: list[Curve] = [kind(knots, knots.copy()), kind(knots, np.maximum(knots, 0.0))]
    return curves + tanh_curves(basis, knots, scale * np.array(FIRST_WIDTHS)) if several else curves[:1]


def tanh_curves(basis: str, knots: np.ndarray, widths: np.ndarray) -> list[Curve]:
    """w tanh(v / w) of several widths w [a.u.]."""
    kind = SmoothCurve if basis == "cubic" else PiecewiseLinear
    return [kind(knots, np.tanh(knots / width) * width) for width in widths]


def visited_between(sample: np.ndarray) -> tuple[float, float]:
    """Voltages between which 99.8 % of a sample lie."""
    low, high = np.quantile(sample, [0.001, 0.999])
    return float(low), float(high)


def voltage_sample(frames: Frames, target: str, size: int = 200_000) -> np.ndarray:
    """(S,) voltages of all neurons, drawn from frames spread over the recording."""
    rows = [frames.voltage(span.start, span.stop)[::50].ravel() for span in frame_blocks(frames, target, 8000)]
    return np.random.default_rng(0).permutation(np.concatenate(rows))[:size].astype(np.float64)
