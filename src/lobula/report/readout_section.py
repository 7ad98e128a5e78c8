"""The section on the read-out: what the trained network holds, and how that becomes weights and time constants."""

from functools import partial

import numpy as np

from lobula.figures import ByType, raw_and_corrected, slopes_by_type
from lobula.metrics import line_fit
from lobula.models import message_function
from lobula.recovery.gauge import find_gauge
from lobula.recovery.linearise import on_distribution, visited_frames
from lobula.report.circuit_sections import cell_types, corner_scores, true_weights
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs

_FRAMES = 16
_TEXT = (
    "A trained network may trade factors between its weights and its functions and predict the same. The read-out "
    "takes the slopes of the functions into the weights, so that they can be compared with synapses."
)
_WEIGHTS = "Weights before (left, in a unit that only the network knows) and after the slopes were taken into account."
_SLOPES = (
    "Slopes of the learned functions, neuron by neuron, at the voltages that each one visits. Above: how steeply the "
    "message grows with the sender's voltage. Below: how fast a neuron falls back, truly -1/tau."
)


def readout_section(inputs: ReportInputs) -> Section | None:
    """Raw and corrected weights, message slopes and update slopes of the trained network."""
    estimates, recording, model = inputs.estimates.get("gnn"), inputs.recording, inputs.network
    sample = inputs.voltage_sample
    if estimates is None or recording is None or model is None or sample is None:
        return None
    if len(estimates.neurons) != recording.n_neurons:
        return None
    exhibits = []
    if inputs.circuit is not None:
        true, raw = true_weights(inputs, estimates), model.weight.detach().double().numpy()
        known = np.isfinite(raw)
        slope, fit_r2 = line_fit(true[known], raw[known])
        numbers = {"fit R²": fit_r2, "slope": slope}
        draw = partial(
            raw_and_corrected, true, raw, estimates.edges["weight"].to_numpy(float),
            estimator="gnn", scores=corner_scores(inputs, "gnn", "W"), max_points=inputs.config.report.max_points,
            raw_scores={label: value if np.isfinite(value) else None for label, value in numbers.items()},
        )  # fmt: skip
        exhibits.append(Exhibit("raw_and_corrected", _WEIGHTS, draw, "full"))
    slopes = on_distribution(model, *visited_frames(recording, _FRAMES))
    gauge = find_gauge(sample, message_function(model))
    kind, names, _ = cell_types(inputs, estimates)
    leak = None
    if inputs.circuit is not None:
        leak = -1.0 / inputs.circuit.tau[inputs.true_neurons(estimates.neurons["id"].to_numpy())]
    quantities = [ByType("message slope", gauge.scale, kind), ByType("update slope [1/s]", slopes.k, kind, leak)]
    if names:
        chart = partial(slopes_by_type, quantities, names, estimator="gnn")
        exhibits.append(Exhibit("slopes", _SLOPES, chart, "full"))
    return Section("read-out", "From the network to synapses", _TEXT, exhibits) if exhibits else None
