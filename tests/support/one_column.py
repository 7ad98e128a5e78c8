"""A circuit of one column of the optic lobe with so much noise that all neurons are active: recording and truth."""

from pathlib import Path

import numpy as np

from lobula.connectome import optic_lobe
from lobula.data.recording import Recording
from lobula.simulation import make_dynamics
from lobula.simulation.graded import GradedCircuit
from lobula.simulation.truth import Truth

DT = 0.02


def recorded(
    variant: str = "standard", activation: str = "relu", n_frames: int = 4000, noise: float = 0.3
) -> tuple[Recording, Truth]:
    """Simulates a variant of the circuit with process noise, with gains from seed 1 where it has them."""
    circuit = optic_lobe(0)
    rng, n = np.random.default_rng(0), circuit.n_neurons
    stimulus = rng.random((n_frames, 1)).astype("f4")
    dynamics = make_dynamics(circuit, activation, variant, seed=1)
    simulator = GradedCircuit(circuit, DT, dynamics)
    voltage, drift, v = *np.empty((2, n_frames, n), "f4"), simulator.steady_state()
    for t in range(n_frames):
        voltage[t], drift[t] = v, simulator.drift(v, stimulus[t])
        v = simulator.advance(v, drift[t]) + np.float32(noise) * rng.standard_normal(n, dtype="f4")
    return Recording.from_arrays(voltage, circuit.wiring, DT, stimulus, drift), Truth(circuit, dynamics, Path())
