"""How rich recorded activity is, and how much noise a fit leaves in it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class ActivitySpectrum:
    """Principal components of activity.

    Attributes:
        share: (K,) share of the variance that every component holds, largest first, K = min(T, N); they add up to 1.
        n_frames, n_neurons: size of what was analysed; no more than n_frames - 1 components can hold any variance.
    """

    share: np.ndarray
    n_frames: int
    n_neurons: int

    def rank(self, part: float) -> int:
        """Number of components that together hold `part` of the variance, 0 for activity that does not move."""
        if not self.share.any():
            return 0
        return int(np.searchsorted(np.cumsum(self.share), part - 1e-12) + 1)


def activity_spectrum(voltage: np.ndarray) -> ActivitySpectrum:
    """All principal components of activity around each neuron's mean, from the smaller of the two Gram matrices.

    Args:
        voltage: (T, N) activity [a.u.].
    """
    centred = np.asarray(voltage, dtype=np.float64)
    centred = centred - centred.mean(0)
    n_frames, n_neurons = centred.shape
    gram = centred @ centred.T if n_frames <= n_neurons else centred.T @ centred
    power = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
    total = power.sum()
    return ActivitySpectrum(power / total if total > 0 else np.zeros_like(power), n_frames, n_neurons)


def expected_residual(
    process_noise: float, measurement_noise: float, dt: float, tau: np.ndarray | None = None
) -> np.ndarray:
    r"""Spread of dv/dt one step ahead that no fit can explain, :math:`\sqrt{\sigma^2 + s^2 (1 + (1 - dt/\tau)^2)}/dt`.

    A step adds process noise sigma; the noise s of both frames enters their difference, that of the first also
    through the leak. What it does through the messages is left out.

    Args:
        process_noise: sigma per step [a.u.].
        measurement_noise: s per frame [a.u.].
        dt: time step [s].
        tau: (N,) time constants [s]; None leaves the leak out.

    Returns:
        (N,) standard deviation, or a single number without tau [a.u./s].
    """
    kept = 1.0 if tau is None else 1.0 - dt / np.asarray(tau, dtype=np.float64)
    return np.sqrt(process_noise**2 + measurement_noise**2 * (1.0 + np.square(kept))) / dt
