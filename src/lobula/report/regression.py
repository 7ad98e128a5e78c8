"""The regression check: figures of runs against a stored reference, row by row, and the history of the verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lobula.config import ExperimentConfig
from lobula.data.atomic import atomic_write_text
from lobula.data.provenance import code_state, device_facts, versions
from lobula.metrics import Direction, Quantity, worse_by
from lobula.report.fingerprint import Figure
from lobula.report.reference import Known, Reference
from lobula.report.seed_table import digits, markdown_table

Status = Literal["ok", "better", "worse", "changed", "missing", "new"]
FAILING = ("worse", "changed", "missing")
HISTORY = "history.md"
HEADINGS = ("metric", "reference", "now", "worse by", "tolerance", "status")
_HEADLINE = ("W.fit_r2", "W.r2", "W.slope", "tau.r2", "v_rest.r2", "cell_types.accuracy", "prediction.rollout_pearson")


@dataclass(frozen=True)
class Row:
    """One metric.

    Attributes:
        name: for example "gnn.W.fit_r2".
        better: direction.
        reference: median over the seeds compared; None if the metric is new.
        value: median now; None if it is missing or not finite for a seed.
        worse_by: positive is worse, in units of the metric; None if there is nothing to compare.
        tolerance: what passes.
        status: "ok", "better" (by more than the tolerance), "worse", "changed" (better is "same"), "missing", "new"
            (the reference does not know it, or not for these seeds).
    """

    name: str
    better: str
    reference: float | None
    value: float | None
    worse_by: float | None
    tolerance: float | None
    status: Status

    @property
    def is_headline(self) -> bool:
        """Whether it is shown even if nothing is wrong with it."""
        rung, _, name = self.name.partition(".")
        return rung != "ceiling" and name in _HEADLINE

    def cells(self) -> tuple[str, ...]:
        """Text under `HEADINGS`."""
        figures = (self.reference, self.value, self.worse_by, self.tolerance)
        return (self.name, *map(digits, figures), self.status if self.status == "ok" else self.status.upper())


@dataclass(frozen=True)
class Comparison:
    """A check's result.

    Attributes:
        name: of the recipe.
        seeds: seeds compared.
        made: when the reference was made.
        rows: metrics of the reference, then new ones.
        changed_settings: settings that differ from the reference's, in words.
        failed_seeds: what went wrong, by seed that has no scores.
        facts: time, code, versions and machine of this check.
    """

    name: str
    seeds: tuple[int, ...]
    made: str
    rows: tuple[Row, ...]
    changed_settings: tuple[str, ...] = ()
    failed_seeds: Mapping[int, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> bool:
        """Whether nothing is worse, changed or missing, and the settings are those of the reference."""
        return not (self.changed_settings or self.failed_seeds or any(row.status in FAILING for row in self.rows))

    def of_status(self, *statuses: str) -> list[Row]:
        """Rows with one of these statuses."""
        return [row for row in self.rows if row.status in statuses]

    def header(self) -> list[str]:
        """Sentences above the table, the verdict first."""
        counts = ", ".join(f"{len(self.of_status(s))} {s}" for s in ("worse", "changed", "missing", "better", "new"))
        seeds = ", ".join(map(str, self.seeds)) or "none"
        said = [f"{'PASS' if self.passes else 'FAIL'}: {self.name}, seeds {seeds}, reference of {self.made}."]
        said.append(f"{len(self.rows)} metrics: {counts}.")
        said += [f"Setting {change}." for change in self.changed_settings]
        return said + [f"Seed {seed} failed: {reason}" for seed, reason in self.failed_seeds.items()]

    def shown_rows(self, everything: bool = False) -> list[Row]:
        """Headline metrics and all that are not as they were; or all."""
        return [row for row in self.rows if everything or row.is_headline or row.status != "ok"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values with full precision."""
        return {
            "verdict": "pass" if self.passes else "fail",
            "name": self.name,
            "seeds": list(self.seeds),
            "reference_made": self.made,
            "changed_settings": list(self.changed_settings),
            "failed_seeds": dict(self.failed_seeds),
            "rows": [asdict(row) for row in self.rows],
            **self.facts,
        }

    def to_markdown(self, everything: bool = False) -> str:
        """Header and table."""
        rows = [row.cells() for row in self.shown_rows(everything)]
        return "\n".join(f"{line}  " for line in self.header()) + "\n\n" + markdown_table(HEADINGS, rows) + "\n"


def compare_with_reference(
    reference: Reference,
    config: ExperimentConfig,
    figures: Mapping[int, Mapping[str, Figure]],
    failed_seeds: Mapping[int, str],
) -> Comparison:
    """Holds the figures of runs against a reference.

    Args:
        reference: what they should be.
        config: settings of the runs.
        figures: by seed, by name.
        failed_seeds: reason by seed that has no figures.
    """
    seeds = tuple(figures)
    rows = [_row(name, known, figures) for name, known in reference.metrics.items()]
    seen = {name: figure for found in figures.values() for name, figure in found.items()}
    rows += [
        Row(name, figure.quantity.better, None, _median(name, figures), None, None, "new")
        for name, figure in seen.items()
        if name not in reference.metrics
    ]
    return Comparison(
        config.name,
        seeds,
        reference.made,
        tuple(rows),
        tuple(reference.changed_settings(config)),
        failed_seeds,
        {"time": _now(), "code": code_state(), "versions": versions(), "machine": device_facts()},
    )


def append_history(folder: Path, comparison: Comparison, note: str = "") -> Path:
    """Adds a check to history.md: time, commit, verdict, figures, and a note below them."""
    path = folder / HISTORY
    old = path.read_text() if path.is_file() else f"# Checks of {comparison.name}\n"
    code = comparison.facts.get("code") or {}
    commit = code.get("commit") or "unknown"
    dirty = {True: ", dirty", False: ", clean", None: ""}[code.get("dirty")]
    parts = [old.rstrip("\n"), f"## {comparison.facts.get('time', _now())}, commit {commit}{dirty}"]
    parts.append(comparison.to_markdown().rstrip("\n"))
    parts += [note.strip()] if note.strip() else []
    atomic_write_text(path, "\n\n".join(parts) + "\n")
    return path


def _row(name: str, known: Known, figures: Mapping[int, Mapping[str, Figure]]) -> Row:
    seeds: Sequence[int] = tuple(figures)
    reference, value = known.at(seeds), _median(name, figures)
    if reference is None:
        return Row(name, known.better, None, value, None, None, "new")
    if value is None:
        return Row(name, known.better, reference, None, None, known.tolerance, "missing")
    quantity: Quantity = next(found[name].quantity for found in figures.values())
    better: Direction = quantity.better
    change = worse_by(better, reference, value)
    status: Status = "ok"
    if change > known.tolerance:
        status = "changed" if better == "same" else "worse"
    elif change < -known.tolerance:
        status = "better"
    return Row(name, better, reference, value, change, known.tolerance, status)


def _median(name: str, figures: Mapping[int, Mapping[str, Figure]]) -> float | None:
    """Over seeds; None if a seed lacks it."""
    if not figures or any(name not in found for found in figures.values()):
        return None
    return float(np.median([found[name].value for found in figures.values()]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
