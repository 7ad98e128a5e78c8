"""The truth in the units in which estimates are stated: what no data can tell is settled the same way on both sides."""

from dataclasses import replace

import numpy as np

from lobula.config.update import UpdateConfig
from lobula.data.recording import Recording
from lobula.recovery.gauge import Gauge, find_gauge, range_gauge, sample_voltage, shared_gauge
from lobula.regression.edge_messages import GroupMessages, columns_of
from lobula.simulation.truth import Truth

PER_LEAK = UpdateConfig()


def true_gauge(truth: Truth, recording: Recording, update: UpdateConfig = PER_LEAK) -> Gauge:
    """Gauge of the true messages: that of `recovery.gauge` where senders have units of their own."""
    voltage, message = sample_voltage(recording["train"]), truth.dynamics.message_function()
    if update.weights == "absolute" or isinstance(message, GroupMessages):
        return range_gauge(voltage, recording["train"].visited_range, message)
    return shared_gauge(voltage, message) if truth.dynamics.is_shared else find_gauge(voltage, message)


def in_gauge(truth: Truth, recording: Recording, update: UpdateConfig = PER_LEAK) -> Truth:
    """The truth with weights and resting potentials as a recording can tell them.

    A circuit without messages has weights 0, whatever its synapses. A source's gain and its weights trade, W_ij g(gain
    v) = (W_ij s_j) (g(gain v) / s_j), so weights are stated for messages of the population's scale, as estimates are;
    a gain on the summed messages and the weights trade, too, so `update.weights` says what both sides state. Messages
    at v = 0 count as rest.

    Args:
        truth: as the simulator used it.
        recording: what was recorded from it.
        update: section `update`.
    """
    circuit, weight = truth.connectome, stated_weight(truth, recording, update)
    rest = truth.dynamics.rest_in_gauge(circuit)
    if weight is circuit.weight and rest is circuit.v_rest:
        return truth
    return replace(truth, connectome=replace(circuit, weight=weight, v_rest=rest))


def stated_weight(truth: Truth, recording: Recording, update: UpdateConfig) -> np.ndarray:
    """(E,) true weights in the units of the estimates."""
    circuit, dynamics, absolute = truth.connectome, truth.dynamics, update.weights == "absolute"
    if not dynamics.messages:
        return np.zeros(circuit.n_edges)
    if circuit.equation is None and dynamics.is_shared and not absolute:
        return circuit.weight
    weight = circuit.effective_weight
    if not absolute:
        weight = weight * circuit.tau[circuit.wiring.post]
    return weight * true_gauge(truth, recording, update).scale[columns_of(dynamics.message_function(), circuit.wiring)]
