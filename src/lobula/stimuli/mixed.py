"""Several families of movies in turn."""

from collections.abc import Sequence

import numpy as np

from lobula.stimuli.base import ClipSource, Scope


class Mixed:
    """One clip of each of several families, one after the other; this round is the clip of the mixture.

    Args:
        sources: the families by name, all for the same eye.
        scope: split and random streams; each family has streams of its own.
    """

    def __init__(self, sources: Sequence[tuple[str, ClipSource]], scope: Scope) -> None:
        self._sources = [(source, scope.within(name)) for name, source in sources]
        self.n_columns = sources[0][1].n_columns
        self.clip_frames = sum(source.clip_frames for _, source in sources)

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one clip of each family."""
        return np.concatenate([source.clip(index, scope.generator(index)) for source, scope in self._sources])
