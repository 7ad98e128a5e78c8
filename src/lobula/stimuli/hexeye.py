"""The hexagonal eye: from pixels to one luminance per column."""

import numpy as np

from lobula.connectome.optic_lobe_graph import hexagonal_columns
from lobula.errors import ShapeError

BOX = 13  # pixels across one column


class HexEye:
    """Box averages of a movie at the centres of hexagonal columns.

    The centre of column (u, v) lies at y = 13 (u + v / 2), x = 13 v from the frame's centre, truncated toward zero. A
    column's value is the mean of the 13 x 13 pixels around it, zero beyond the border. Frames too small for the eye
    are resized to just hold all centres. Sums are in float64.

    Args:
        extent: radius of the eye in columns.

    Raises:
        ConfigError: if the extent is not an integer in 0..20.

    Reference:
        Lappalainen et al. (2024), Nature 634:1132.
    """

    def __init__(self, extent: int) -> None:
        self.columns = hexagonal_columns(extent)
        self.centres = column_centres(self.columns)
        self.min_frame = int(2 * BOX * extent + 1)

    @property
    def n_columns(self) -> int:
        """Number of columns H."""
        return len(self.columns)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Look at a movie.

        Args:
            frames: (T, height, width) luminance.

        Returns:
            (T, H) float32 luminance per column.

        Raises:
            ShapeError: if the movie has not three axes or no pixels.
        """
        frames = np.asarray(frames)
        if frames.ndim != 3 or 0 in frames.shape[1:]:
            raise ShapeError(f"frames: got shape {frames.shape}, expected (T, height, width), one luminance per pixel")
        if min(frames.shape[1:]) < self.min_frame:
            frames = self._resized(frames)
        centre = np.array(frames.shape[1:]) // 2
        half = BOX // 2
        low = np.clip(self.centres + centre - half, 0, frames.shape[1:])
        high = np.clip(self.centres + centre + half + 1, 0, frames.shape[1:])
        top, left = low.min(axis=0)
        bottom, right = high.max(axis=0)
        low, high = low - (top, left), high - (top, left)
        # Summed-area table of the part that the eye sees: four look-ups per column instead of 169.
        table = np.zeros((bottom - top + 1, right - left + 1))
        result = np.empty((len(frames), self.n_columns), dtype=np.float32)
        for t, frame in enumerate(frames):
            seen = frame[top:bottom, left:right].astype(np.float64)
            np.cumsum(np.cumsum(seen, axis=0, out=seen), axis=1, out=table[1:, 1:])
            total = table[high[:, 0], high[:, 1]] - table[low[:, 0], high[:, 1]]
            total -= table[high[:, 0], low[:, 1]] - table[low[:, 0], low[:, 1]]
            result[t] = total / BOX**2
        return result

    def _resized(self, frames: np.ndarray) -> np.ndarray:
        import torch  # only small movies need it

        movie = torch.as_tensor(np.ascontiguousarray(frames, dtype=np.float64))[:, None]
        size = (self.min_frame, self.min_frame)
        return torch.nn.functional.interpolate(movie, size, mode="bilinear", antialias=True)[:, 0].numpy()


def column_centres(columns: np.ndarray) -> np.ndarray:
    """(H, 2) int64 pixel offsets (y, x) of column centres from the frame's centre.

    Args:
        columns: (H, 2) axial coordinates (u, v).
    """
    u, v = columns[:, 0], columns[:, 1]
    return np.stack([np.trunc(BOX * (u + v / 2)), BOX * v], axis=1).astype(np.int64)


def hexagonal_symmetries(columns: np.ndarray) -> np.ndarray:
    """(12, H) int64 the six rotations and six reflections of the eye as permutations of its columns.

    Args:
        columns: (H, 2) axial coordinates (u, v) of a full hexagon.
    """
    index = {(u, v): i for i, (u, v) in enumerate(columns.tolist())}
    permutations = []
    for mirrored in (False, True):
        points = columns[:, ::-1] if mirrored else columns
        for _ in range(6):
            points = np.stack([points[:, 0] + points[:, 1], -points[:, 0]], axis=1)  # 60 degrees
            permutations.append([index[u, v] for u, v in points.tolist()])
    return np.array(permutations, dtype=np.int64)
