"""The truth in the units in which estimates are stated: what no data can tell is settled the same way on both sides."""

from dataclasses import replace

import numpy as np

from lobula.data.recording import Recording
from lobula.recovery.gauge import Gauge, find_gauge, sample_voltage, shared_gauge
from lobula.simulation.truth import Truth


def true_gauge(truth: Truth, recording: Recording) -> Gauge:
    """Gauge of the true messages: that of `recovery.gauge` where every source has a gain of its own."""
    voltage, message = sample_voltage(recording["train"]), truth.dynamics.message_function()
    return shared_gauge(voltage, message) if truth.dynamics.gain is None else find_gauge(voltage, message)


def in_gauge(truth: Truth, recording: Recording) -> Truth:
    """The truth with weights as a recording can tell them.

    A circuit without messages has weights 0, whatever its synapses. A source's gain and its weights trade, W_ij g(gain
    v) = (W_ij s_j) (g(gain v) / s_j), so weights are stated for messages of the population's scale, as estimates are.
    Resting potentials are left such that `rest_in_gauge` counts the messages at v = 0 with the circuit's own weights.

    Args:
        truth: as the simulator used it.
        recording: what was recorded from it.
    """
    circuit, dynamics = truth.connectome, truth.dynamics
    if dynamics.messages and dynamics.gain is None:
        return truth
    if not dynamics.messages:
        weight = np.zeros(circuit.n_edges)
    else:
        weight = circuit.weight * true_gauge(truth, recording).scale[circuit.wiring.pre]
    rest = circuit.v_rest
    if dynamics.messages and dynamics.message_at_rest:
        change = np.bincount(circuit.wiring.post, circuit.weight - weight, circuit.n_neurons)
        rest = rest + dynamics.message_at_rest * change
    return replace(truth, connectome=replace(circuit, weight=weight, v_rest=rest))


def rest_in_gauge(truth: Truth) -> np.ndarray:
    """(N,) true resting potentials when messages are counted from g(0) = 0: V_i + g(0) sum_j W_ij."""
    circuit, offset = truth.connectome, truth.dynamics.message_at_rest
    if not offset:
        return circuit.v_rest
    return circuit.v_rest + offset * np.bincount(circuit.wiring.post, circuit.weight, circuit.n_neurons)
