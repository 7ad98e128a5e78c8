"""Dead leaves: occluding ellipses under a moving eye, the procedural stand-in for natural movies."""

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.errors import ConfigError
from lobula.stimuli.base import luminance
from lobula.stimuli.gaze import Gaze

COVERAGE = 5.0  # mean number of leaves over a point; exp(-5) of the scene shows the background
GREY_SHAPE = 0.85  # leaves have Beta(a, a) greys; chosen for the contrast of real footage
MIN_ASPECT = 0.5  # of a leaf's axes
MAX_LEAVES = 2_000_000  # a scene of this size takes seconds and some 100 MB


class DeadLeaves:
    """Scenes of occluding ellipses; the eye pans (Ornstein-Uhlenbeck), turns and zooms over one scene per clip.

    Radii have density r^-3, so that the scene looks alike at every scale, as natural scenes do. Only the part of the
    scene that the eye visits is painted, and each box average is taken over 7 x 7 of its 13 x 13 pixels.

    Args:
        config: leaf sizes, motion and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].

    Raises:
        ConfigError: if the largest leaf is smaller than the smallest.

    Reference:
        Lee, Mumford & Huang (2001), Int. J. Computer Vision 41:35.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        if config.leaf_radius_max < config.leaf_radius_min:
            raise ConfigError(
                f"stimulus.leaf_radius_max: got {config.leaf_radius_max}, expected at least leaf_radius_min, "
                f"{config.leaf_radius_min} px"
            )
        self._config = config
        self._gaze = Gaze(config, columns, dt)
        self.n_columns, self.clip_frames = len(columns), config.clip_frames

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32 luminance of one scene; `index` does not matter beside the generator."""
        centre, turn = self._gaze.path(generator)
        origin, size = self._gaze.field_of_view(centre, turn)
        scene = self._paint(size, generator)
        order = self._gaze.symmetries[generator.integers(len(self._gaze.symmetries))]
        return luminance(self._config, self._gaze.look(scene, centre - origin, turn)[:, order])

    def _paint(self, size: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(height, width) float32 scene, painted from the back to the front."""
        radius, centre = self._leaves(size, generator)
        aspect = generator.uniform(MIN_ASPECT, 1.0, radius.size)
        angle = generator.uniform(0.0, np.pi, radius.size)
        grey = generator.beta(GREY_SHAPE, GREY_SHAPE, radius.size + 1).astype(np.float32)
        scene = np.full(size, grey[-1], dtype=np.float32)
        # Ellipse: a dy^2 + 2 b dy dx + c dx^2 <= 1
        cos, sin, minor = np.cos(angle), np.sin(angle), aspect * radius
        a, b = (cos / minor) ** 2 + (sin / radius) ** 2, sin * cos * (1 / radius**2 - 1 / minor**2)
        c = (sin / minor) ** 2 + (cos / radius) ** 2
        low = np.clip(np.ceil(centre - radius[:, None]), 0, size).astype(int)
        high = np.clip(np.floor(centre + radius[:, None]) + 1, 0, size).astype(int)
        y, x = np.arange(size[0]), np.arange(size[1])
        for leaf in np.flatnonzero((low < high).all(axis=1)):
            rows, cols = slice(low[leaf, 0], high[leaf, 0]), slice(low[leaf, 1], high[leaf, 1])
            dy, dx = (y[rows] - centre[leaf, 0])[:, None], x[cols] - centre[leaf, 1]
            scene[rows, cols][(a[leaf] * dy + 2 * b[leaf] * dx) * dy + c[leaf] * dx * dx <= 1] = grey[leaf]
        return scene

    def _leaves(self, size: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Radii (L,) and centres (L, 2) [px] of a Poisson number of leaves around the scene."""
        config = self._config
        low, high, exponent = config.leaf_radius_min, config.leaf_radius_max, config.leaf_radius_exponent
        mean_square = low**2 if low == high else _moment(low, high, 2 - exponent) / _moment(low, high, -exponent)
        mean_area = np.pi * (1 + MIN_ASPECT) / 2 * mean_square
        expected = COVERAGE / mean_area * np.prod(size + 2.0 * high)
        if expected > MAX_LEAVES:
            raise ConfigError(
                f"stimulus: a scene would need {expected:.0f} leaves, expected at most {MAX_LEAVES}; raise "
                "stimulus.leaf_radius_min or lower stimulus.pan_speed"
            )
        n_leaves = generator.poisson(expected)
        radius = _power_law(generator.random(n_leaves), low, high, 1 - exponent)
        centre = generator.random((n_leaves, 2)) * (size + 2 * high) - high
        near = ((centre > -radius[:, None]) & (centre < size + radius[:, None])).all(axis=1)
        return radius[near], centre[near]


def _moment(low: float, high: float, power: float) -> float:
    """Integral of r^power from low to high."""
    power += 1
    return np.log(high / low) if abs(power) < 1e-9 else (high**power - low**power) / power


def _power_law(uniform: np.ndarray, low: float, high: float, power: float) -> np.ndarray:
    """Radii with density r^(power - 1) between low and high, from uniform numbers."""
    if abs(power) < 1e-9:
        return low * (high / low) ** uniform
    return (low**power + uniform * (high**power - low**power)) ** (1 / power)
