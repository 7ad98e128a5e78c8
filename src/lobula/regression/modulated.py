r"""Circuits whose summed messages have a gain that changes in time, and own terms that may.

.. math:: y_i = k_i v_i + c_i + q_i I_i + \sum_m b_{im}\, \phi_m(v_i, t)
          + \gamma_i(t; a_i) \Big(o_i + \sum_j \theta_{ij}\, g_j(v_j)\Big)

Divided by the gain all neurons share the products of their messages again (`dense`); only the free columns and the
target differ. The parameters a of the gain are found by Gauss-Newton steps: their sensitivities times the summed
messages, :math:`\partial_a \gamma_i (o_i + \sum_j \theta_{ij} g_j)`, are further free columns, whose coefficients are
the steps; the weights are solved anew after each (variable projection, Golub & Pereyra 1973).
Those columns hold no noise of the target, so that the estimating equations are those of least squares with weights
:math:`1/\gamma^2`: consistent, and nearly efficient as long as the gain changes by no more than a factor of two or so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression.circuit import LinearCircuit
from lobula.regression.dense_curve import ColumnSums
from lobula.regression.gram import (
    BLOCK_FRAMES,
    CPU,
    NO_TERMS,
    Frames,
    MessageFunction,
    NeuronGrams,
    block_arrays,
    stimulated,
)
from lobula.regression.pair_grams import PairSums
from lobula.regression.ridge import solve

MOST_ASKED = 48
"""Neurons that are asked for what all have in common."""
LARGEST_STEP = 1.0
"""Of a parameter of the gain, in one step."""
SHORTER = 0.25
"""Factor on the step of a neuron whose misfit grew."""
SLACK = 1e-3
"""By how much a misfit may grow in a step: noise."""
DONE = 0.01
"""Of the logarithm of a misfit: it fell by no more."""
LEAST_STEP = 1e-3
"""Of a parameter: shorter ones are not tried for a neuron whose misfit grew."""


class Course(Protocol):
    """The gain of every neuron over a recording, as a function of parameters a (A, N)."""

    @property
    def n_gain(self) -> int:
        """A, parameters of a neuron."""
        ...

    @property
    def n_own(self) -> int:
        """K, own terms."""
        ...

    def moved(self, step: np.ndarray) -> Self:
        """The course with parameters changed by (A, N)."""
        ...

    def begin(self) -> np.ndarray:
        """State at the first frame."""
        ...

    def offset(self, circuit: LinearCircuit) -> np.ndarray:
        """(N,) what has the gain beside the summed messages, from the coefficients of the free columns."""
        ...

    def along(self, voltage: np.ndarray, state: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gain and its derivatives, (1 + A, T, N), own terms (K, T, N), and the state after frames (T, N)."""
        ...


