r"""Messages :math:`g(v_j / t_i)` of a known shape g, with a width t of every receiving neuron that is not known.

Every equation is solved for a few widths, one for all neurons at a time; each neuron takes the width that leaves least.
Neurons with the same width are a group (a cell type, if the circuit has types). The width of a group is refined by
Gauss-Newton steps beside the plasticity: :math:`p_i \sum_j \theta_{ij}\, \partial_{\log t}\, g(v_j / t)` is one more
free column, and the median over the group's neurons is the step. Groups that meet become one.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lobula.data.split import Split
from lobula.data.wiring import Wiring
from lobula.errors import StoreError
from lobula.regression.edge_messages import GroupMessages, MessageFunction, inputs_of
from lobula.regression.modulated import Problem, fed_sample, products, settled_course
from lobula.regression.own_terms import OwnTerms
from lobula.regression.plasticity import PlasticCourse, best_start, few_frames, mean_size, score_of
from lobula.regression.ridge import solve

WIDTHS = 2.0 ** np.arange(-1.0, 4.01)
"""That are tried first [a.u.]."""
TAUS, DEPRESSIONS = (10.0, 100.0), (0.5, 3.0)
"""Starts of the plasticity, see `plasticity.best_start`."""
CLOSE = 1.2
"""Ratio of neighbouring widths up to which they are of one group."""
SPACING = 1e-3
"""Of the logarithm of a width: difference that a derivative is taken over."""
N_ROUNDS = 4
N_STEPS = 8
LONGEST = 0.3
LEAST_STEP = 1e-7


@dataclass(frozen=True, eq=False)
class Widths:
    """Groups of receiving neurons and their widths.

    Attributes:
        group: (N,) group of every neuron, 0 .. R-1.
        width: (R,) [a.u.].
    """

    group: np.ndarray
    width: np.ndarray

    def messages(self, shape: MessageFunction) -> GroupMessages:
        """Messages of every group, for the shape g."""
        return GroupMessages(self.group, [scaled(shape, float(width)) for width in self.width])

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with path.open("wb") as file:
            np.savez(file, group=self.group, width=self.width)

    @classmethod
    def load(cls, path: Path) -> "Widths":
        """Reads what `save` wrote.

        Raises:
            StoreError: if it is truncated or not there.
        """
        try:
            with np.load(path) as arrays:
                return cls(arrays["group"], arrays["width"])
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"widths: {path} is truncated or not there ({type(error).__name__}); train again"
            ) from error


def scaled(shape: MessageFunction, width: float) -> MessageFunction:
    """v -> g(v / t), in the precision of v."""
    return lambda voltage: np.asarray(shape(voltage / voltage.dtype.type(width)))


def widening(shape: MessageFunction, width: float) -> MessageFunction:
    """v -> the derivative of g(v / t) by log t."""

    def slope(voltage: np.ndarray) -> np.ndarray:
        v = voltage.astype(np.float64)
        wide, narrow = (shape(v / (width * np.exp(step))) for step in (SPACING / 2, -SPACING / 2))
        return (wide - narrow) / SPACING

    return slope


def find_widths(frames: Split, wiring: Wiring, shape: MessageFunction, target: str, own: OwnTerms) -> Widths:
    """Groups of receivers and their widths, of a circuit with plasticity.

    Args:
        frames: a split of a recording, without trials.
        wiring: the known graph.
        shape: g, maps voltages over widths (T, N) to messages (T, N).
        target: "observed" or "drift".
        own: terms of every neuron's own voltage.
    """
    problem = few_frames(Problem(frames, frames.dt, wiring, shape, target))

    def of(width: float) -> Problem:
        return replace(problem, message=scaled(shape, width))

    size, asked = mean_size(problem), fed_sample(wiring)
    few = replace(problem, wiring=inputs_of(wiring, asked))
    starts = [best_start(replace(few, message=scaled(shape, w)), own, size, TAUS, DEPRESSIONS) for w in WIDTHS]
    start = min(starts, key=lambda pair: pair[0])[1]
    left = np.empty((len(WIDTHS), wiring.n_neurons))
    for row, width in zip(left, WIDTHS, strict=True):
        row[:] = score_of(of(width), settled_course(of(width), start, N_ROUNDS))
    group, width = grouped(WIDTHS[left.argmin(0)])
    for r in range(len(width)):
        part = replace(problem, wiring=inputs_of(wiring, group == r))
        width[r] = refined(part, shape, float(width[r]), start, group == r)
    return Widths(*grouped(width[group]))


def grouped(widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) groups of neurons with close widths (N,), and the (R,) median of each."""
    order = np.argsort(widths, kind="stable")
    ratio = widths[order][1:] / widths[order][:-1]
    group = np.empty(len(widths), dtype=np.int64)
    group[order] = np.concatenate([[0], np.cumsum(ratio > CLOSE)])
    return group, np.array([np.median(widths[group == r]) for r in range(group.max() + 1)])


def refined(problem: Problem, shape: MessageFunction, width: float, start: PlasticCourse, members: np.ndarray) -> float:
    """The width of a group, (N,) bool members, after Gauss-Newton steps."""
    course = start
    for _ in range(N_STEPS):
        now = replace(problem, message=scaled(shape, width), slope=widening(shape, width))
        course = settled_course(now, course, N_ROUNDS)
        circuit = solve(products(now, course, None).grams, now.wiring)
        steps = solve(products(now, course, circuit).grams, now.wiring).own_gain[:, -1]
        step = float(np.clip(np.median(steps[members]), -LONGEST, LONGEST))
        width *= float(np.exp(step))
        if abs(step) < LEAST_STEP:
            break
    return width
