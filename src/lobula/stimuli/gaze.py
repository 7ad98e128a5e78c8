"""A moving eye: it pans, turns and zooms over a still scene and averages what lies under each column."""

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.stimuli.hexeye import BOX, column_centres, hexagonal_symmetries

PROBES = np.arange(-(BOX // 2), BOX // 2 + 1, 2)  # pixels probed per axis of a box; fine for scenes of coarse things


class Gaze:
    """How the eye moves over one scene per clip, and what it sees there.

    The velocity of the pan is an Ornstein-Uhlenbeck process; turn and zoom go on at a constant rate. Each box average
    is taken over 7 x 7 of its 13 x 13 pixels.

    Args:
        config: motion and clip length.
        columns: (H, 2) axial coordinates of the eye's columns, a full hexagon.
        dt: time between frames [s].

    Attributes:
        symmetries: (12, H) permutations of the columns that turn and mirror what is seen.
        reach: largest distance of a probed pixel from the eye's centre [px].
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float) -> None:
        self._config = config
        self._dt = dt
        self.symmetries = hexagonal_symmetries(columns)
        probe = np.stack(np.meshgrid(PROBES, PROBES, indexing="ij"), axis=-1).reshape(-1, 2)
        centres = column_centres(columns)
        self._pixels = (centres[None] + probe[:, None]).astype(np.float32)  # (49, H, 2), y then x
        self.reach = float(np.linalg.norm(self._pixels, axis=2).max())

    def path(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The eye's centre (T, 2) [px] and its turn and zoom as one complex number (T,), for one clip."""
        config, n = self._config, self._config.clip_frames
        kept = np.exp(-self._dt / config.pan_time)
        kicks = generator.standard_normal((n, 2))
        kicks[1:] *= np.sqrt(1 - kept**2)
        velocity = np.empty((n, 2))
        velocity[0] = kicks[0]
        for t in range(1, n):
            velocity[t] = kept * velocity[t - 1] + kicks[t]
        centre = np.cumsum(config.pan_speed * velocity, axis=0) * self._dt
        time = (np.arange(n) - (n - 1) / 2) * self._dt  # the zoom is 1 on average
        rotation, zoom = generator.standard_normal(2) * (config.rotation_speed, config.zoom_speed)
        return centre, np.exp((zoom + 1j * rotation) * time)

    def field_of_view(self, centre: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The box that holds everything seen on a path: its corner (2,) [px], and its size (2,) in whole pixels."""
        reach = self.reach * np.abs(turn)
        origin = np.floor((centre - reach[:, None]).min(axis=0))
        return origin, np.ceil((centre + reach[:, None]).max(axis=0) - origin).astype(int) + 1

    def look(self, scene: np.ndarray, centre: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Box averages of a scene seen from every pose of a path.

        Args:
            scene: (height, width) float32.
            centre: (T, 2) the eye's centre within the scene [px], y then x.
            turn: (T,) turn and zoom.

        Returns:
            (T, H) float32.
        """
        flat, width = scene.ravel(), scene.shape[1]
        y, x = self._pixels[..., 0], self._pixels[..., 1]
        movie = np.empty((len(centre), self._pixels.shape[1]), dtype=np.float32)
        for t in range(len(centre)):
            cos, sin = np.float32(turn[t].real), np.float32(turn[t].imag)
            rows = (cos * y - sin * x + np.float32(centre[t, 0])).astype(np.int32)
            cols = (sin * y + cos * x + np.float32(centre[t, 1])).astype(np.int32)
            movie[t] = flat[rows * width + cols].mean(axis=0)
        return movie
