"""Recordings of small signal networks, as arrays."""

from pathlib import Path

import numpy as np

import lobula
from lobula.connectome import Connectome
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.simulation.signal import SignalCircuit, SignalDynamics
from lobula.simulation.truth import Truth

DT = 0.01


def recorded(
    circuit: Connectome, n_frames: int = 3000, noise: float = 0.0, wiring: Wiring | None = None
) -> tuple[Recording, Truth]:
    """Frames of a network after 500 that are not kept; ``wiring`` in place of its own for whoever fits."""
    simulator, rng = SignalCircuit(circuit, DT), np.random.default_rng(0)
    n, nothing = circuit.n_neurons, np.zeros(0, dtype="f4")
    state = simulator.full_state(5 * rng.standard_normal(n, dtype="f4"), -500)
    voltage, drift = np.empty((2, n_frames, n), "f4")
    for t in range(-500, n_frames):
        rate = simulator.drift(state, nothing)
        if t >= 0:
            voltage[t], drift[t] = state[:n], rate[:n]
        state = simulator.advance(state, rate)
        state[:n] += np.float32(noise) * rng.standard_normal(n, dtype="f4")
    graph = circuit.wiring if wiring is None else wiring
    return Recording.from_arrays(voltage, graph, DT, drift=drift), Truth(circuit, SignalDynamics(circuit), Path())


def network(n: int = 60, fill: float = 1.0, **settings: object) -> Connectome:
    """A small network."""
    return lobula.signal_network(n_neurons=n, fill=fill, **settings)  # type: ignore[arg-type]
