"""The truth in the units in which estimates are stated: what no data can tell is settled the same way on both sides."""

from dataclasses import replace

import numpy as np

from lobula.config.update import UpdateConfig
from lobula.connectome import Connectome
from lobula.data.recording import Recording
from lobula.recovery.gauge import Gauge, find_gauge, range_gauge, sample_voltage, shared_gauge
from lobula.simulation.truth import Truth

PER_LEAK = UpdateConfig()


def true_gauge(truth: Truth, recording: Recording, update: UpdateConfig = PER_LEAK) -> Gauge:
    """Gauge of the true messages: that of `recovery.gauge` where senders have units of their own."""
    voltage, message = sample_voltage(recording["train"]), truth.dynamics.message_function()
    if update.weights == "absolute":
        return range_gauge(voltage, message)
    return shared_gauge(voltage, message) if truth.dynamics.is_shared else find_gauge(voltage, message)


def in_gauge(truth: Truth, recording: Recording, update: UpdateConfig = PER_LEAK) -> Truth:
    """The truth with weights as a recording can tell them.

    A circuit without messages has weights 0, whatever its synapses. A source's gain and its weights trade, W_ij g(gain
    v) = (W_ij s_j) (g(gain v) / s_j), so weights are stated for messages of the population's scale, as estimates are;
    a gain on the summed messages and the weights trade, too, so `update.weights` says what both sides state. Resting
    potentials are left such that `rest_in_gauge` counts the messages at v = 0 with the circuit's own weights.

    Args:
        truth: as the simulator used it.
        recording: what was recorded from it.
        update: section `update`.
    """
    circuit, dynamics, absolute = truth.connectome, truth.dynamics, update.weights == "absolute"
    if dynamics.messages and dynamics.is_shared and circuit.equation is None and not absolute:
        return truth
    if not dynamics.messages:
        return replace(truth, connectome=replace(circuit, weight=np.zeros(circuit.n_edges)))
    rate = circuit.effective_weight if absolute else circuit.effective_weight * circuit.tau[circuit.wiring.post]
    weight = rate * true_gauge(truth, recording, update).scale[circuit.wiring.pre]
    expected = circuit.v_rest + circuit.tau * messages_at_zero(truth, circuit.effective_weight)
    rest = expected - messages_at_zero(truth, weight)
    return replace(truth, connectome=replace(circuit, weight=weight, v_rest=rest))


def messages_at_zero(truth: Truth, weight: np.ndarray) -> np.ndarray:
    """(N,) weighted sums of the messages that neurons send at v = 0."""
    circuit: Connectome = truth.connectome
    message = np.broadcast_to(truth.dynamics.message_at_rest, circuit.n_neurons)
    return np.bincount(circuit.wiring.post, weight * message[circuit.wiring.pre], circuit.n_neurons)


def rest_in_gauge(truth: Truth) -> np.ndarray:
    """(N,) true resting potentials when messages are counted from g(0) = 0: V_i + sum_j W_ij g_j(0)."""
    if not np.any(truth.dynamics.message_at_rest):
        return truth.connectome.v_rest
    return truth.connectome.v_rest + messages_at_zero(truth, truth.connectome.weight)
