"""Frames that say as much as one independent frame, and what follows for the strength of regularisation."""

from dataclasses import replace

import numpy as np
import pytest

from lobula.data.wiring import Wiring
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import accumulate
from lobula.regression.redundancy import redundancy
from lobula.regression.ridge import solve

N, T = 6, 16_384
WIRING = Wiring.from_edges(np.array([(j, i) for i in range(N) for j in range(N) if i != j]).T, N)


class _Frames:
    """A circuit with rectified messages whose target has noise of a given memory."""

    def __init__(self, memory: float, noise: float, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        time = np.arange(T)[:, None]
        self.n_frames = T
        self.values = np.sin(time * generator.uniform(0.01, 0.3, N)) + 0.3 * generator.normal(size=(T, N))
        self.weight = np.zeros((N, N))
        self.weight[WIRING.post, WIRING.pre] = generator.normal(size=WIRING.n_edges)
        fresh = generator.normal(size=(T, N)) * np.sqrt(1 - memory**2)
        lasting = np.empty((T, N))
        lasting[0] = generator.normal(size=N)
        for t in range(1, T):
            lasting[t] = memory * lasting[t - 1] + fresh[t]
        self.clean = np.maximum(self.values, 0) @ self.weight.T - self.values
        self.noisy = self.clean + noise * lasting

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
        return self.noisy[start:stop]

    def truth(self, voltage: np.ndarray, external: np.ndarray | None) -> np.ndarray:
        """(T, N) without the noise."""
        return np.maximum(voltage, 0) @ self.weight.T - voltage


def rectified(voltage: np.ndarray) -> np.ndarray:
    """The message function."""
    return np.maximum(voltage, 0)


@pytest.mark.parametrize(("memory", "wanted"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_counts_the_frames_of_noise_with_memory(memory, wanted):
    """(1 + r) / (1 - r) where every frame keeps r of the noise before; exactly 1 where noise is new in every frame."""
    frames = _Frames(memory, 0.1)
    found = redundancy(frames, WIRING, frames.truth, "drift")
    assert found.mean() == pytest.approx(wanted, rel=0.3)
    assert memory or (found == 1).all()


def test_what_single_precision_leaves_counts_as_new():
    """Residuals a millionth of the target are rounding, however long they last."""
    frames = _Frames(0.9, 1e-6)
    assert (redundancy(frames, WIRING, frames.truth, "drift") == 1).all()


def test_a_short_recording_counts_every_frame():
    """Without a stretch to look at."""
    frames = _Frames(0.9, 0.1)
    frames.n_frames = 300
    assert (redundancy(frames, WIRING, frames.truth, "drift") == 1).all()


def test_noise_with_memory_shrinks_more_and_is_less_certain():
    """As many frames as are independent decide on strength and standard errors: against a fit that counts them all."""
    frames = _Frames(0.9, 1.0)
    fitted, plain = (fit_circuit(frames, WIRING, rectified, "drift", correlated=c) for c in (True, False))
    assert (fitted.regularisation > 3 * plain.regularisation).all()
    ratio = fitted.theta_stderr / plain.theta_stderr
    assert ratio.mean() == pytest.approx(np.sqrt(19), rel=0.2)


def test_every_frame_twice_is_the_same_circuit():
    """Repeating all frames and counting two for one changes neither strengths nor standard errors."""
    frames, twice = _Frames(0.0, 1.0), _Frames(0.0, 1.0)
    twice.values, twice.noisy, twice.n_frames = np.repeat(frames.values, 2, 0), np.repeat(frames.noisy, 2, 0), 2 * T
    once = solve(accumulate(frames, WIRING, rectified, "drift"), WIRING)
    grams = replace(accumulate(twice, WIRING, rectified, "drift"), redundancy=np.full(N, 2.0))
    repeated = solve(grams, WIRING)
    np.testing.assert_allclose(repeated.regularisation, once.regularisation, rtol=1e-3)
    np.testing.assert_allclose(repeated.theta, once.theta, rtol=1e-6)
    np.testing.assert_allclose(repeated.theta_stderr, once.theta_stderr, rtol=1e-3)


def test_frames_that_repeat_each_other_leave_enough_for_every_weight():
    """Were a few independent frames all there is, evidence would prefer no weights at all to the true ones."""
    frames = _Frames(0.0, 0.1)
    grams = accumulate(frames, WIRING, rectified, "drift")
    few = np.full(N, T / (0.5 * (N - 1)))
    lost = solve(replace(grams, redundancy=few), WIRING)
    kept = solve(grams, WIRING, recount=lambda circuit: few)
    true = frames.weight[WIRING.post, WIRING.pre]
    assert np.abs(lost.theta - true).max() > 0.5
    np.testing.assert_allclose(kept.theta, true, atol=0.05)


def test_a_sparse_circuit_is_the_same_as_one_of_all_pairs():
    """Neuron by neuron and in common eigenvectors: the same circuit, strengths and standard errors."""
    frames = _Frames(0.9, 1.0)
    grams = replace(accumulate(frames, WIRING, rectified, "drift"), redundancy=np.linspace(1, 30, N))
    dense = solve(grams, WIRING)
    alone = solve(replace(grams, grams=[grams.grams[i] for i in range(N)]), WIRING)
    for name in ("theta", "theta_stderr", "weight_stderr", "k_stderr", "c_stderr", "regularisation"):
        np.testing.assert_allclose(getattr(dense, name), getattr(alone, name), rtol=1e-3)
