"""Independent trials of one circuit, advanced together: the weights are read once per step for all of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from lobula.simulation.ahead import ahead
from lobula.simulation.graded import GradedCircuit

NOISE_FRAMES = 50  # drawn at a time for every trial
GROUP_BYTES = 2**30  # of one field of the trials that run together
MOST_TRIALS = 16


@dataclass(frozen=True, eq=False)
class Trial:
    """What one trial did.

    Attributes:
        voltage: (t, N) float32 voltage before each step [a.u.].
        drift: (t, N) float32 noise-free dv/dt [a.u./s], or None.
        after: (N,) float32 voltage after the last step, its noise included [a.u.].
    """

    voltage: np.ndarray
    drift: np.ndarray | None
    after: np.ndarray


def group_size(n_frames: int, n_neurons: int) -> int:
    """Trials that run together: as many as fit in `GROUP_BYTES`, at most 16."""
    return int(np.clip(GROUP_BYTES // (4 * n_frames * max(n_neurons, 1)), 1, MOST_TRIALS))


def run_trials(
    circuit: GradedCircuit,
    start: np.ndarray,
    stimulus: np.ndarray,
    sigma: float,
    generators: Sequence[torch.Generator],
    record_drift: bool,
) -> list[Trial]:
    """Every trial from the same state, with its own stimulus and noise.

    Args:
        circuit: what is stepped.
        start: (N,) voltage at frame 0 [a.u.].
        stimulus: (G, T, H) or (G, T, N) float32, one movie per trial.
        sigma: standard deviation of the process noise per step [a.u.].
        generators: one random stream per trial.
        record_drift: also keep dv/dt.
    """
    n_trials, n_frames = stimulus.shape[:2]
    shape = (n_frames, circuit.n_neurons)
    voltage = [np.empty(shape, dtype=np.float32) for _ in range(n_trials)]
    drift = [np.empty(shape, dtype=np.float32) for _ in range(n_trials)] if record_drift else None
    state = np.tile(start.astype(np.float32), (n_trials, 1))
    kicks = noise(generators, sigma, *shape) if sigma > 0 else None
    with one_thread():
        for t in range(n_frames):
            rate = circuit.drift(state, stimulus[:, t])
            for trial in range(n_trials):
                voltage[trial][t] = state[trial]
                if drift is not None:
                    drift[trial][t] = rate[trial]
            state = circuit.advance(state, rate)
            if kicks is not None:
                state += next(kicks)
    return [Trial(v, None if drift is None else drift[k], state[k]) for k, v in enumerate(voltage)]


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
