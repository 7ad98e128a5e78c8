"""The hexagonal eye against a plain loop over boxes."""

import numpy as np
import pytest

from lobula.connectome import hexagonal_columns
from lobula.errors import ShapeError
from lobula.stimuli import HexEye, hexagonal_symmetries


def brute_force(frame: np.ndarray, extent: int) -> np.ndarray:
    """Mean of the 13 x 13 pixels around every centre, pixels outside the frame count as 0."""
    height, width = frame.shape
    values = []
    for u in range(-extent, extent + 1):
        for v in range(-extent, extent + 1):
            if abs(u + v) > extent:
                continue
            row, column = height // 2 + int(13 * (u + v / 2)), width // 2 + 13 * v
            total = 0.0
            for y in range(row - 6, row + 7):
                for x in range(column - 6, column + 7):
                    if 0 <= y < height and 0 <= x < width:
                        total += float(frame[y, x])
            values.append(total / 169)
    return np.array(values)


@pytest.mark.parametrize("size", [(79, 79), (80, 85), (120, 97)])
def test_box_means(size):
    movie = np.random.default_rng(0).random((2, *size)).astype(np.float32)
    expected = np.stack([brute_force(frame, 3) for frame in movie])
    np.testing.assert_allclose(HexEye(3)(movie), expected, rtol=1e-6)


def test_bytes_are_summed_without_overflow():
    movie = np.full((1, 100, 100), 255, dtype=np.uint8)
    np.testing.assert_allclose(HexEye(2)(movie), 255.0)


def test_small_frames_are_resized():
    eye = HexEye(3)
    seen = eye(np.full((2, 20, 300), 0.25))
    assert seen.shape == (2, 37)
    inner = np.abs(eye.centres).max(axis=1) < 30  # columns at the rim average over the zeros outside
    np.testing.assert_allclose(seen[:, inner], 0.25, rtol=1e-6)


def test_only_the_central_pixels_matter():
    movie = np.random.default_rng(0).random((1, 300, 300))
    cropped = movie[:, 40:-39, 40:-39]  # 221 x 221 around the same centre
    np.testing.assert_allclose(HexEye(8)(movie), HexEye(8)(cropped), rtol=1e-6)


@pytest.mark.parametrize("shape", [(100, 100), (1, 0, 100), (2, 3, 100, 100)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"frames: got shape"):
        HexEye(2)(np.zeros(shape))


def test_symmetries_keep_neighbours():
    columns = hexagonal_columns(3)
    symmetries = hexagonal_symmetries(columns)
    assert len({tuple(row) for row in symmetries}) == 12
    cube = np.column_stack([columns, -columns.sum(axis=1)])
    distance = np.abs(cube[:, None] - cube[None]).max(axis=2)
    for order in symmetries:
        np.testing.assert_array_equal(np.sort(order), np.arange(len(columns)))
        np.testing.assert_array_equal(distance[np.ix_(order, order)], distance)
