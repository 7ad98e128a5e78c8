r"""Short-term plasticity of the receiving neuron, found beside its weights.

.. math:: \dot v_i = k_i v_i + c_i + b_i \tanh v_i + p_i \sum_j \theta_{ij}\, g_j(v_j), \qquad
          \dot p_i = (1 - p_i) / \tau_i - \alpha_i\, p_i\, |v_i|

p_i is hidden, but given (tau_i, alpha_i) and its first value it follows from the recorded voltage of neuron i: the
Euler recursion that a simulation takes. The three are found as `modulated` says, as logarithms, from the best of a few
starts. The unit of p is known, p = 1 at rest, because p recovers towards it.
"""

from dataclasses import dataclass, replace

import numpy as np

from lobula.data.varying import Plasticity
from lobula.regression.circuit import LinearCircuit
from lobula.regression.edge_messages import inputs_of
from lobula.regression.modulated import Course, Problem, fed_sample, products, settled_course
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import solve

TAUS = (5.0, 30.0, 200.0)
"""Time constants that are tried first [s]."""
DEPRESSIONS = (0.3, 1.0, 4.0)
"""Values of alpha tau mean(abs(v)) that are tried first."""
FRAMES_PER_INPUT = 5
LEAST_FRAMES = 2_000
N_ROUNDS = 25
AT_ONCE = 50
"""Frames whose plasticity is computed at a time."""
LEAST_KEPT = 1e-3
"""Share of p that a step leaves: no product of 50 of them is 0."""
N_LAST = 3
"""Rounds with all frames."""
STUCK = 1.0
"""Of `score_of`: a neuron that leaves so much more than the middle one is tried from other starts."""


