"""Frames that tell most about a message function, in memory: evenly spread ones, and those in which the outermost
neurons are farthest out."""

import numpy as np

from lobula.errors import ShapeError
from lobula.regression.gram import Frames

STRETCHES = 40
BLOCK_FRAMES = 500


class Chosen:
    """Some frames of a split.

    Every so-many-th frame, as neighbouring frames are nearly the same; and of each of a few stretches the frame in
    which a neuron is farthest out, for each of the neurons that reach the lowest and the highest voltages: bursts are
    short, and what messages are there only they tell.

    Args:
        frames: the split, read once.
        target: "observed" or "drift".
        most: about how many are spread evenly.
        lowest, highest: neurons that reach the lowest and the highest voltages.
    """

    def __init__(self, frames: Frames, target: str, most: int, lowest: np.ndarray, highest: np.ndarray) -> None:
        n, self.kind = frames.n_targets(target), target
        every, length = max(1, n // max(most, 1)), max(1, -(-n // STRETCHES))
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]] = []
        for first in range(0, n, length):
            last = min(first + length, n)
            spans = [(start, min(start + BLOCK_FRAMES, last)) for start in range(first, last, BLOCK_FRAMES)]
            voltage = np.concatenate([frames.voltage(*span) for span in spans])
            far = np.r_[voltage[:, lowest].argmin(0), voltage[:, highest].argmax(0)]
            kept = np.union1d(np.arange(-first % every, last - first, every), far)
            y = np.concatenate([frames.target(target, *span) for span in spans])
            stimulus = [part for span in spans if (part := frames.stimulus(*span)) is not None]
            rows.append((voltage[kept], y[kept], np.concatenate(stimulus)[kept] if stimulus else None))
        self._voltage, self._target = (np.concatenate([row[k] for row in rows]) for k in (0, 1))
        seen = [row[2] for row in rows if row[2] is not None]
        self._stimulus = np.concatenate(seen) if seen else None
        self.n_frames = len(self._voltage)

    def n_targets(self, kind: str) -> int:
        """All have a target."""
        return self.n_frames

    def voltage(self, start: int, stop: int) -> np.ndarray:
        """(T, N)."""
        return self._voltage[start:stop]

    def stimulus(self, start: int, stop: int) -> np.ndarray | None:
        """(T, H) or None."""
        return None if self._stimulus is None else self._stimulus[start:stop]

    def target(self, kind: str, start: int, stop: int) -> np.ndarray:
        """(T, N)."""
        if kind != self.kind:
            raise ShapeError(f"chosen frames: got target {kind}, expected {self.kind}, for which they were read")
        return self._target[start:stop]
