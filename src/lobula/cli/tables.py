"""Tables on the terminal."""

import sys
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lobula.report.words import duration, number

if TYPE_CHECKING:
    from lobula.cli.plan import Plan

PIPE_WIDTH = 120
_RUNGS = ("ridge", "spline", "gnn", "ceiling")
_ROWS = (
    ("W fit R²", ("W", "fit_r2")),
    ("W R²", ("W", "r2")),
    ("W slope", ("W", "slope")),
    ("W sign accuracy", ("W", "sign_accuracy")),
    ("W fit R², identifiable", ("W", "identifiable", "fit_r2")),
    ("tau fit R²", ("tau", "fit_r2")),
    ("V_rest fit R²", ("v_rest", "fit_r2")),
    ("cell types, accuracy", ("cell_types", "accuracy")),
    ("cell types, chance", ("cell_types", "chance_accuracy")),
    ("one-step r", ("prediction", "one_step_pearson")),
    ("rollout r", ("prediction", "rollout_pearson")),
    ("rollout r, noise-free", ("prediction", "rollout_noise_free_pearson")),
)


def score_table(scores: dict[str, Any]) -> Table:
    """Scores of every estimator beside the ceiling; rows that nobody has are left out."""
    from lobula.metrics import rung_label

    columns = [name for name in _RUNGS if isinstance(scores.get(name), dict)]
    table = Table(title=f"target: {scores.get('target', 'unknown')}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in columns:
        table.add_column(rung_label(scores, name), justify="right")
    for label, path in _ROWS:
        values = [_at(scores[name], path) for name in columns]
        if any(value is not None for value in values):
            table.add_row(label, *("–" if value is None else number(value) for value in values))
    return table


def plan_table(plan: "Plan") -> Table:
    """What a command would do, and what that takes."""
    table = Table(title=f"{plan.name} in {plan.out}", title_justify="left", show_header=False, box=box.SIMPLE_HEAD)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("neurons N", f"{plan.n_neurons:,}")
    table.add_row("edges E", f"{plan.n_edges:,}")
    table.add_row("stimulus columns H", f"{plan.n_columns:,}")
    table.add_row("frames, training / validation / test", " / ".join(f"{n:,}" for n in plan.n_frames.values()))
    table.add_row("recording on disk, at most", size(plan.disk_bytes))
    table.add_row("free on that disk", size(plan.free_bytes))
    table.add_row("peak memory, about", size(plan.memory_bytes))
    for stage, seconds in plan.seconds.items():
        table.add_row(f"time of {stage}, about", duration(seconds))
    table.add_row("time altogether, about", duration(sum(plan.seconds.values())))
    return table


def plain_table(columns: list[str], rows: list[list[str]], whole: str | None = None) -> Table:
    """Rows of text; all columns may be broken into lines but ``whole``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == whole)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def terminal() -> Console:
    """Where tables go: stdout, 120 columns wide if it is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def size(n_bytes: float) -> str:
    """Bytes as a person says them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def _at(table: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = table
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
