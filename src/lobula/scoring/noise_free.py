"""The noise-free test of noisy recordings: what the true circuit does without noise from the same frames on."""

import logging
from dataclasses import replace

import numpy as np

from lobula.data.recording import Recording
from lobula.scoring.run import Rollouts
from lobula.simulation.circuit import Circuit
from lobula.simulation.graded import Dynamics, GradedCircuit
from lobula.simulation.signal import SignalCircuit
from lobula.simulation.truth import Truth

logger = logging.getLogger(__name__)


def with_noise_free(rollouts: Rollouts, truth: Truth, recording: Recording) -> Rollouts:
    """The rollouts with what the true circuit does from their first frames on, under their stimulus, without noise.

    They stay as they are where voltages do not say the whole state (plastic and drifting signal networks), or where the
    circuit leaves the finite numbers without its noise.

    Args:
        rollouts: from `choose_rollouts`.
        truth: as the simulator used it, not restated by `in_gauge` or `on_graph`.
        recording: gives the step.
    """
    dynamics, circuit = truth.dynamics, _circuit(truth, recording.dt)
    if circuit.n_states != circuit.n_neurons:
        return rollouts
    n_rollouts, n_frames, _ = rollouts.true.shape
    stimulus = rollouts.stimulus
    if stimulus is None:
        width = circuit.n_neurons if isinstance(dynamics, Dynamics) else 0
        stimulus = np.zeros((n_rollouts, n_frames - 1, width))
    stimulus = stimulus.astype(np.float32)
    voltage = np.empty((n_rollouts, n_frames - 1, circuit.n_neurons), dtype=np.float32)
    state = rollouts.true[:, 0].astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        for t in range(n_frames - 1):
            state = circuit.step(state, stimulus[:, t])
            voltage[:, t] = state
    if not np.isfinite(voltage).all():
        logger.warning("without noise the true circuit leaves the finite numbers: no noise-free test")
        return rollouts
    return replace(rollouts, noise_free=voltage)


def _circuit(truth: Truth, dt: float) -> Circuit:
    """The true circuit, ready to be stepped."""
    if isinstance(truth.dynamics, Dynamics):
        return GradedCircuit(truth.connectome, dt, truth.dynamics)
    return SignalCircuit(truth.connectome, dt)
