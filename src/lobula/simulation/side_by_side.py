"""Independent trials of one circuit, advanced together: the weights are read once per step for all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from lobula.ahead import ahead
from lobula.simulation.circuit import Circuit

NOISE_FRAMES = 50  # drawn at a time for every trial
GROUP_BYTES = 2**30  # of one field of the trials that run together
MOST_TRIALS = 16


@dataclass(frozen=True, eq=False)
class Trial:
    """What one trial did.

    Attributes:
        voltage: (t, N) float32 voltage before each step [a.u.].
        hidden: (t, S - N) float32 rest of the state before each step, or None if there is no more to it.
        drift: (t, N) float32 noise-free dv/dt [a.u./s], or None.
        after: (N,) float32 voltage after the last step, its noise included [a.u.].
    """

    voltage: np.ndarray
    hidden: np.ndarray | None
    drift: np.ndarray | None
    after: np.ndarray


def group_size(n_frames: int, n_neurons: int) -> int:
    """Trials that run together: as many as fit in `GROUP_BYTES`, at most 16."""
    return int(np.clip(GROUP_BYTES // (4 * n_frames * max(n_neurons, 1)), 1, MOST_TRIALS))


def run_trials(
    circuit: Circuit,
    start: np.ndarray,
    stimulus: np.ndarray,
    sigma: float,
    generators: Sequence[torch.Generator],
    record_drift: bool,
) -> list[Trial]:
    """Every trial with its own stimulus and noise.

    Args:
        circuit: what is stepped.
        start: (S,) state at frame 0 of all trials, or (G, S).
        stimulus: (G, T, H) or (G, T, N) float32, one movie per trial.
        sigma: standard deviation of the process noise per step [a.u.].
        generators: one random stream per trial.
        record_drift: also keep dv/dt.
    """
    n_trials, n_frames = stimulus.shape[:2]
    n, rest = circuit.n_neurons, circuit.n_states - circuit.n_neurons
    voltage = _arrays(n_trials, n_frames, n)
    hidden = _arrays(n_trials, n_frames, rest) if rest else None
    drift = _arrays(n_trials, n_frames, n) if record_drift else None
    state = np.array(np.broadcast_to(start, (n_trials, circuit.n_states)), dtype=np.float32)
    kicks = noise(generators, sigma, n_frames, n) if sigma > 0 else None
    with one_thread():
        for t in range(n_frames):
            rate = circuit.drift(state, stimulus[:, t])
            for trial in range(n_trials):
                voltage[trial][t] = state[trial, :n]
                if hidden is not None:
                    hidden[trial][t] = state[trial, n:]
                if drift is not None:
                    drift[trial][t] = rate[trial, :n]
            state = circuit.advance(state, rate)
            if kicks is not None:
                state[:, :n] += next(kicks)
    return [
        Trial(v, hidden[k] if hidden is not None else None, drift[k] if drift is not None else None, state[k, :n])
        for k, v in enumerate(voltage)
    ]


def _arrays(n_trials: int, n_frames: int, width: int) -> list[np.ndarray]:
    return [np.empty((n_frames, width), dtype=np.float32) for _ in range(n_trials)]


def noise(generators: Sequence[torch.Generator], sigma: float, n_frames: int, n_neurons: int) -> Iterator[np.ndarray]:
    """Process noise (G, N) of every frame; a thread draws some frames while earlier ones are used."""

    def pieces() -> Iterator[np.ndarray]:
        for first in range(0, n_frames, NOISE_FRAMES):
            piece = torch.empty(len(generators), min(NOISE_FRAMES, n_frames - first), n_neurons)
            for own, generator in zip(piece, generators, strict=True):
                own.normal_(0.0, sigma, generator=generator)
            yield piece.numpy()

    for piece in ahead(pieces()):
        for t in range(piece.shape[1]):
            yield piece[:, t]


@contextmanager
def one_thread() -> Iterator[None]:
    """Sparse products on one thread: the other cores draw noise and write, and waiting for them costs more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
