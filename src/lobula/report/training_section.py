"""The section on the training of the network: losses, scores by step, and all of it on one sheet."""

from functools import partial

from lobula.figures import Pair, loss_terms, training_in_phases, training_summary
from lobula.figures.training import SCORES
from lobula.metrics import curves_over_seeds
from lobula.report.circuit_sections import cell_types, corner_scores, true_weights
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs
from lobula.report.plane import embedding_plane

_TEXT = (
    "How the network became what it is, by optimiser step. Phases of the training are shaded in turn and named above. "
    "Scores against the truth are only watched here; training never sees them."
)


def training_section(inputs: ReportInputs) -> Section | None:
    """What the loss is made of, scores by step, and the summary."""
    metrics = inputs.metrics
    if metrics is None:
        return None
    caption = (
        "Left: error on the frames that are trained on, and on held-out ones. Right: the loss (broad) and its parts, "
        "the prediction error and every penalty times its coefficient."
    )
    exhibits = [Exhibit("loss_terms", caption, partial(loss_terms, metrics), "full")]
    if any(name in metrics and metrics[name].notna().any() for name in SCORES):
        parts = {"connectivity_r2": "W", "tau_r2": "tau", "vrest_r2": "v_rest"}
        final = {name: inputs.score("gnn", part, "fit_r2") for name, part in parts.items()}
        caption = "How close weights, time constants and resting potentials come to the truth while training goes on."
        caption += " Dots: what is read out at the end." if any(v is not None for v in final.values()) else ""
        draw = partial(training_in_phases, {"gnn": curves_over_seeds([metrics], SCORES)}, final={"gnn": final})
        exhibits.append(Exhibit("training_in_phases", caption, draw, "full"))
    summary = _summary(inputs)
    return Section("training", "Training of the network", _TEXT, exhibits + ([summary] if summary else []))


def _summary(inputs: ReportInputs) -> Exhibit | None:
    estimates, circuit = inputs.estimates.get("gnn"), inputs.circuit
    if estimates is None or circuit is None or inputs.metrics is None:
        return None
    columns = [column for column in estimates.neurons if str(column).startswith("embedding_")]
    if not columns:
        return None
    plane, labels = embedding_plane(estimates.neurons[columns].to_numpy(float))
    kind, names, _ = cell_types(inputs, estimates)
    place = inputs.true_neurons(estimates.neurons["id"].to_numpy())
    tau, rest = (estimates.neurons[column].to_numpy(float) for column in ("tau", "v_rest"))
    weight = estimates.edges["weight"].to_numpy(float)
    values = {
        "W": ("weights", "weight W [a.u.]", true_weights(inputs, estimates), weight),
        "tau": ("time constants", "time constant [s]", circuit.tau[place], tau),
        "v_rest": ("resting potentials", "resting potential [a.u.]", inputs.true_rest[place], rest),
    }
    pairs = [Pair(*value, corner_scores(inputs, "gnn", part)) for part, value in values.items()]
    draw = partial(
        training_summary, inputs.metrics, pairs, plane, kind, names,
        labels=labels, max_points=inputs.config.report.max_points,
    )  # fmt: skip
    caption = "The training at a glance: how it went (above), and what it arrived at (below and upper right)."
    return Exhibit("training_summary", caption, draw, "full")
