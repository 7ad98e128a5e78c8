"""The section on cell types: embeddings, clusters beside the truth, errors by type."""

from functools import partial

import numpy as np

from lobula.data.estimates import Estimates
from lobula.figures import ByType, clusters_in_plane, confusion_matrix, type_errors, types_in_plane
from lobula.metrics import confusion_counts
from lobula.recovery.cell_types import neuron_features
from lobula.report.circuit_sections import cell_types, edge_types, true_weights
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs
from lobula.report.plane import embedding_plane, neuron_map
from lobula.report.tables import type_table


def type_section(inputs: ReportInputs) -> Section | None:
    """Neurons in the learned embedding and in the plane of tau and rest, coloured by type."""
    exhibits = []
    for name, estimates in inputs.estimates.items():
        kind, names, source = cell_types(inputs, estimates)
        columns = [column for column in estimates.neurons if str(column).startswith("embedding_")]
        if columns:
            plane, labels = embedding_plane(estimates.neurons[columns].to_numpy(float))
            draw = partial(types_in_plane, plane[:, 0], plane[:, 1], kind, names, labels=labels)
            caption = f"What {name} learned to tell neurons apart, coloured by {source}."
            exhibits.append(Exhibit(f"embedding_{name}", caption, draw, "half"))
    best = inputs.headline
    if best in inputs.estimates:
        estimates = inputs.estimates[best]
        kind, names, source = cell_types(inputs, estimates)
        tau, rest = (estimates.neurons[column].to_numpy(float) for column in ("tau", "v_rest"))
        labels = ("recovered time constant [s]", "recovered resting potential [a.u.]")
        draw = partial(types_in_plane, tau, rest, kind, names, labels=labels)
        caption = f"Two properties that {best} recovered, coloured by {source}: neurons of one type gather."
        exhibits.append(Exhibit(f"type_plane_{best}", caption, draw, "half"))
        exhibits += [*cluster_exhibits(inputs, best), *[e for e in [error_exhibit(inputs, best)] if e is not None]]
    tables = [table for table in [type_table(inputs)] if table is not None]
    told = (
        "; the estimators were told the types" if inputs.knows_types else ", although no estimator was told the types"
    )
    text = f"Neurons of one type should end up together{told}."
    return Section("cell-types", "Cell types", text, exhibits, tables) if exhibits or tables else None


def cluster_exhibits(inputs: ReportInputs, name: str) -> list[Exhibit]:
    """Confusion of the clusters with the true types, and both on one map; nothing without truth or clusters."""
    estimates = inputs.estimates[name]
    if inputs.circuit is None or "cluster" not in estimates.neurons:
        return []
    kind, names, _ = cell_types(inputs, estimates)
    cluster = estimates.neurons["cluster"].to_numpy(int)
    clustered = cluster >= 0
    if not clustered.any():
        return []
    counts, labels, matched = confusion_counts(kind[clustered], cluster[clustered], len(names))
    caption = (
        f"Which cluster of {name} holds which cell type. Clusters stand in the order of the types that they match, so "
        "that a perfect clustering is a diagonal."
    )
    draw = partial(confusion_matrix, counts, labels, names, estimator=name)
    exhibits = [Exhibit("confusion", caption, draw, "half")]
    found = np.full(len(cluster), -1)
    order = np.argsort(labels)
    found[clustered] = matched[order[np.searchsorted(labels[order], cluster[clustered])]]
    plane, axes, method = neuron_map(_features(estimates))
    caption = (
        f"A map of the neurons by everything that {name} recovered of them ({method}), coloured by true type and by "
        "the type that their cluster matches; grey clusters match none."
    )
    chart = partial(clusters_in_plane, plane, kind, found, names, labels=axes)
    return [*exhibits, Exhibit("cluster_map", caption, chart, "full")]


def error_exhibit(inputs: ReportInputs, name: str) -> Exhibit | None:
    """Mean and spread of what was recovered by cell type beside the truth; None without truth."""
    if inputs.circuit is None:
        return None
    estimates = inputs.estimates[name]
    place = inputs.true_neurons(estimates.neurons["id"].to_numpy())
    kind, names, _ = cell_types(inputs, estimates)
    pre, _, _ = edge_types(inputs, estimates)
    weight = estimates.edges["weight"].to_numpy(float)
    tau, rest = (estimates.neurons[column].to_numpy(float) for column in ("tau", "v_rest"))
    quantities = [
        ByType("weight sent [a.u.]", weight, pre, true_weights(inputs, estimates)),
        ByType("time constant [s]", tau, kind, inputs.circuit.tau[place]),
        ByType("resting potential [a.u.]", rest, kind, inputs.true_rest[place]),
    ]
    caption = f"Every cell type's mean, true (grey) and as {name} recovered it; bars are one standard deviation."
    return Exhibit("type_errors", caption, partial(type_errors, quantities, names, estimator=name), "full")


def _features(estimates: Estimates) -> np.ndarray:
    """(N, F) what cell types are found from, without the partners."""
    neurons = estimates.neurons
    refitted = estimates.notes.get("readout") == "refit"
    columns = [] if refitted else [column for column in neurons if str(column).startswith("embedding_")]
    embedding = neurons[columns].to_numpy(float) if columns else None
    tau, rest, weight = neurons["tau"], neurons["v_rest"], estimates.edges["weight"]
    return neuron_features(
        estimates.wiring, weight.to_numpy(float), tau.to_numpy(float), rest.to_numpy(float), embedding
    )
