"""Sections about the circuit itself: weights, neurons, cell types, what can be known."""

from functools import partial

import numpy as np

from lobula.connectome import Connectome
from lobula.data.estimates import Estimates
from lobula.errors import MissingInputError
from lobula.figures import (
    identifiability_map,
    recovery_scatter,
    resolution_histogram,
    weights_by_type,
)
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs


def weight_section(inputs: ReportInputs) -> Section | None:
    """True against recovered weights, and the circuit by pairs of cell types."""
    if inputs.circuit is None or not inputs.estimates:
        return None
    exhibits = []
    for name, estimates in inputs.estimates.items():
        draw = partial(
            recovery_scatter,
            true_weights(inputs, estimates),
            estimates.edges["weight"].to_numpy(float),
            quantity="weight W [a.u.]",
            estimator=name,
            scores=corner_scores(inputs, name, "W"),
            identifiable=_identifiable(estimates),
            max_points=inputs.config.report.max_points,
        )
        caption = f"Recovered against true weights, {inputs.label(name)}."
        exhibits.append(Exhibit(f"weights_{name}", caption, draw))
    if inputs.headline in inputs.estimates:
        exhibits.append(_pairs_exhibit(inputs, inputs.headline))
    text = (
        "How strongly every neuron drives every other. One point per edge, or their density; the dashed line is "
        "perfect recovery. Grey: weights that this recording does not determine."
    )
    return Section("weights", "Synaptic weights", text, exhibits)


def neuron_section(inputs: ReportInputs) -> Section | None:
    """True against recovered time constants and resting potentials."""
    if inputs.circuit is None or not inputs.estimates:
        return None
    quantities = {
        "tau": ("time constant [s]", "time constants", inputs.circuit.tau),
        "v_rest": ("resting potential [a.u.]", "resting potentials", inputs.true_rest),
    }
    exhibits = []
    for column, (label, title, values) in quantities.items():
        for name, estimates in inputs.estimates.items():
            draw = partial(
                recovery_scatter,
                values[inputs.true_neurons(estimates.neurons["id"].to_numpy())],
                estimates.neurons[column].to_numpy(float),
                quantity=label,
                estimator=name,
                scores=corner_scores(inputs, name, column),
                max_points=inputs.config.report.max_points,
            )
            caption = f"Recovered against true {title}, {inputs.label(name)}."
            first = name == next(iter(inputs.estimates))
            exhibits.append(Exhibit(f"{column}_{name}", caption, draw, starts_row=first))
    text = "How fast every neuron follows its input, and the voltage that it returns to. One point per neuron."
    return Section("neurons", "Time constants and resting potentials", text, exhibits)


def knowable_section(inputs: ReportInputs) -> Section | None:
    """Which edges the recording determines at all."""
    if not inputs.estimates:
        return None
    resolution = {
        n: e.edges["resolution"].to_numpy(float) for n, e in inputs.estimates.items() if "resolution" in e.edges
    }
    exhibits = []
    name = inputs.headline
    if inputs.circuit is not None and name in inputs.estimates:
        pre, post, names = edge_types(inputs, inputs.estimates[name])
        known = _identifiable(inputs.estimates[name])
        if known is not None:
            chart = partial(identifiability_map, pre, post, known, names)
            caption = f"Share of the edges from one cell type to another that {name} counts as determined."
            exhibits.append(Exhibit("identifiability", caption, chart, "half"))
    if resolution:
        shares = {n: float(k.mean()) for n, e in inputs.estimates.items() if (k := _identifiable(e)) is not None}
        histogram = partial(resolution_histogram, resolution, shares=shares)
        caption = "How far the recording, rather than the prior, decides each weight."
        exhibits.append(Exhibit("resolution", caption, histogram, "half"))
    text = "A silent neuron tells nothing about its synapses, whatever the method. This is computable before any fit."
    return Section("limits", "What this recording can tell", text, exhibits) if exhibits else None


def corner_scores(inputs: ReportInputs, estimator: str, quantity: str) -> dict[str, float | None]:
    """Numbers on a scatter, as scored; empty if the run was not scored."""
    if not inputs.part(estimator, quantity):
        return {}
    labels = {"fit R²": "fit_r2", "R²": "r2", "slope": "slope"}
    return {label: inputs.score(estimator, quantity, key) for label, key in labels.items()}


def true_weights(inputs: ReportInputs, estimates: Estimates) -> np.ndarray:
    """(E,) true weight of every edge of the fit; 0 for edges that the true circuit does not have."""
    circuit, pre, post = _true_edges(inputs, estimates)
    known = circuit.wiring.post * circuit.n_neurons + circuit.wiring.pre  # ascending: wirings are sorted by (post, pre)
    wanted = post * circuit.n_neurons + pre
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, circuit.weight[place], 0.0)


def cell_types(inputs: ReportInputs, estimates: Estimates) -> tuple[np.ndarray, list[str], str]:
    """Type of every neuron of the fit, the names, and where they come from: the truth, else the recovered clusters."""
    if inputs.circuit is not None:
        ids = estimates.neurons["id"].to_numpy()
        return (
            inputs.circuit.cell_type[inputs.true_neurons(ids)],
            list(inputs.circuit.cell_type_names),
            "true cell type",
        )
    if "cluster" in estimates.neurons:
        cluster = estimates.neurons["cluster"].to_numpy(int)
        return cluster, [str(i) for i in range(cluster.max(initial=0) + 1)], "recovered cluster"
    return np.full(len(estimates.neurons), -1), [], "nothing: there are no types"


def edge_types(inputs: ReportInputs, estimates: Estimates) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True cell type of sender and receiver of every edge of the fit, and the names of the types."""
    circuit, pre, post = _true_edges(inputs, estimates)
    return circuit.cell_type[pre], circuit.cell_type[post], list(circuit.cell_type_names)


def _pairs_exhibit(inputs: ReportInputs, name: str) -> Exhibit:
    estimates = inputs.estimates[name]
    pre, post, names = edge_types(inputs, estimates)
    weights = {"true": true_weights(inputs, estimates), name: estimates.edges["weight"].to_numpy(float)}
    draw = partial(weights_by_type, pre, post, weights, names)
    caption = f"The circuit at a glance: mean weight from each cell type to each other, true and as found by {name}."
    return Exhibit("weights_by_type", caption, draw, "full")


def _true_edges(inputs: ReportInputs, estimates: Estimates) -> tuple[Connectome, np.ndarray, np.ndarray]:
    """The true circuit, and the positions in it of sender and receiver of every edge of the fit."""
    if inputs.circuit is None:
        raise MissingInputError("report: this run holds no truth, so edges have no true values")
    pre, post = (inputs.true_neurons(estimates.edges[end].to_numpy()) for end in ("pre", "post"))
    return inputs.circuit, pre, post


def _identifiable(estimates: Estimates) -> np.ndarray | None:
    return estimates.edges["identifiable"].to_numpy(bool) if "identifiable" in estimates.edges else None
