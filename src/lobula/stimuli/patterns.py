"""Artificial movies: grey screen, full-field flashes, moving edges, white noise."""

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.stimuli.base import luminance
from lobula.stimuli.hexeye import BOX, column_centres

N_DIRECTIONS = 12


class Grey:
    """A uniform screen.

    Args:
        config: luminance and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s]; not used.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns, self.clip_frames = len(columns), config.clip_frames
        self._grey = config.grey

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, the same everywhere."""
        return np.full((self.clip_frames, self.n_columns), self._grey, dtype=np.float32)


class Flash:
    """Full-field flashes of random luminance: half a period of grey, then half a period of the flash.

    Args:
        config: period, background and contrast.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self.clip_frames = max(2, round(config.flash_period / dt))
        self._config = config

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one period."""
        movie = np.full((self.clip_frames, self.n_columns), self._config.grey, dtype=np.float32)
        movie[self.clip_frames // 2 :] = luminance(self._config, generator.random())
        return movie


class MovingEdge:
    """An edge that sweeps over the whole eye in one of 12 directions, brighter or darker than what it covers.

    The two sides differ by at least a quarter of the contrast; a column changes while the edge crosses its width.

    Args:
        config: speed, background and contrast.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self._position = column_centres(columns) / BOX  # (H, 2) y, x in columns
        self._reach = float(np.linalg.norm(self._position, axis=1).max()) + 1.0
        self._step = config.edge_speed * dt
        self._config = config
        self.clip_frames = max(2, int(np.ceil(2 * self._reach / self._step)))

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one sweep."""
        angle = 2 * np.pi * generator.integers(N_DIRECTIONS) / N_DIRECTIONS
        before = generator.random()
        after = (before + generator.uniform(0.5, 1.0) / 2 * generator.choice([-1.0, 1.0])) % 1.0
        along = self._position @ np.array([np.sin(angle), np.cos(angle)])
        edge = -self._reach + self._step * np.arange(self.clip_frames)
        covered = np.clip(edge[:, None] - along + 0.5, 0.0, 1.0)
        return luminance(self._config, before + (after - before) * covered)


class WhiteNoise:
    """Independent uniform luminance for every column, each value held for some frames.

    Args:
        config: frames per value, background, contrast and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s]; not used.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self._hold = config.noise_hold
        self._n_values = max(1, round(config.clip_frames / config.noise_hold))
        self.clip_frames = self._n_values * self._hold
        self._config = config

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, whole holds only."""
        values = luminance(self._config, generator.random((self._n_values, self.n_columns)))
        return np.repeat(values, self._hold, axis=0)
