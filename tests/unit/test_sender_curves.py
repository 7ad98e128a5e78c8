"""Gauss-Newton steps of the message functions of all senders."""

import numpy as np
import pytest

from lobula.regression.sender_curves import _damped


@pytest.mark.parametrize("least", [1e-3, 0.0, -1e-9, -1e-6])
def test_a_step_survives_rounding(least):
    """Normal equations with an eigenvalue that rounding took below zero: the others are solved as ever."""
    generator = np.random.default_rng(0)
    axes, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    values = np.array([least, 1.0, 1.5, 2.0, 2.5, 3.0])
    wanted = axes[:, 1:] @ generator.normal(size=5)
    found = _damped(axes * values @ axes.T, axes * values @ axes.T @ wanted)
    np.testing.assert_allclose(axes[:, 1:].T @ found, axes[:, 1:].T @ wanted, rtol=1e-3)


def test_an_indefinite_matrix_is_told():
    """No small addition mends what rounding cannot have done."""
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        _damped(np.diag([1.0, 1.0, -0.5]), np.ones(3))
