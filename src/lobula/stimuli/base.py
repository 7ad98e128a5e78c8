"""What a stimulus is: clips that each come from their own random stream, so that any frame can be made on its own."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.data.streams import Streams


@dataclass(frozen=True)
class Scope:
    """Which movie of a family: the split that it is for, and where its randomness comes from.

    Attributes:
        streams: random streams of the root seed.
        split: name of the split; families that show files give every split files of its own.
        keys: names that set apart several movies of one split.
    """

    streams: Streams
    split: str
    keys: tuple[str, ...] = ()

    def generator(self, *keys: str | int) -> np.random.Generator:
        """A fresh generator at the start of the stream that the keys name."""
        return self.streams.generator("stimulus", self.split, *self.keys, *keys)

    def within(self, key: str) -> "Scope":
        """The scope of one of several movies."""
        return replace(self, keys=(*self.keys, key))


class ClipSource(Protocol):
    """One family of movies, cut into clips of equal length that know nothing of each other."""

    @property
    def n_columns(self) -> int:
        """Number of columns H."""
        ...

    @property
    def clip_frames(self) -> int:
        """Frames per clip."""
        ...

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """One clip.

        Args:
            index: number of the clip.
            generator: the only source of randomness, at the start of this clip's own stream.

        Returns:
            (clip_frames, H) float32 luminance in [0, 1].
        """
        ...


class Stimulus:
    """An endless movie for the eye, deterministic and with random access.

    Every clip has its own stream named by split and number. So the splits of a recording see different scenes, and
    a resumed simulation goes on with exactly the frames of an uninterrupted one.

    Args:
        source: makes the clips.
        scope: split and random streams.
    """

    def __init__(self, source: ClipSource, scope: Scope) -> None:
        self._source = source
        self._scope = scope
        self._last: tuple[int, np.ndarray] | None = None

    @property
    def n_columns(self) -> int:
        """Number of columns H."""
        return self._source.n_columns

    @property
    def clip_frames(self) -> int:
        """Frames per clip."""
        return self._source.clip_frames

    def frames(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, H) float32 luminance of the frames start..stop-1."""
        length = self.clip_frames
        result = np.empty((stop - start, self.n_columns), dtype=np.float32)
        for index in range(start // length, -(-stop // length)):
            low, high = max(start, index * length), min(stop, (index + 1) * length)
            result[low - start : high - start] = self._clip(index)[low - index * length : high - index * length]
        return result

    def _clip(self, index: int) -> np.ndarray:
        if self._last is None or self._last[0] != index:  # consecutive calls meet in the middle of a clip
            self._last = (index, self._source.clip(index, self._scope.generator(index)))
        return self._last[1]


def luminance(config: StimulusConfig, raw: np.ndarray | float) -> np.ndarray:
    """Float32 luminance in [0, 1]: grey plus the contrast times what a movie in [0, 1] has around 0.5."""
    return np.clip(config.grey + config.contrast * (np.asarray(raw) - 0.5), 0.0, 1.0).astype(np.float32)
