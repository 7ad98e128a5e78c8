"""The state that a changing circuit has beside its voltages, along a split: its plasticity, or the time."""

import numpy as np

from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.varying import Plasticity

ASSIMILATED = 500
"""Frames at the beginning of a split that tell where the plasticity began."""


def states_along(estimates: Estimates, recording: Recording, name: str, n_frames: int) -> np.ndarray | None:
    """(T, N) plasticity or (T, 1) times [s] of the first frames of a split; None where the circuit does not change.

    Plasticity is a linear function of its first value, which is the one that explains the first frames best.

    Args:
        estimates: the circuit.
        recording: what was recorded, in splits that follow each other in time.
        name: of the split.
        n_frames: T.
    """
    varying, dt = estimates.varying, recording.dt
    if varying is None:
        return None
    if not isinstance(varying, Plasticity):
        before = recording.splits[: recording.splits.index(name)]
        first = sum(recording[split].n_frames_planned for split in before)
        return dt * (first + np.arange(n_frames, dtype=np.float64))[:, None]
    split = recording[name]
    voltage = split.voltage(0, n_frames).astype(np.float64)
    zero, one = (_along(varying, voltage, np.full(voltage.shape[1], p), dt) for p in (0.0, 1.0))
    known = min(ASSIMILATED, n_frames, split.n_targets(estimates.target))
    rows = split.stimulus(0, known)
    external = 0.0 if rows is None else recording.wiring.spread(rows)
    alone, full = (
        estimates.drift(voltage[:known], external, np.full((known, voltage.shape[1]), p)) for p in (0.0, 1.0)
    )
    summed = full - alone
    column = (one - zero)[:known] * summed
    left = split.target(estimates.target, 0, known) - alone - zero[:known] * summed
    size = np.einsum("tn,tn->n", column, column)
    start = np.einsum("tn,tn->n", column, left) / np.maximum(size, 1e-300)
    start = np.where(size > 0, np.clip(start, 0.0, 1.0), varying.level)
    return zero + start * (one - zero)


def _along(varying: Plasticity, voltage: np.ndarray, state: np.ndarray, dt: float) -> np.ndarray:
    """(T, N) plasticity along voltages (T, N), from its first value (N,)."""
    states = np.empty(voltage.shape)
    for t, now in enumerate(voltage):
        states[t] = state
        state = varying.advance(state, now, dt)
    return states
