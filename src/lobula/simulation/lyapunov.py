r"""The largest Lyapunov exponent of a signal network: how fast two nearby trajectories part.

.. math:: \lambda = \frac{1}{k\,dt} \Big\langle \ln \frac{|\delta(t + k\,dt)|}{|\delta(t)|} \Big\rangle

delta is brought back to its first length every k steps (Benettin et al. 1980). 1 / lambda is the Lyapunov time, the
natural unit of how long a chaotic circuit can be foretold.
"""

import numpy as np

from lobula.connectome import Connectome
from lobula.simulation.signal import SignalCircuit

APART = 1e-3
"""First distance per neuron, as a share of the spread of the start voltages: far above single-precision rounding."""
RENORMALISE = 20
"""Steps from one renormalisation to the next."""


def lyapunov_exponent(
    connectome: Connectome, start: np.ndarray, dt: float, n_steps: int = 2000, seed: int = 0
) -> float:
    """Largest Lyapunov exponent [1/s], without external input or noise; the mean over trajectories.

    Args:
        connectome: a signal network.
        start: (R, N) voltages that trajectories begin from, best on the attractor [a.u.].
        dt: step [s].
        n_steps: steps of every trajectory; the first fifth, while delta turns to the fastest direction, does not count.
        seed: of the first directions.

    Raises:
        ConfigError: if the circuit is no signal network, or dt is not positive.
    """
    circuit, start = SignalCircuit(connectome, dt), np.asarray(start, dtype=np.float32)
    length = APART * max(float(start.std()), 1e-6) * np.sqrt(start.shape[1])
    state, nothing = circuit.full_state(start), np.zeros((len(start), 0), dtype=np.float32)
    delta = np.random.default_rng(seed).standard_normal(start.shape)
    other, growth = state.copy(), []
    for k in range(max(n_steps // RENORMALISE, 2)):
        delta *= length / np.maximum(np.linalg.norm(delta, axis=1, keepdims=True), 1e-30)
        other[...] = state
        other[:, : start.shape[1]] += delta.astype(np.float32)
        first = np.linalg.norm((other - state).astype(np.float64), axis=1)
        for _ in range(RENORMALISE):
            both = circuit.step(np.concatenate([state, other]), np.concatenate([nothing, nothing]))
            state, other = both[: len(start)], both[len(start) :]
        difference = (other - state).astype(np.float64)
        delta = difference[:, : start.shape[1]]
        if k >= max(n_steps // RENORMALISE, 2) // 5:
            growth.append(np.log(np.maximum(np.linalg.norm(difference, axis=1), 1e-30) / first).mean())
    return float(np.mean(growth) / (RENORMALISE * dt))
