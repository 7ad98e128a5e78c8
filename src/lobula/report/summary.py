"""The top of a report in plain words: what was recorded, what was recovered, how far that can be trusted."""

from dataclasses import dataclass

from lobula.report.inputs import ReportInputs
from lobula.report.tables import NEAR_CEILING
from lobula.report.words import number

SLOPE_TOLERANCE = 0.03
_TARGETS = {
    "observed": (
        "Target: observed. The estimators were fitted to differences of successive recorded frames, which is what an "
        "experimenter has."
    ),
    "drift": (
        "Target: drift. The estimators were fitted to the simulator's exact, noise-free dv/dt, which no experimenter "
        "has. Compare these figures with published drift figures only."
    ),
}
_QUANTITIES = {"W": "synaptic weights", "tau": "time constants", "v_rest": "resting potentials"}


@dataclass(frozen=True)
class Fact:
    """One of the large numbers at the top.

    Attributes:
        value: as printed.
        label: what it is.
        detail: what to compare it with.
        share: 0..1, drawn as a bar, or None.
        mark: 0..1, a tick on the bar (the ceiling, or chance), or None.
    """

    value: str
    label: str
    detail: str = ""
    share: float | None = None
    mark: float | None = None


def facts(inputs: ReportInputs) -> list[Fact]:
    """Fit R² of the headline rung beside the ceiling, and its cell types beside chance."""
    name = inputs.headline
    if name is None:
        return []
    found = []
    for part, label in _QUANTITIES.items():
        value, best = inputs.score(name, part, "fit_r2"), inputs.score("ceiling", part, "fit_r2")
        if value is not None:
            detail = "fit R²" if best is None else f"fit R² · ceiling {number(best)}"
            found.append(Fact(number(value), label, detail, _clip(value), _clip(best)))
    accuracy, chance = (inputs.score(name, "cell_types", key) for key in ("accuracy", "chance_accuracy"))
    if accuracy is not None:
        detail = "accuracy" if chance is None else f"accuracy · chance {chance:.0%}"
        found.append(Fact(f"{accuracy:.0%}", "cell types", detail, _clip(accuracy), _clip(chance)))
    explained = inputs.score(name, "prediction", "rollout_pearson")
    if explained is not None and len(found) < 4:
        found.append(Fact(number(explained), "rollout", "correlation on held-out scenes", _clip(explained)))
    return found


def sentences(inputs: ReportInputs) -> list[str]:
    """A few sentences, most important first."""
    said = [_recorded(inputs)]
    if inputs.headline is not None:
        said += [text for text in (_recovered(inputs, inputs.headline), _types(inputs, inputs.headline)) if text]
    said.append(_TARGETS.get(inputs.target, f"Target: {inputs.target}."))
    return said


def warnings(inputs: ReportInputs) -> list[str]:
    """What the estimators warned about, and what is missing in this run."""
    noted = []
    for name, estimates in inputs.estimates.items():
        given = estimates.notes.get("warnings", [])
        noted += [f"{name}: {text}" for text in ([given] if isinstance(given, str) else given)]
    for name in inputs.rungs:
        count = inputs.score(name, "W", "n_nonfinite")
        if count:
            noted.append(f"{name}: {count:,.0f} recovered weights are not finite; they are left out of its scores.")
    return noted + inputs.gaps


def _recorded(inputs: ReportInputs) -> str:
    recording, simulation = inputs.recording, inputs.config.simulation
    if recording is None:
        wiring = next(iter(inputs.estimates.values())).wiring
        return f"A circuit of {wiring.n_neurons:,} neurons and {wiring.n_edges:,} synaptic connections."
    n_frames = recording["train"].n_frames if "train" in recording else 0
    seconds = n_frames * recording.dt
    text = (
        f"{seconds:,.0f} s of activity ({n_frames:,} frames) of {recording.n_neurons:,} neurons joined by "
        f"{recording.wiring.n_edges:,} synaptic connections"
    )
    if simulation.recording is not None or inputs.truth is None:
        return f"From {text}, lobula recovered the circuit behind it."
    noise = f"process noise {simulation.process_noise:g} per step" if simulation.process_noise else "no process noise"
    if simulation.measurement_noise:
        noise += f" and measurement noise {simulation.measurement_noise:g}"
    return f"From {text}, simulated with {noise}, lobula recovered the circuit behind it."


def _recovered(inputs: ReportInputs, name: str) -> str:
    reached, short, plain = [], [], []
    for part, label in _QUANTITIES.items():
        value, best = inputs.score(name, part, "fit_r2"), inputs.score("ceiling", part, "fit_r2")
        if value is not None and best is None:
            plain.append(f"{label} ({number(value)})")
        elif value is not None and best is not None and value >= best - NEAR_CEILING:
            reached.append(label)
        elif value is not None:
            short.append(f"{label} ({number(value)} of {number(best)})")
    if not (reached or short or plain):
        return ""
    said = [_lead(inputs, name)]
    if reached:
        said.append(f"It recovered {_listed(reached)} as well as this recording allows.")
    if short:
        said.append(f"It stays below what this recording allows in {_listed(short)}, in fit R².")
    if plain:
        said.append(f"Fit R²: {_listed(plain)}.")
    slope, best_slope = inputs.score(name, "W", "slope"), inputs.score("ceiling", "W", "slope")
    if slope is not None and abs(slope - (1 if best_slope is None else best_slope)) > SLOPE_TOLERANCE:
        said.append(f"Its weights come out {slope:.2f} times as large as they are.")
    share = inputs.score(name, "W", "identifiable", "share")
    if share is not None:
        said.append(f"{share:.0%} of the connections can be known from this recording at all.")
    return " ".join(said)


def _lead(inputs: ReportInputs, name: str) -> str:
    """Which estimator is spoken of, and where the others are."""
    truth = inputs.truth
    assumed = inputs.config.ridge.activation, 1.0
    told = (
        name == "ridge"
        and truth is not None
        and assumed == (truth.dynamics.activation, truth.dynamics.activation_scale)
    )
    aside = ", which was given the true message function" if told else ""
    label = inputs.label(name)
    others = {other: inputs.score(other, "W", "fit_r2") for other in inputs.rungs if other != name}
    if not others:
        return f"The estimator is {label}{aside}."
    reached = [f"{inputs.label(other)} {number(value)}" for other, value in others.items() if value is not None]
    also = f" (fit R² of the weights of the others: {_listed(reached)})" if reached else ""
    return f"The estimator closest to the truth is {label}{aside}{also}."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _types(inputs: ReportInputs, name: str) -> str:
    accuracy, chance = (inputs.score(name, "cell_types", key) for key in ("accuracy", "chance_accuracy"))
    if accuracy is None:
        return ""
    beside = "" if chance is None else f" (by chance {chance:.0%})"
    told = " The weights were tied by cell type, so this is no discovery." if inputs.knows_types else ""
    return f"Clustering what it recovered puts {accuracy:.0%} of the neurons into the right cell type{beside}.{told}"


def _clip(value: float | None) -> float | None:
    return None if value is None else min(max(value, 0.0), 1.0)
