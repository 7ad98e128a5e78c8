"""A message function of both ends of an edge as a table, bilinear between its points."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PairTable:
    """g(target voltage, source voltage) on an even grid, continued with the slopes at its border.

    Attributes:
        target: (M,) voltages of the target [a.u.].
        source: (K,) voltages of the source [a.u.].
        values: (M, K) messages [a.u.].
    """

    target: np.ndarray
    source: np.ndarray
    values: np.ndarray

    def on_edges(self, source: np.ndarray, target: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        """(T, E) messages on edges with ends (E,), with the sources at voltages (T, N) and the targets at others."""
        row, down = (part[:, post] for part in _place(self.target, target))
        column, right = (part[:, pre] for part in _place(self.source, source))
        flat = self.values.ravel()
        corner = row * len(self.source) + column
        top = flat[corner] + right * (flat[corner + 1] - flat[corner])
        corner += len(self.source)
        bottom = flat[corner] + right * (flat[corner + 1] - flat[corner])
        return top + down * (bottom - top)

    def changed(self, offset: float, leak: float, scale: float) -> "PairTable":
        """(g - offset - leak v_target) / scale."""
        return PairTable(self.target, self.source, (self.values - offset - leak * self.target[:, None]) / scale)


def _place(axis: np.ndarray, voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval (int) of every voltage and the position in it, 0..1 inside the grid."""
    position = (voltage - axis[0]) / (axis[1] - axis[0])
    index = np.clip(position.astype(np.int64), 0, len(axis) - 2)
    return index, (position - index).astype(np.float32)
