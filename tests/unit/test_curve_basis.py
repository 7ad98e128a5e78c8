"""The basis functions of a message function, summed over the senders of an equation."""

import numpy as np
import pytest

from lobula.regression.curve import FINE, PiecewiseLinear, SmoothCurve, basis_of

KNOTS = np.array([-2.0, -1.3, -0.4, 0.0, 0.1, 0.9, 2.5])


@pytest.mark.parametrize("kind", [PiecewiseLinear, SmoothCurve])
@pytest.mark.parametrize("beyond", [0.0, 3.0])
def test_every_function_is_the_curve_with_one_value_of_one(kind, beyond):
    """Against the curve itself, function by function, on points of the table and straight beyond its ends."""
    generator = np.random.default_rng(0)
    curve = kind(KNOTS, np.tanh(KNOTS))
    grid = np.linspace(KNOTS[0], KNOTS[-1], FINE)
    voltage = generator.choice(grid, (12, 9))
    voltage[:, ::4] = np.where(voltage[:, ::4] > 0, grid[-1] + beyond, grid[0] - beyond)
    coefficients = generator.normal(size=(9, 3))
    summed = basis_of(curve).summed(voltage, coefficients)
    for k in range(len(KNOTS)):
        unit = curve.with_values(np.eye(len(KNOTS))[k])
        tolerance = 5e-3 if beyond else 1e-9  # the curve's own slope at its ends is that of its table
        np.testing.assert_allclose(summed[:, :, k], unit(voltage) @ coefficients, atol=tolerance)


@pytest.mark.parametrize("kind", [PiecewiseLinear, SmoothCurve])
def test_between_points_of_the_table_the_nearest_counts(kind):
    """The combination with the curve's own values is the curve, to the table's resolution."""
    generator = np.random.default_rng(1)
    curve = kind(KNOTS, np.tanh(KNOTS))
    voltage, coefficients = generator.normal(size=(20, 8)), generator.normal(size=(8, 2))
    summed = basis_of(curve).summed(voltage, coefficients) @ curve.values
    step = (KNOTS[-1] - KNOTS[0]) / (FINE - 1)
    assert np.abs(summed - curve(voltage) @ coefficients).max() < 2 * step * np.abs(coefficients).sum()
