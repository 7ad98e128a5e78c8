"""Every so-many-th frame of a recording: neighbouring frames are nearly the same and say little twice."""

import numpy as np

from lobula.regression.gram import Frames


class Thinned:
    """A split of which every so-many-th frame is seen.

    Args:
        frames: the split.
        every: 1 for all frames.
    """

    def __init__(self, frames: Frames, every: int) -> None:
        self.frames, self.every = frames, every
        self.n_frames = -(-frames.n_frames // every)

    @classmethod
    def to(cls, frames: Frames, target: str, most: int) -> "Thinned":
        """At most about that many frames, evenly over the recording."""
        return cls(frames, max(1, frames.n_targets(target) // max(most, 1)))

    def n_targets(self, kind: str) -> int:
        """Frames that are seen and have a target."""
        return -(-self.frames.n_targets(kind) // self.every)

    def voltage(self, start: int, stop: int) -> np.ndarray:
        """(T, N)."""
        return self.frames.voltage(*self._range(start, stop))[:: self.every]

    def stimulus(self, start: int, stop: int) -> np.ndarray | None:
        """(T, H) or None."""
        rows = self.frames.stimulus(*self._range(start, stop))
        return None if rows is None else rows[:: self.every]

    def target(self, kind: str, start: int, stop: int) -> np.ndarray:
        """(T, N)."""
        return self.frames.target(kind, *self._range(start, stop))[:: self.every]

    def _range(self, start: int, stop: int) -> tuple[int, int]:
        return start * self.every, (stop - 1) * self.every + 1
