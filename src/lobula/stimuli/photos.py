"""Photographs under a moving eye, with different photographs in every split."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.stimuli.base import Scope, luminance
from lobula.stimuli.footage import find_images, for_split, luma, read_image
from lobula.stimuli.gaze import Gaze
from lobula.stimuli.hexeye import BOX

SHORTER_SIDE = 480  # pixels of a photograph after scaling: the scale of the footage in DAVIS
N_KEPT = 32  # decoded photographs in memory, about a megabyte each


class Photos:
    """The eye pans (Ornstein-Uhlenbeck), turns and zooms over one photograph per clip.

    A photograph is scaled down to 480 pixels at its shorter side, and up where it is smaller than the eye's field. The
    eye starts anywhere in it; beyond its border the photograph is mirrored.

    Args:
        config: path, motion, background, contrast and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].
        scope: the split decides which photographs are shown.

    Raises:
        ConfigError: if there are too few photographs for the splits.
        MissingInputError: if there are none.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float, scope: Scope) -> None:
        self._config = config
        self._gaze = Gaze(config, columns, dt)
        self.n_columns, self.clip_frames = len(columns), config.clip_frames
        self._min_side = 2 * BOX * int(np.abs(columns).max()) + 1
        self.files = for_split(find_images(config.path), scope.split, "photographs")
        self._load = lru_cache(maxsize=N_KEPT)(self._scaled)

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32 luminance of one photograph; `index` does not matter beside the generator.

        Raises:
            StoreError: if the photograph cannot be decoded.
        """
        photo = self._load(self.files[generator.integers(len(self.files))])
        centre, turn = self._gaze.path(generator)
        centre = centre + generator.random(2) * photo.shape
        origin, size = self._gaze.field_of_view(centre, turn)
        rows, cols = (_mirrored(int(o) + np.arange(s), n) for o, s, n in zip(origin, size, photo.shape, strict=True))
        order = self._gaze.symmetries[generator.integers(len(self._gaze.symmetries))]
        seen = self._gaze.look(photo[np.ix_(rows, cols)], centre - origin, turn)
        return luminance(self._config, seen[:, order])

    def _scaled(self, file: Path) -> np.ndarray:
        """(height, width) float32 luma of a photograph."""
        photo = luma(read_image(file))
        shorter = min(photo.shape)
        wanted = min(max(shorter, self._min_side), max(SHORTER_SIDE, self._min_side))
        if wanted == shorter:
            return photo
        from PIL import Image

        height, width = (max(wanted, round(length * wanted / shorter)) for length in photo.shape)
        return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))


def _mirrored(numbers: np.ndarray, length: int) -> np.ndarray:
    """Pixel numbers of an image that goes on beyond its border as its own mirror image."""
    within = numbers % (2 * length)
    return np.minimum(within, 2 * length - 1 - within)
