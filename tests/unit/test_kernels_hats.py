"""Functions between knots, in C and in NumPy, against `numpy.interp` and explicit sums."""

import numpy as np
import pytest

from lobula.errors import ShapeError
from lobula.kernels import hats
from lobula.kernels.native import build
from lobula.kernels.native import hats as native

KNOTS = np.array([-2.0, -0.5, -0.5 + 1e-9, 0.0, 0.25, 3.0])


@pytest.fixture(params=["C", "NumPy"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "NumPy":
        monkeypatch.setattr(native, "is_there", lambda: False)
    elif build.library() is None:
        pytest.skip("no C compiler here")


def voltages(shape: tuple[int, ...] = (40, 500)) -> np.ndarray:
    """With all knots, their neighbours and far away among them."""
    v = np.random.default_rng(0).normal(size=shape) * 2
    special = [KNOTS, np.nextafter(KNOTS, 9), np.nextafter(KNOTS, -9), [-1e30, 1e30]]
    v.flat[: 3 * len(KNOTS) + 2] = np.concatenate(special)
    return v


@pytest.mark.parametrize("knots", [KNOTS, KNOTS[[0, 4]], np.linspace(-1, 1, 700)[::2]], ids=["uneven", "two", "many"])
def test_places_among_knots(knots: np.ndarray) -> None:
    v = voltages()
    index, fraction = hats.locate(knots, v)
    inner = knots[1:-1]
    np.testing.assert_array_equal(index, (v[..., None] >= inner).sum(-1))
    np.testing.assert_allclose(knots[index] + fraction * np.diff(knots)[index], v, rtol=1e-9, atol=1e-9)


def test_values_between_knots_and_beyond() -> None:
    v, values = voltages(), np.array([1.0, 0.0, 5.0, -2.0, 2.0, 3.0])
    found = hats.piecewise(KNOTS, values, v.astype(np.float32))
    v = v.astype(np.float32).astype(np.float64)
    inside = (v >= KNOTS[0]) & (v <= KNOTS[-1])
    np.testing.assert_allclose(found[inside], np.interp(v[inside], KNOTS, values), rtol=1e-6, atol=1e-6)
    right = v > KNOTS[-1]
    np.testing.assert_allclose(found[right], 3.0 + (v[right] - 3.0) / 2.75)
    assert found.shape == v.shape


def test_not_a_number_stays_one() -> None:
    assert np.isnan(hats.piecewise(KNOTS, KNOTS, np.array([np.nan, 0.1]))).tolist() == [True, False]


def test_one_function_on_any_strides() -> None:
    v = voltages((500, 40)).T
    np.testing.assert_array_equal(hats.locate(KNOTS, v)[0], hats.locate(KNOTS, v.copy())[0])


@pytest.mark.parametrize("places", [1, 2])
def test_sums_of_hat_functions(places: int) -> None:
    rng = np.random.default_rng(0)
    v, size = voltages(), len(KNOTS)
    pre = np.stack([[3, 17, 3, 0, 39], [1, 1, 1, 1, 1]], axis=1)[:, 0]  # strided, as a wiring's
    offset, share, messages = size * (np.arange(5) % places), rng.normal(size=5), rng.normal(size=v.shape)
    width, n_frames = size * places, v.shape[1]
    x = np.full((n_frames, width + 5 + 2), 7.0)
    hats.fill(x, width, pre, offset, share, hats.locate(KNOTS, v), messages)
    expected = np.zeros((n_frames, width))
    clamped = np.eye(size)
    for e, j in enumerate(pre):
        index, fraction = hats.locate(KNOTS, v[j])
        part = (1 - fraction)[:, None] * clamped[index] + fraction[:, None] * clamped[index + 1]
        expected[:, offset[e] : offset[e] + size] += share[e] * part
    scale = np.abs(expected).max(1, keepdims=True) + 1
    np.testing.assert_allclose(x[:, :width] / scale, expected / scale, atol=1e-12)
    np.testing.assert_array_equal(x[:, width : width + 5], messages[pre].T)
    assert (x[:, -2:] == 7.0).all(), "the rest is left alone"


def test_arrays_that_c_cannot_read_are_refused() -> None:
    if not native.is_there():
        pytest.skip("NumPy reads any array")
    v, one = voltages(), np.ones(1, dtype=np.int64)
    with pytest.raises(ShapeError, match="contiguous"):
        hats.fill(np.ones((500, 10)), 6, one, one * 0, np.ones(1), hats.locate(KNOTS, v), v.T.copy().T)
