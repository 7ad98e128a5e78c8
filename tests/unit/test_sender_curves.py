"""Gauss-Newton steps of the message functions of all senders."""

import numpy as np
import pytest

from lobula.data.wiring import Wiring
from lobula.regression.curve import PiecewiseLinear
from lobula.regression.own_terms import NoTerms
from lobula.regression.sender_curves import SenderCurves, _damped, gauss_newton, products, solved


class _Latent:
    """Frames of neurons that follow three common signals up to 1e-6."""

    def __init__(self, n_frames: int, n_neurons: int) -> None:
        generator = np.random.default_rng(3)
        time = np.linspace(0, 60, n_frames)[:, None]
        signals = np.sin(time * np.array([1.0, 1.7, 2.3]) + generator.uniform(0, 6, 3))
        self.n_frames = n_frames
        self.values = 2 * signals @ generator.normal(size=(3, n_neurons))
        self.values += 1e-6 * generator.normal(size=self.values.shape)

    def n_targets(self, kind: str) -> int:
        """All."""
        return self.n_frames

    def voltage(self, start: int, stop: int) -> np.ndarray:
        """(T, N)."""
        return self.values[start:stop]

    def stimulus(self, start: int, stop: int) -> None:
        """None."""

    def target(self, kind: str, start: int, stop: int) -> np.ndarray:
        """(T, N)."""
        return np.tanh(np.roll(self.values[start:stop], 1, axis=1)) - self.values[start:stop]


def test_a_step_of_inputs_that_are_nearly_alike():
    """Products of messages whose eigenvalues span twelve orders: what is left of a basis is far below its rounding."""
    n, frames = 60, _Latent(3_000, 60)
    pairs = np.array([(j, i) for i in range(n) for j in range(n) if i != j]).T
    knots = np.linspace(-8, 8, 40)
    base, free = PiecewiseLinear(knots, knots.copy()), np.linspace(-8, 8, 6)
    data = products(frames, Wiring.from_edges(pairs, n), base, free, "drift", 3_000, NoTerms())
    curves = SenderCurves(base, free, np.zeros((n, 6)))
    at = solved(data, curves, 1e-12, loops=False)
    step = gauss_newton(data, curves, at, np.ones(n, dtype=bool))
    assert np.isfinite(step).all()


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