@dataclass(frozen=True, eq=False)
class PlasticCourse:
    """p of every neuron over a recording.

    Attributes:
        log_rate: (N,) of 1 / tau [1/s].
        log_alpha: (N,) [1/(a.u. s)].
        log_start: (N,) of p at the first frame.
        own: terms of a neuron's own voltage.
        known: whether tau and alpha are given, and only the first value is found.
    """

    log_rate: np.ndarray
    log_alpha: np.ndarray
    log_start: np.ndarray
    own: OwnTerms
    known: bool = False

    @property
    def n_gain(self) -> int:
        """A."""
        return 1 if self.known else 3

    @property
    def n_own(self) -> int:
        """K: the constant, and own terms."""
        return 1 + self.own.n_terms

    @property
    def numbers(self) -> np.ndarray:
        """(3 N,) log_rate, log_alpha, log_start."""
        return np.concatenate([self.log_rate, self.log_alpha, self.log_start])

    def moved(self, step: np.ndarray) -> "PlasticCourse":
        """Changed by (A, N)."""
        if self.known:
            return replace(self, log_start=self.log_start + step[0])
        return replace(
            self,
            log_rate=self.log_rate + step[0],
            log_alpha=self.log_alpha + step[1],
            log_start=self.log_start + step[2],
        )

    def begin(self) -> np.ndarray:
        """(4, N) p and its derivatives by the three parameters, at the first frame."""
        start = np.exp(self.log_start)
        return np.stack([start, np.zeros_like(start), np.zeros_like(start), start])

    def offset(self, circuit: LinearCircuit) -> np.ndarray:
        """(N,) coefficient of p: that of the constant has 1 - p."""
        return circuit.c - circuit.own_gain[:, 0]

    def along(self, voltage: np.ndarray, state: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(1 + A, T, N), (K, T, N) and the state after."""
        rate, alpha = dt * np.exp(self.log_rate), dt * np.exp(self.log_alpha)
        depressed = alpha * np.abs(voltage)
        kept = np.maximum(1.0 - rate - depressed, LEAST_KEPT)
        values = np.empty((4, *voltage.shape))
        for start in range(0, len(voltage), AT_ONCE):
            span = slice(start, start + AT_ONCE)
            p, after = recursion(kept[span], np.broadcast_to(rate, kept[span].shape), state[0])
            sources = rate * (1.0 - p), -depressed[span] * p, np.zeros_like(p)
            slopes, ends = zip(
                *(recursion(kept[span], *pair) for pair in zip(sources, state[1:], strict=True)), strict=True
            )
            values[:, span], state = np.stack([p, *slopes]), np.stack([after, *ends])
        gain = values[[0, 3]] if self.known else values
        own = np.concatenate([1.0 - gain[:1], self.own(voltage.T).transpose(0, 2, 1)])
        return gain, own, state


def recursion(kept: np.ndarray, source: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x (T, N) with x(t + 1) = kept(t) x(t) + source(t) from its first value (N,), and the value after."""
    product = np.cumprod(kept, axis=0)
    after = product * (first + np.cumsum(source / product, axis=0))
    return np.concatenate([first[None], after[:-1]]), after[-1]


def fit_plastic(
    problem: Problem, own: OwnTerms, max_frames: int | None = None, known: tuple[np.ndarray, np.ndarray] | None = None
) -> LinearCircuit:
    """Circuit and plasticity of every neuron.

    Args:
        problem: what is fitted.
        own: terms of a neuron's own voltage.
        max_frames: frames used at most, evenly over the recording.
        known: tau (N,) [s] and alpha (N,), if they are.
    """
    fewer = few_frames(problem)
    whole = problem.thinned(max_frames)
    size = mean_size(problem)
    course = best_start(fewer, own, size)[1] if known is None else course_of(*known, size, own, known=True)
    if known is None or fewer.every > whole.every:
        course = settled_course(fewer, course, N_ROUNDS)
    if known is None:
        course = freed(fewer, course, size)
    return finished(whole, settled_course(whole, course, N_LAST if fewer.every > whole.every else N_ROUNDS))


def freed(problem: Problem, course: PlasticCourse, size: np.ndarray) -> PlasticCourse:
    """The course, where neurons that leave much more than most have been settled from every start of `best_start`, and
    from the middle of all, too; each keeps what leaves least.

    Args:
        problem: what is fitted.
        course: settled.
        size: (N,) mean of abs(v) [a.u.].
    """
    wiring, left = problem.wiring, score_of(problem, course)
    fed, ones = wiring.in_degree > 0, np.ones(len(size))
    stuck = fed & (left > np.median(left[fed]) + STUCK)
    if not stuck.any():
        return course
    part = replace(problem, wiring=inputs_of(wiring, stuck))
    middle = (np.exp(-np.median(course.log_rate[fed])), np.exp(np.median(course.log_alpha[fed])))
    starts = [course_of(middle[0] * ones, middle[1] * ones, size, course.own)]
    starts += [course_of(t * ones, d / (t * size), size, course.own) for t in TAUS for d in DEPRESSIONS]
    for start in starts:
        tried = settled_course(part, start, N_ROUNDS)
        now = score_of(part, tried)
        better = stuck & (now < left)
        left = np.where(better, now, left)
        course = replace(
            course,
            log_rate=np.where(better, tried.log_rate, course.log_rate),
            log_alpha=np.where(better, tried.log_alpha, course.log_alpha),
            log_start=np.where(better, tried.log_start, course.log_start),
        )
    return course


def few_frames(problem: Problem) -> Problem:
    """The problem with as many frames as a first fit needs."""
    return problem.thinned(max(LEAST_FRAMES, FRAMES_PER_INPUT * problem.wiring.n_neurons))


def mean_size(problem: Problem) -> np.ndarray:
    """(N,) mean of abs(v) over the recording [a.u.]."""
    last, step = problem.frames.n_targets(problem.target), 2_000
    total = np.zeros(problem.wiring.n_neurons)
    for start in range(0, last, step):
        total += np.abs(problem.frames.voltage(start, min(start + step, last))).sum(0, dtype=np.float64)
    return np.maximum(total / last, 1e-6)


def course_of(
    tau: np.ndarray, alpha: np.ndarray, size: np.ndarray, own: OwnTerms, known: bool = False
) -> PlasticCourse:
    """The course from tau and alpha (N,), with p settled at the mean size of the voltage (N,)."""
    return PlasticCourse(-np.log(tau), np.log(alpha), -np.log1p(alpha * tau * size), own, known)


def best_start(
    problem: Problem,
    own: OwnTerms,
    size: np.ndarray,
    taus: tuple[float, ...] = TAUS,
    depressions: tuple[float, ...] = DEPRESSIONS,
) -> tuple[float, PlasticCourse]:
    """Of a few time constants and strengths, one for all neurons, those that leave least of some neurons' equations.

    Args:
        problem: what is fitted.
        own: terms of a neuron's own voltage.
        size: (N,) mean of abs(v) [a.u.].
        taus: time constants [s].
        depressions: values of alpha tau mean(abs(v)).

    Returns:
        Mean of `score_of` those neurons, and the course.
    """
    asked = fed_sample(problem.wiring)
    some = replace(problem, wiring=inputs_of(problem.wiring, asked))
    courses = [course_of(np.full(len(size), tau), d / (tau * size), size, own) for tau in taus for d in depressions]
    scores = [float(score_of(some, course)[asked].mean()) for course in courses]
    best = int(np.argmin(scores))
    return scores[best], courses[best]


def score_of(problem: Problem, course: Course) -> np.ndarray:
    """(N,) log of what the equations leave with a course, per unit of the target."""
    found = products(problem, course, None)
    return np.log(np.maximum(solve(found.grams, problem.wiring).residual_std, 1e-12)) + found.log_gain


def finished(problem: Problem, course: PlasticCourse) -> LinearCircuit:
    """The circuit with the plasticity of a course."""
    found = products(problem, replace(course, known=True), None)
    circuit = solve(found.grams, problem.wiring)
    plasticity = Plasticity(
        tau=np.exp(-course.log_rate),
        alpha=np.exp(course.log_alpha),
        start=np.exp(course.log_start),
        level=found.gain,
        offset=circuit.c - circuit.own_gain[:, 0],
    )
    return replace(
        circuit,
        c=circuit.own_gain[:, 0],
        own_gain=circuit.own_gain[:, 1 : course.n_own],
        residual_std=circuit.residual_std * np.exp(found.log_gain),
        varying=plasticity,
    )
