"""Artificial movies: grey screen, full-field flashes, moving edges and bars, gratings."""

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
        along = self._position @ _direction(generator)
        before = generator.random()
        after = (before + generator.uniform(0.5, 1.0) / 2 * generator.choice([-1.0, 1.0])) % 1.0
        edge = -self._reach + self._step * np.arange(self.clip_frames)
        covered = np.clip(edge[:, None] - along + 0.5, 0.0, 1.0)
        return luminance(self._config, before + (after - before) * covered)


class MovingBar:
    """A bar that sweeps over the whole eye in one of 12 directions, brighter or darker than what it covers.

    Bar and background differ by at least a quarter of the contrast; a column changes while an edge of the bar crosses
    its width.

    Args:
        config: speed, width, background and contrast.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self._position = column_centres(columns) / BOX  # (H, 2) y, x in columns
        self._reach = float(np.linalg.norm(self._position, axis=1).max()) + 1.0
        self._step = config.edge_speed * dt
        self._config = config
        self.clip_frames = max(2, int(np.ceil((2 * self._reach + config.bar_width) / self._step)) + 1)

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one sweep: the bar comes from outside and leaves the eye again."""
        along = self._position @ _direction(generator)
        background = generator.random()
        bar = (background + generator.uniform(0.5, 1.0) / 2 * generator.choice([-1.0, 1.0])) % 1.0
        front = (-self._reach + self._step * np.arange(self.clip_frames))[:, None] - along
        covered = np.clip(front + 0.5, 0.0, 1.0) - np.clip(front - self._config.bar_width + 0.5, 0.0, 1.0)
        return luminance(self._config, background + (bar - background) * covered)


class Grating:
    r"""A drifting sinusoid, in one of 12 directions and from a random phase per clip.

    .. math:: I(x, t) = grey + \frac{contrast}{2} \operatorname{sinc}(f_s e_y) \operatorname{sinc}(f_s e_x)
        \sin(2 \pi (f_s\, e \cdot x - f_t t) + \varphi)

    The two sinc are what the average over a column's square leaves of the wave. With spatial frequency 0 the whole
    field flickers sinusoidally.

    Args:
        config: frequencies, background, contrast and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns, self.clip_frames = len(columns), config.clip_frames
        self._position = column_centres(columns) / BOX  # (H, 2) y, x in columns
        self._time = dt * np.arange(config.clip_frames)
        self._config = config

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one direction."""
        wave = self._config.spatial_frequency * _direction(generator)
        phase = generator.uniform(0.0, 2 * np.pi)
        cycles = self._position @ wave - self._config.temporal_frequency * self._time[:, None]
        amplitude = np.sinc(wave).prod() / 2
        return luminance(self._config, 0.5 + amplitude * np.sin(2 * np.pi * cycles + phase))


def _direction(generator: np.random.Generator) -> np.ndarray:
    """(2,) unit vector (y, x), one of 12."""
    angle = 2 * np.pi * generator.integers(N_DIRECTIONS) / N_DIRECTIONS
    return np.array([np.sin(angle), np.cos(angle)])