C = TypeVar("C", bound=Course)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is fitted.

    Attributes:
        frames: a split of a recording, without trials.
        dt: time between frames [s].
        wiring: the graph.
        message: g, maps voltages (T, N) to messages (T, N).
        target: "observed" or "drift".
        every: every so-many-th frame counts.
        slope: the derivative of g by a parameter that all messages have in common, whose step is one more free column.
    """

    frames: Frames
    dt: float
    wiring: Wiring
    message: MessageFunction
    target: str
    every: int = 1
    slope: MessageFunction | None = None

    def thinned(self, most: int | None) -> "Problem":
        """With at most about that many frames, evenly over the recording."""
        n = self.frames.n_targets(self.target)
        return self if most is None else replace(self, every=max(1, -(-n // most)))


@dataclass(frozen=True, eq=False)
class Products:
    """One pass over the frames.

    Attributes:
        grams: products of the divided equations.
        misfit: (N,) mean square of what the equations with the given coefficients leave [a.u.^2/s^2].
        gain: (N,) mean gain.
        log_gain: (N,) mean of its logarithm.
        with_columns: per neuron (p, p) products with further columns before the others, if there are any.
    """

    grams: NeuronGrams
    misfit: np.ndarray
    gain: np.ndarray
    log_gain: np.ndarray
    with_columns: list[np.ndarray | None] | None = None


def products(
    problem: Problem,
    course: Course,
    circuit: LinearCircuit | None,
    columns: Callable[[np.ndarray], np.ndarray] | None = None,
    n_columns: int = 0,
) -> Products:
    """Products of the divided equations.

    Args:
        problem: what is fitted.
        course: gain and own terms.
        circuit: whose messages the sensitivities are for; without one they are 0.
        columns: further columns (T, Q, K) of the Q neurons that have inputs, at voltages (T, N).
        n_columns: K.
    """
    wiring, n, total = problem.wiring, problem.wiring.n_neurons, 0
    n_given = course.n_own + course.n_gain + (problem.slope is not None)
    sums = PairSums(wiring, CPU, NO_TERMS, n_given)
    beside = None if columns is None else ColumnSums(wiring, n_columns, n_given)
    matrix = None if circuit is None else wiring.csr(circuit.theta)
    state, has_stimulus = course.begin(), np.zeros(n, dtype=bool)
    found = {name: np.zeros(n) for name in ("misfit", "gain", "log_gain", "mean", "square")}
    last = problem.frames.n_targets(problem.target)
    for start in range(0, last, BLOCK_FRAMES):
        span = slice(start, min(start + BLOCK_FRAMES, last))
        voltage, external, y = block_arrays(problem.frames, wiring, problem.target, span)
        gain, own, state = course.along(voltage.astype(np.float64), state, problem.dt)
        kept = slice(-start % problem.every, None, problem.every)
        voltage, y, gain, own = voltage[kept], y[kept].astype(np.float64), gain[:, kept], own[:, kept]
        if not len(voltage):
            continue
        external = None if external is None else external[kept]
        has_stimulus = stimulated(wiring, external is not None)
        messages = np.asarray(problem.message(voltage), dtype=np.float64)
        summed = np.zeros_like(y) if matrix is None else (matrix @ messages.T).T
        scaled = summed if circuit is None else summed + course.offset(circuit)
        inputs = np.zeros_like(y) if external is None else external.astype(np.float64)
        steps = [*(gain[1:] * scaled)]
        if problem.slope is not None:
            steps.append(np.zeros_like(y) if matrix is None else gain[0] * (matrix @ problem.slope(voltage).T).T)
        free = np.stack([voltage, gain[0], inputs, *own, *steps, y])
        if circuit is not None:
            found["misfit"] += np.square(y - predicted(circuit, free, gain[0] * summed, course.n_own)).sum(0)
        rows = np.ascontiguousarray((free / gain[0]).transpose(2, 0, 1))
        sums.add_rows(messages, rows, external is not None)
        if beside is not None and columns is not None:
            beside.add(messages, columns(voltage), rows)
        found["gain"] += gain[0].sum(0)
        found["log_gain"] += np.log(gain[0]).sum(0)
        found["mean"] += messages.sum(0)
        found["square"] += np.square(messages).sum(0)
        total += len(voltage)
    misfit, mean_gain, log_gain, mean, square = (found[name] / total for name in found)
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    pairs = sums.grams(has_stimulus)
    grams = NeuronGrams(pairs, total, has_stimulus, mean, std, wiring.pre, n_given)
    return Products(grams, misfit, mean_gain, log_gain, None if beside is None else beside.grams(pairs))


def predicted(circuit: LinearCircuit, free: np.ndarray, summed: np.ndarray, n_own: int) -> np.ndarray:
    """(T, N) dv/dt from the free columns (M, T, N) of `products` and summed messages with their gain."""
    own = np.einsum("nk,ktn->tn", circuit.own_gain[:, :n_own], free[3 : 3 + n_own])
    return circuit.k * free[0] + circuit.c * free[1] + circuit.q * free[2] + own + summed


def settled_course(problem: Problem, course: C, n_rounds: int, floor: float = 0.0) -> C:
    """The course after Gauss-Newton steps, each neuron as far as its misfit falls; all else is solved anew every time.

    Args:
        problem: what is fitted.
        course: where to begin.
        n_rounds: steps at most.
        floor: lower bound on lambda / n_frames.
    """
    n = problem.wiring.n_neurons
    step, size, misfit = np.zeros((course.n_gain, n)), np.zeros(n), np.full(n, np.inf)
    for _ in range(n_rounds + 1):
        tried = course.moved(size * step)
        circuit = solve(products(problem, tried, None).grams, problem.wiring, floor=floor)
        found = products(problem, tried, circuit)
        better = found.misfit <= (1.0 + SLACK) * misfit
        course = course.moved(np.where(better, size * step, 0.0))
        fell = np.where(better, np.log(misfit / np.maximum(found.misfit, 1e-300)), 0.0)
        misfit = np.where(better, found.misfit, misfit)
        columns = slice(course.n_own, course.n_own + course.n_gain)
        step = np.where(better, solve(found.grams, problem.wiring, floor=floor).own_gain[:, columns].T, step)
        largest = np.maximum(np.abs(step).max(0), 1e-300)
        size = np.where(better, np.minimum(1.0, LARGEST_STEP / largest), SHORTER * size)
        if (np.where(better, fell < DONE, size * largest < LEAST_STEP)).mean() > 0.99:
            break
    return course


def fed_sample(wiring: Wiring, most: int = MOST_ASKED) -> np.ndarray:
    """(N,) bool, some of the neurons that have inputs, spread over all."""
    fed, asked = np.flatnonzero(wiring.in_degree > 0), np.zeros(wiring.n_neurons, dtype=bool)
    asked[fed[np.linspace(0, len(fed) - 1, min(len(fed), most)).astype(int)]] = True
    return asked
