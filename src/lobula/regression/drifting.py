r"""Parameters that drift with one period for all neurons, found beside the weights.

.. math:: \dot v_i = k_i(t) v_i + c_i(t) + b_i(t) \tanh v_i + \gamma_i(t) \sum_j \theta_{ij}\, g_j(v_j), \qquad
          x(t) = x + x_1 (1 - \cos\omega t) + x_2 \sin\omega t

All coefficients are those at the first frame, t = 0, where the gain is 1. Leak, offset and self-excitation are linear:
own terms times the waves. The gain is found as `modulated` says, and the period, if it is not known, by how little the
equations of some neurons leave: of a few, then refined with a gain of first order, and once more with the gain found.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from lobula.data.varying import Drift, waves
from lobula.regression.circuit import LinearCircuit
from lobula.regression.edge_messages import inputs_of
from lobula.regression.modulated import Problem, fed_sample, products, settled_course
from lobula.regression.own_terms import NoTerms, OwnTerms, TanhTerm
from lobula.regression.ridge import solve

PERIODS = 2.0 ** np.arange(-4.0, 4.01, 0.5)
"""Of the length of the recording: periods that are tried first."""
PERIOD_TOLERANCE = 1e-6
"""Of the logarithm of the period."""
AROUND = 0.02
"""Of the logarithm of the period: how far it may move once the gain is known."""
FRAMES_PER_INPUT = 5
LEAST_FRAMES = 2_000
N_ROUNDS = 15
N_LAST = 2
LEAST_GAIN = 0.05
"""A gain stays above."""


@dataclass(frozen=True, eq=False)
class DriftCourse:
    """Gain and own terms of every neuron over a recording.

    Attributes:
        period: of the drift [s].
        gain: (2, N) coefficients of the waves in the gain.
        own: what a neuron does by itself beside its leak: nothing or tanh.
    """

    period: float
    gain: np.ndarray
    own: OwnTerms
    n_gain: int = 2

    @property
    def n_own(self) -> int:
        """K: own terms, and leak, constant and own terms times two waves."""
        return self.own.n_terms + 2 * (2 + self.own.n_terms)

    @property
    def numbers(self) -> np.ndarray:
        """(1 + 2 N,) period and gain."""
        return np.append(self.period, self.gain)

    def moved(self, step: np.ndarray) -> "DriftCourse":
        """Changed by (2, N)."""
        return replace(self, gain=self.gain + step)

    def begin(self) -> np.ndarray:
        """(1,) time 0."""
        return np.zeros(1)

    def offset(self, circuit: LinearCircuit) -> np.ndarray:
        """(N,) coefficient of the gain."""
        return circuit.c

    def along(self, voltage: np.ndarray, state: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(3, T, N), (K, T, N) and the time after."""
        swing = np.stack(waves(state + dt * np.arange(len(voltage)), self.period))
        slopes = np.broadcast_to(swing[:, :, None], (2, *voltage.shape))
        gain = np.maximum(1.0 + np.einsum("wt,wn->tn", swing, self.gain), LEAST_GAIN)
        still = self.own(voltage.T).transpose(0, 2, 1)
        moving = np.concatenate([voltage[None], np.ones((1, *voltage.shape)), still])
        own = np.concatenate([still, *(wave[:, None] * moving for wave in swing)])
        return np.concatenate([gain[None], slopes]), own, state + dt * len(voltage)


def fit_drifting(
    problem: Problem, own: NoTerms | TanhTerm, max_frames: int | None = None, period: float | None = None
) -> LinearCircuit:
    """Circuit and drift of every neuron.

    Args:
        problem: what is fitted.
        own: nothing, or tanh.
        max_frames: frames used at most, evenly over the recording.
        period: [s], if it is known.
    """
    fewer = problem.thinned(max(LEAST_FRAMES, FRAMES_PER_INPUT * problem.wiring.n_neurons))
    whole = problem.thinned(max_frames)
    still = np.zeros((2, problem.wiring.n_neurons))
    course = DriftCourse(first_period(fewer, own) if period is None else period, still, own)
    if period is None:
        course = settled_course(fewer, course, N_ROUNDS)
        course = replace(course, period=refined_period(fewer, course, AROUND))
    if fewer.every > whole.every:
        course = settled_course(fewer, course, N_ROUNDS)
    return finished(whole, settled_course(whole, course, N_ROUNDS if fewer.every <= whole.every else N_LAST))


def first_period(problem: Problem, own: NoTerms | TanhTerm) -> float:
    """The period [s] that leaves least of some neurons' equations, of a few and what lies between."""
    best = best_period(problem, own)[1]
    return refined_period(problem, best, float(np.log(PERIODS[1] / PERIODS[0])))


def best_period(problem: Problem, own: NoTerms | TanhTerm, period: float | None = None) -> tuple[float, DriftCourse]:
    """Of a few periods, or of the one [s] that is known, that which leaves least: `left`, and the course."""
    length, still = problem.dt * problem.frames.n_targets(problem.target), np.zeros((2, problem.wiring.n_neurons))
    periods = length * PERIODS if period is None else [period]
    courses = [DriftCourse(float(one), still, own) for one in periods]
    scores = [left(problem, course) for course in courses]
    return min(scores), courses[int(np.argmin(scores))]


def refined_period(problem: Problem, course: DriftCourse, around: float, tolerance: float = PERIOD_TOLERANCE) -> float:
    """The best period [s] around that of a course; (+-) ``around`` in its logarithm, to a ``tolerance`` of that."""

    def misfit(log_ratio: float) -> float:
        return left(problem, replace(course, period=course.period * float(np.exp(log_ratio))))

    found = minimize_scalar(misfit, bounds=(-around, around), method="bounded", options={"xatol": tolerance})
    return course.period * float(np.exp(found.x))


def left(problem: Problem, course: DriftCourse) -> float:
    """Mean log of what some neurons' equations leave, with the best gain close to that of the course."""
    asked = fed_sample(problem.wiring)
    some = replace(problem, wiring=inputs_of(problem.wiring, asked))
    constant = solve(products(some, course, None).grams, some.wiring)
    found = products(some, course, constant)
    fitted = solve(found.grams, some.wiring)
    return float((np.log(np.maximum(fitted.residual_std, 1e-12)) + found.log_gain)[asked].mean())


def finished(problem: Problem, course: DriftCourse) -> LinearCircuit:
    """The circuit at the first frame, with the drift of a course."""
    found = products(problem, course, None)
    circuit = solve(found.grams, problem.wiring)
    n = course.own.n_terms
    still, moving = circuit.own_gain[:, :n], circuit.own_gain[:, n : course.n_own]
    first, second = moving[:, : 2 + n].T, moving[:, 2 + n :].T
    tanh = np.stack([first[2], second[2]]) if n else np.zeros((2, len(circuit.k)))
    drift = Drift(
        period=np.array([course.period]),
        k=np.stack([first[0], second[0]]),
        c=np.stack([first[1], second[1]]) + circuit.c * course.gain,  # what is constant is divided by the gain, too
        tanh=tanh,
        gain=course.gain,
    )
    residual_std = circuit.residual_std * np.exp(found.log_gain)
    return replace(circuit, own_gain=still, residual_std=residual_std, varying=drift)
