"""Random patterns in tiles: white noise, m-sequences, blue noise, and the flicker of the whole field."""

import numpy as np
from scipy.signal import max_len_seq

from lobula.config.stimulus import StimulusConfig
from lobula.errors import ConfigError
from lobula.stimuli.base import luminance

BLUE_SPREAD = 0.2  # standard deviation of blue noise; beyond 2.5 of them, 1.2 % of the values, it is cut off


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


class Flicker:
    """The whole field switches between dark and bright by a binary m-sequence, from a random place in it.

    A clip is one period, 2^n - 1 values. (A sinusoidal flicker is a grating of spatial frequency 0.)

    Args:
        config: order of the m-sequence, frames per value, background and contrast.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s]; not used.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self._config = config
        self._sequence = _m_sequence(config.m_sequence_order)
        self.clip_frames = len(self._sequence) * config.noise_hold

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one period."""
        values = np.roll(self._sequence, generator.integers(len(self._sequence)))
        held = np.repeat(luminance(self._config, values), self._config.noise_hold)
        return np.repeat(held[:, None], self.n_columns, axis=1)


class MSequence:
    """Tiles that follow one binary m-sequence, each with a lag of its own.

    The correlation of any two tiles over a period is -1/(2^n - 1), and so is that of a tile with its own past. Lags are
    as far apart as there is room; which tile gets which is drawn for each clip, and so is the phase of the whole. A
    clip is one period.

    Args:
        config: order of the m-sequence, width of a tile, frames per value, background and contrast.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s]; not used.

    Raises:
        ConfigError: if the sequence is too short for so many tiles.

    Reference:
        Sutter (1987), in Advanced Methods of Physiological System Modeling 1:303.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self._config = config
        self._tile = np.unique(_tiles(columns, config.tile_width), axis=0, return_inverse=True)[1].reshape(-1)
        self._n_tiles = int(self._tile.max()) + 1
        self._sequence = _m_sequence(config.m_sequence_order)
        if self._n_tiles > len(self._sequence):
            raise ConfigError(
                f"stimulus.m_sequence_order: got {config.m_sequence_order}, which gives {len(self._sequence)} values, "
                f"expected at least one per tile, {self._n_tiles}; raise it, or stimulus.tile_width"
            )
        self.clip_frames = len(self._sequence) * config.noise_hold

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, one period."""
        period = len(self._sequence)
        lag = generator.permutation(self._n_tiles) * (period // self._n_tiles) + generator.integers(period)
        values = luminance(self._config, self._sequence)
        tiles = values[(np.arange(period)[:, None] - lag[self._tile]) % period]
        return np.repeat(tiles, self._config.noise_hold, axis=0)


class BlueNoise:
    """Tiles of spatial blue noise: the power grows with the spatial frequency, so that neighbours differ.

    Each value is held for some frames; the next is independent. Gaussian with standard deviation 0.2 around grey.

    Args:
        config: width of a tile, frames per value, background, contrast and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s]; not used.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self.n_columns = len(columns)
        self._config = config
        self._n_values = max(1, round(config.clip_frames / config.noise_hold))
        self.clip_frames = self._n_values * config.noise_hold
        tile = _tiles(columns, config.tile_width)
        self._tile = tile - tile.min(axis=0)
        side = 2 * (int(self._tile.max()) + 1)  # of a torus so large that no tile sees its other end
        gain = np.sqrt(_spatial_frequency(side))
        self._gain = gain / np.sqrt((gain**2).mean())

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, whole holds only."""
        white = generator.standard_normal((self._n_values, *self._gain.shape))
        blue = np.fft.ifft2(np.fft.fft2(white) * self._gain).real
        values = luminance(self._config, 0.5 + BLUE_SPREAD * blue[:, self._tile[:, 0], self._tile[:, 1]])
        return np.repeat(values, self._config.noise_hold, axis=0)


def _tiles(columns: np.ndarray, width: int) -> np.ndarray:
    """(H, 2) coordinates of the rhombic tile of every column; one of them is centred on the eye's centre."""
    return (columns + width // 2) // width


def _m_sequence(order: int) -> np.ndarray:
    """(2^order - 1,) float64 zeros and ones."""
    return max_len_seq(order)[0].astype(np.float64)


def _spatial_frequency(side: int) -> np.ndarray:
    """(side, side) spatial frequency [cycles per tile] of every Fourier component over axial coordinates (u, v)."""
    steps = np.fft.fftfreq(side)
    aliases = (-1.0, 0.0, 1.0)  # a component on a lattice is many waves; its frequency is that of the longest
    f_u, f_v = steps[:, None, None, None] + np.array(aliases)[:, None], steps[:, None, None] + np.array(aliases)
    f_y, f_x = f_u, (f_v - f_u / 2) / np.sqrt(0.75)  # a step in u is (0, 1), a step in v is (sqrt 3/4, 1/2)
    return np.hypot(f_y, f_x).min(axis=(2, 3))
