"""Message functions as tables: a network evaluated once on a grid per neuron, then interpolated at every frame."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lobula.regression.gram import MessageFunction
from lobula.regression.threads import in_parallel

N_POINTS = 513
MARGIN = 0.02
BLOCK = 1 << 16
"""Values looked up at a time."""
NEURONS = 256
"""Among them, at least, if there are so many: their tables stay in the cache, too."""


@dataclass(frozen=True)
class NeuronCurves:
    """One piecewise-linear curve per neuron on its own even grid, or one for all, continued with the end slopes.

    Attributes:
        low: (N,) or (1,) first grid point of each neuron [a.u.].
        step: (N,) or (1,) grid spacing [a.u.].
        table: (K, N) or (K, 1) messages on the grid [a.u.].
    """

    low: np.ndarray
    step: np.ndarray
    table: np.ndarray

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What it consists of, by name."""
        return {"low": self.low, "step": self.step, "table": self.table}

    @cached_property
    def _by_neuron(self) -> np.ndarray:
        """The table neuron by neuron, flat: both ends of an interval lie side by side."""
        return np.ascontiguousarray(self.table.T).ravel()

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages (T, N) at voltages (T, N); a few neurons at a time, so that their tables stay in the cache."""
        (n_points, n_curves), (n_frames, n) = self.table.shape, voltage.shape
        wide = min(n, max(NEURONS, BLOCK // max(n_frames, 1)))
        long = BLOCK // max(wide, 1)
        n_long = -(-n_frames // long)
        first, table = np.arange(n_curves, dtype=np.intp) * n_points, self._by_neuron
        result = np.empty(voltage.shape, dtype=self.table.dtype)

        def look_up(tile: int) -> None:
            column, row = divmod(tile, n_long)
            block = slice(column * wide, (column + 1) * wide)
            part, neurons = (slice(row * long, (row + 1) * long), block), block if n_curves > 1 else slice(None)
            position = ((voltage[part] - self.low[neurons]) / self.step[neurons]).astype(table.dtype, copy=False)
            right = np.clip(position, 0, n_points - 2)
            index = right.astype(np.intp)
            position -= index
            index += first[neurons]
            left = np.take(table, index, mode="clip")
            index += 1
            np.take(table, index, out=right, mode="clip")
            right -= left
            right *= position
            np.add(left, right, out=result[part])

        in_parallel(look_up, -(-n // max(wide, 1)) * n_long)
        return result


def tabulate(
    message: MessageFunction, visited: tuple[np.ndarray, np.ndarray], n_points: int = N_POINTS
) -> NeuronCurves:
    """Tabulates a message function over the range that each neuron visits.

    A network costs the same for a grid point as for a frame, so 513 points replace any number of frames. The error is
    that of linear interpolation on 1/512 of a neuron's range.

    Args:
        message: (T, N) -> (T, N).
        visited: lowest and highest voltage of every neuron, each (N,) [a.u.]; see `Split.visited_range`.
        n_points: grid points per neuron.
    """
    low, high = (np.asarray(x, dtype=np.float64) for x in visited)
    span = np.maximum(high - low, 1e-3)
    low, span = low - MARGIN * span, (1 + 2 * MARGIN) * span
    grid = low + span * np.linspace(0, 1, n_points)[:, None]
    table = np.asarray(message(grid.astype(np.float32)), dtype=np.float32)
    return NeuronCurves(low.astype(np.float32), (span / (n_points - 1)).astype(np.float32), table)
