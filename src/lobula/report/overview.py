"""The parts of the page around the figures: its head, the score table, and the facts about the run."""

from datetime import datetime
from typing import Any

import numpy as np

from lobula.config import save_config
from lobula.figures import hexagon_centres
from lobula.report import page
from lobula.report.exhibits import Section
from lobula.report.inputs import ReportInputs
from lobula.report.summary import facts, sentences, warnings
from lobula.report.tables import NEAR_CEILING, score_table, support_table
from lobula.report.words import duration

_SCORES_TEXT = (
    "Every rung of the ladder beside the ceiling: the same regression with the true message function, which is what "
    "this recording allows."
)


def head(inputs: ReportInputs) -> dict[str, str]:
    """HTML of the title, the large numbers, the summary and the warnings."""
    created = str(inputs.manifest.get("created", ""))[:10]
    kicker = [f"target {inputs.target}", *([created] if created else [])]
    return {
        "title": page.escape(inputs.name),
        "kicker": page.escape(" · ".join(["Circuit recovery report", *kicker])),
        "description": page.escape(inputs.config.description),
        "facts": page.fact_cards(facts(inputs)),
        "summary": page.paragraphs(sentences(inputs)),
        "warnings": page.bullet_list(warnings(inputs), "warnings"),
        "mark": _mark(),
        "footer": page.escape(_made_by(inputs)),
    }


def score_section(inputs: ReportInputs) -> Section | None:
    """The score table with the ceiling and the seeds."""
    table = score_table(inputs)
    if table is None:
        return None
    simulation, training = inputs.config.simulation, inputs.config.training
    note = (
        f"✓ within {NEAR_CEILING:g} of the ceiling. Target {inputs.target}; one seed: simulation {simulation.seed}, "
        f"training {training.seed}."
    )
    if inputs.config.prior.is_active:
        note += f" Prior: {inputs.config.prior.label}; the ceiling has none, so it can be exceeded."
    tables = [table, *[t for t in [support_table(inputs)] if t is not None]]
    return Section("scores", "Scores", _SCORES_TEXT, [], tables, note)


def run_facts(inputs: ReportInputs, run_name: str) -> str:
    """HTML of machine, versions, seeds, wall times, config and the command that repeats the run."""
    manifest = inputs.manifest
    code = manifest.get("code") or {}
    device = manifest.get("device") or {}
    general = {
        "started": _moment(manifest.get("created")),
        "seeds": ", ".join(f"{name} {seed}" for name, seed in (manifest.get("seeds") or {}).items()),
        "code": _code_words(code),
        "config digest": str(manifest.get("config_digest", ""))[:12],
    }
    machine = {str(key).removeprefix("n_"): "none" if value is None else value for key, value in device.items()}
    versions = {key: value for key, value in (manifest.get("versions") or {}).items() if value}
    blocks = {"Run": general, "Wall time": _times(inputs), "Machine": machine, "Versions": versions}
    columns = "".join(
        f"<div><h3>{title}</h3>{page.properties(values)}</div>" for title, values in blocks.items() if values
    )
    return (
        f"<h3>Reproduce it</h3>{page.code(command(inputs, run_name))}"
        f'<p class="note">The same seeds on the same machine give the same numbers to the last bit.</p>'
        f'<div class="columns">{columns}</div>'
        + page.folded("The resolved config", page.code(save_config(inputs.config)))
    )


def command(inputs: ReportInputs, run_name: str) -> str:
    """Shell lines that repeat the run."""
    commit = (inputs.manifest.get("code") or {}).get("commit")
    lines = [f"git checkout {commit}"] if commit else []
    return "\n".join([*lines, f"lobula run {run_name}/config.yaml --out {run_name}-again"])


def _times(inputs: ReportInputs) -> dict[str, str]:
    stages = inputs.manifest.get("stages") or {}
    return {
        name: duration(stage.get("wall_s")) + ("" if stage.get("status") == "done" else f" ({stage.get('status')})")
        for name, stage in stages.items()
        if name != "report"
    }


def _code_words(code: dict[str, Any]) -> str:
    if not code.get("commit"):
        return "not from a git checkout"
    return str(code["commit"])[:12] + (" with local changes" if code.get("dirty") else "")


def _moment(text: Any) -> str:
    try:
        return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return "unknown"


def _made_by(inputs: ReportInputs) -> str:
    version = (inputs.manifest.get("versions") or {}).get("lobula")
    maker = f"lobula {version}" if version else "lobula"
    return f"Made by {maker}. This page works offline; its figures and tables lie beside it."


def _mark() -> str:
    """Seven columns of the eye as SVG."""
    u, v = np.array([[0, 1, 0, -1, -1, 0, 1], [0, 0, 1, 1, 0, -1, -1]])
    angles = np.deg2rad(np.arange(0, 360, 60))
    ring = np.column_stack([np.cos(angles), np.sin(angles)]) * 8.2
    shapes = []
    for i, centre in enumerate(15 * hexagon_centres(u, v)):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in centre + ring)
        shapes.append(f'<polygon points="{points}" opacity="{1 - 0.11 * i:.2f}"/>')
    return "".join(shapes)
