"""Message functions as tables: a network evaluated once on a grid per neuron, then interpolated at every frame."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lobula.regression.gram import Frames, MessageFunction

N_POINTS = 513
MARGIN = 0.02
BLOCK = 1 << 16
"""Values looked up at a time."""


@dataclass(frozen=True)
class NeuronCurves:
    """One piecewise-linear curve per neuron on its own even grid, continued with the end slopes.

    Attributes:
        low: (N,) first grid point of each neuron [a.u.].
        step: (N,) grid spacing [a.u.].
        table: (K, N) messages on the grid [a.u.].
    """

    low: np.ndarray
    step: np.ndarray
    table: np.ndarray

    @cached_property
    def _by_neuron(self) -> np.ndarray:
        """The table neuron by neuron, flat: both ends of an interval lie side by side."""
        return np.ascontiguousarray(self.table.T).ravel()

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages (T, N) at voltages (T, N); a few frames at a time, in buffers that stay in the cache."""
        n_points, n = self.table.shape
        rows = max(1, min(BLOCK // max(n, 1), len(voltage)))
        first = np.arange(n, dtype=np.intp) * n_points
        result = np.empty(voltage.shape, dtype=self.table.dtype)
        position, right = np.empty((2, rows, n), dtype=self.table.dtype)
        index = np.empty((rows, n), dtype=np.intp)
        for start in range(0, len(voltage), rows):
            v, left = voltage[start : start + rows], result[start : start + rows]
            p, r, k = position[: len(v)], right[: len(v)], index[: len(v)]
            np.divide(np.subtract(v, self.low, out=p), self.step, out=p)
            np.clip(p, 0, n_points - 2, out=r)
            np.copyto(k, r, casting="unsafe")
            p -= k
            k += first
            np.take(self._by_neuron, k, out=left, mode="clip")
            k += 1
            np.take(self._by_neuron, k, out=r, mode="clip")
            r -= left
            r *= p
            left += r
        return result


def visited_range(frames: Frames, block: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voltage of every neuron over all frames, each (N,) [a.u.]."""
    low = high = frames.voltage(0, 1)[0]
    for start in range(0, frames.n_frames, block):
        voltage = frames.voltage(start, min(start + block, frames.n_frames))
        low, high = np.minimum(low, voltage.min(0)), np.maximum(high, voltage.max(0))
    return low, high


def tabulate(
    message: MessageFunction, visited: tuple[np.ndarray, np.ndarray], n_points: int = N_POINTS
) -> NeuronCurves:
    """Tabulates a message function over the range that each neuron visits.

    A network costs the same for a grid point as for a frame, so 513 points replace any number of frames. The error is
    that of linear interpolation on 1/512 of a neuron's range.

    Args:
        message: (T, N) -> (T, N).
        visited: lowest and highest voltage of every neuron, each (N,) [a.u.]; see `visited_range`.
        n_points: grid points per neuron.
    """
    low, high = (np.asarray(x, dtype=np.float64) for x in visited)
    span = np.maximum(high - low, 1e-3)
    low, span = low - MARGIN * span, (1 + 2 * MARGIN) * span
    grid = low + span * np.linspace(0, 1, n_points)[:, None]
    table = np.asarray(message(grid.astype(np.float32)), dtype=np.float32)
    return NeuronCurves(low.astype(np.float32), (span / (n_points - 1)).astype(np.float32), table)
