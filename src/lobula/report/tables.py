"""The numbers of a report as tables: scores by rung beside the ceiling, prediction, cell types, wall times."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from lobula.report.inputs import ReportInputs
from lobula.report.words import number

NEAR_CEILING = 0.015
_PARTS = {
    "W": "Weights W, all edges",
    "W identifiable": "Weights W, identifiable edges",
    "tau": "Time constants",
    "v_rest": "Resting potentials",
}
_MEASURES = {
    "fit_r2": ("fit R²", "share of variance on the best line through recovered against true: blind to scale and sign"),
    "r2": ("R²", "share of variance on the line recovered = true"),
    "slope": ("slope", "slope of the best line; 1 is right"),
    "fit_r2_no_outliers": ("fit R², no outliers", "fit R² without the outliers"),
    "sign_accuracy": ("sign accuracy", "share of weights with the right sign"),
    "rmse": ("RMSE", "root-mean-square error, in the quantity's unit"),
    "relative_error": ("relative error", "length of the error vector over that of the true values"),
    "share": ("share of edges", "share of edges that the recording determines"),
    "n": ("compared", "values compared"),
    "n_nonfinite": ("not finite", "recovered values that are NaN or infinite: left out and counted"),
    "n_outliers": ("outliers", "values with an absolute error beyond scoring.outlier_threshold"),
}
_PREDICTION = {
    "one_step_rmse": ("one-step RMSE", "error of dv/dt one step ahead [a.u./s]"),
    "one_step_pearson": ("one-step r", "median Pearson correlation over neurons, one step ahead"),
    "one_step_fraction_explained": ("one-step explained", "median share of the variance explained, one step ahead"),
    "rollout_rmse": ("rollout RMSE", "error of the voltage when the circuit runs by itself [a.u.]"),
    "rollout_pearson": ("rollout r", "median Pearson correlation over neurons in the rollout"),
    "rollout_fraction_explained": ("rollout explained", "median share of the variance explained in the rollout"),
    "rollout_noise_free_rmse": ("noise-free RMSE", "error against the true circuit run without noise [a.u.]"),
    "rollout_noise_free_pearson": (
        "noise-free r",
        "median Pearson correlation with the true circuit without noise",
    ),
    "rollout_noise_free_fraction_explained": ("noise-free explained", "median share of its variance explained"),
    "horizon_s": ("horizon", "median time until a rollout is off by half of the spread of the recording [s]"),
    "horizon_lyapunov": ("horizon, Lyapunov times", "the same times the largest Lyapunov exponent of the circuit"),
    "horizon_censored": ("rollouts never lost", "share that lasts to the end: from .5 on the horizon is a lower bound"),
    "rollout_steps": ("steps per rollout", "length of a rollout [frames]"),
    "n_rollouts": ("rollouts", "number of rollouts, from as many held-out frames"),
    "n_frames_one_step": ("one-step frames", "held-out frames of the one-step scores"),
}
_SUPPORT = {
    "auc": ("AUC", "area under the ROC curve of weights over their standard errors; .5 by chance"),
    "f1": ("F1", "of the connections called present, at an expected share of false ones of 1 %"),
    "precision": ("precision", "share of those called present that exist"),
    "recall": ("recall", "share of those that exist that are called present"),
    "n_candidates": ("candidates", "pairs of neurons that were fitted"),
    "n_true": ("exist", "connections of the true circuit"),
    "n_found": ("called present", "connections of the recovered circuit"),
}
_CIRCUIT = {
    "spectral_radius_W": ("spectral radius of W", "largest magnitude of an eigenvalue of the drawn weights"),
    "spectral_radius_gW": ("spectral radius of g W", "the same of what acts on dv/dt [1/s]"),
    "effective_rank_90": ("effective rank, 90 %", "components that hold 90 % of the variance, of the whole spectrum"),
    "effective_rank_99": ("effective rank, 99 %", "components that hold 99 % of the variance, of the whole spectrum"),
    "n_components": ("components", "that the recording could have"),
    "lyapunov_exponent": ("largest Lyapunov exponent", "rate at which nearby trajectories part [1/s]; chaos above 0"),
}
_SPECTRUM = {
    "spectral_radius": ("spectral radius", "largest magnitude of an eigenvalue of the recovered weights"),
    "true_spectral_radius": ("true spectral radius", "the same of the true weights"),
    "alignment_senders": ("directions of senders", "agreement with the true main directions; 1: the same space"),
    "alignment_receivers": ("directions of receivers", "the same of what they drive"),
    "n_directions": ("directions", "main directions that are compared"),
}
_TYPES = {
    "accuracy": ("accuracy", "share of neurons in the right cluster, clusters and types matched one to one"),
    "chance_accuracy": ("chance", "accuracy of the same clusters dealt out at random"),
    "ari": ("ARI", "adjusted Rand index: 0 by chance, 1 perfect"),
    "nmi": ("NMI", "normalised mutual information"),
    "n_clusters": ("clusters", "number of clusters"),
    "n_types": ("cell types", "number of true cell types"),
    "method": ("method", "clustering method of the rows above: gmm is a mixture of Gaussians"),
    "kmeans accuracy": ("k-means accuracy", "accuracy with k-means instead"),
    "kmeans chance_accuracy": ("k-means chance", "chance with k-means"),
    "kmeans ari": ("k-means ARI", "adjusted Rand index with k-means"),
}


@dataclass(frozen=True)
class Cell:
    """One entry of a table: the text, and whether it is within reach of the ceiling."""

    text: str
    near_ceiling: bool = False


@dataclass(frozen=True)
class Row:
    """One row: what is measured, what that means, and an entry per column. Without entries it is a heading."""

    label: str
    meaning: str = ""
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table for the page, and the same numbers for its CSV.

    Attributes:
        name: of the CSV file.
        columns: headings of the columns after the first.
        rows: rows and headings.
        values: long or wide data frame with full precision.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    values: pd.DataFrame


def score_table(inputs: ReportInputs) -> Table | None:
    """Recovery scores: one column per rung and one for the ceiling; None if the run has no such scores."""
    columns = [name for name in [*inputs.rungs, "ceiling"] if any(_part(inputs, name, part) for part in _PARTS)]
    labels = {name: inputs.label(name) for name in columns}
    rows: list[Row] = []
    values = []
    for part, title in _PARTS.items():
        tables = {name: _part(inputs, name, part) for name in columns}
        shown = [key for key in _MEASURES if any(key in table for table in tables.values())]
        if not shown:
            continue
        rows.append(Row(title))
        for key in shown:
            cells = tuple(_score_cell(key, tables[name], tables.get("ceiling", {}), name) for name in columns)
            rows.append(Row(*_MEASURES[key], cells))
            found = {labels[name]: tables[name].get(key) for name in columns}
            values.append({"quantity": part, "measure": key} | found)
    return Table("scores", tuple(labels.values()), tuple(rows), pd.DataFrame(values)) if rows else None


def prediction_table(inputs: ReportInputs) -> Table | None:
    """Prediction of held-out frames, one column per rung."""
    return _by_rung(inputs, "prediction", _PREDICTION)


def support_table(inputs: ReportInputs) -> Table | None:
    """The recovered graph where it was not known, one column per rung."""
    return _by_rung(inputs, "support", _SUPPORT)


def circuit_table(inputs: ReportInputs) -> Table | None:
    """Facts about the true circuit; None where there is none."""
    facts = inputs.scores.get("circuit")
    if not facts:
        return None
    known = {key: facts[key] for key in _CIRCUIT if facts.get(key) is not None}
    rows = tuple(Row(*_CIRCUIT[key], (Cell(number(value, key)),)) for key, value in known.items())
    return Table("circuit", ("true circuit",), rows, pd.DataFrame({"measure": [*known], "true": [*known.values()]}))


def spectrum_table(inputs: ReportInputs) -> Table | None:
    """Spectral radius and main directions of the recovered weights, one column per rung."""
    return _by_rung(inputs, "spectrum", _SPECTRUM)


def type_table(inputs: ReportInputs) -> Table | None:
    """Recovered cell types beside chance, one column per rung."""
    return _by_rung(inputs, "cell_types", _TYPES)


def _part(inputs: ReportInputs, name: str, part: str) -> dict[str, Any]:
    return inputs.part(name, *part.split())


def _score_cell(key: str, table: dict[str, Any], ceiling: dict[str, Any], name: str) -> Cell:
    value, best = table.get(key), ceiling.get(key)
    comparable = name != "ceiling" and key in ("fit_r2", "r2") and None not in (value, best)
    near = comparable and float(value) >= float(best) - NEAR_CEILING  # type: ignore[arg-type]
    return Cell(number(value, key) if key in table else "–", near)


def _by_rung(inputs: ReportInputs, part: str, labels: dict[str, tuple[str, str]]) -> Table | None:
    names = [name for name in inputs.rungs if inputs.part(name, part)]
    tables = {inputs.label(name): _flat(inputs.part(name, part)) for name in names}
    found = dict.fromkeys(key for table in tables.values() for key in table)
    keys = [key for key in labels if key in found] + [key for key in found if key not in labels and " " not in key]
    rows, values = [], []
    for key in keys:
        label, meaning = labels.get(key, (key.replace("_", " "), ""))
        cells = tuple(Cell(number(t[key], key) if key in t else "–") for t in tables.values())
        rows.append(Row(label, meaning, cells))
        values.append({"measure": key} | {name: table.get(key) for name, table in tables.items()})
    return Table(part, tuple(tables), tuple(rows), pd.DataFrame(values)) if rows else None


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    """Plain values, those of a table in the table under "outer inner"."""
    inner = {f"{key} {k}": v for key, value in table.items() if isinstance(value, dict) for k, v in value.items()}
    return {key: value for key, value in (table | inner).items() if not isinstance(value, dict | list)}
