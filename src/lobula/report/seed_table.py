"""Scores over seeds: mean, spread, median, worst and collapses, per rung and quantity, as data and as Markdown."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lobula.data.atomic import atomic_write_json, atomic_write_text
from lobula.metrics import QUANTITIES, RUNGS, Quantity, Spread, has_collapsed, rung_label, rungs_of, spread

JSON_NAME, MARKDOWN_NAME = "seeds.json", "seeds.md"
HEADINGS = ("quantity", "rung", "n", "mean", "sd", "CV", "median", "worst")
COLLAPSE_RULE = "a seed has collapsed if its W fit R² is below half of the ceiling's (of 1 where there is no ceiling)"


@dataclass(frozen=True)
class SeedScores:
    """The scores of one experiment over seeds.

    Attributes:
        name: of the experiment.
        target: "observed" or "drift".
        scores: content of scores.json by seed.
        failed: what went wrong, by seed that has no scores.
        config_digest: digest of the settings without the seeds.
    """

    name: str
    target: str
    scores: Mapping[int, Mapping[str, Any]]
    failed: Mapping[int, str]
    config_digest: str

    @property
    def rungs(self) -> list[str]:
        """Rungs that any seed has, the ceiling last."""
        found = {name for scores in self.scores.values() for name in rungs_of(scores)}
        return [name for name in (*RUNGS, "ceiling") if name in found]

    def label(self, rung: str) -> str:
        """The rung as tables name it, with its prior."""
        return rung_label(next(iter(self.scores.values()), {}), rung)

    def values(self, quantity: Quantity, rung: str) -> dict[int, float]:
        """The figure by seed; seeds that do not have it are left out."""
        found = {seed: quantity.of(scores.get(rung) or {}) for seed, scores in self.scores.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def spread(self, quantity: Quantity, rung: str) -> Spread | None:
        """The figure over seeds; None if no seed has it."""
        return spread(list(self.values(quantity, rung).values()), quantity.better)

    def collapses(self) -> dict[str, int]:
        """Collapsed seeds by rung; a seed that failed counts for every rung."""
        return {
            rung: len(self.failed) + sum(has_collapsed(scores, rung) for scores in self.scores.values())
            for rung in self.rungs
            if rung != "ceiling"
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Rows of text under `HEADINGS`, rung below rung within a quantity."""
        found = []
        for quantity in QUANTITIES:
            for rung in self.rungs:
                over = self.spread(quantity, rung)
                if over is not None:
                    figures = (over.mean, over.sd, over.cv, over.median, over.worst)
                    found.append((quantity.label, self.label(rung), str(over.n), *map(digits, figures)))
        return found

    def header(self) -> list[str]:
        """Sentences above the table."""
        n = len(self.scores) + len(self.failed)
        seeds = ", ".join(str(seed) for seed in sorted([*self.scores, *self.failed]))
        lost = ", ".join(f"{self.label(rung)} {count} of {n}" for rung, count in self.collapses().items())
        said = [f"{self.name}, target {self.target}, seeds {seeds}."]
        said.append(f"Collapsed: {lost or 'none to count'} ({COLLAPSE_RULE}).")
        said += [f"Seed {seed} failed: {reason}" for seed, reason in self.failed.items()]
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values with full precision."""
        table = {
            rung: {
                quantity.name: asdict(over) | {"better": quantity.better, "values": self.values(quantity, rung)}
                for quantity in QUANTITIES
                if (over := self.spread(quantity, rung)) is not None
            }
            for rung in self.rungs
        }
        return {
            "name": self.name,
            "target": self.target,
            "seeds": sorted(self.scores),
            "failed": dict(self.failed),
            "config_digest": self.config_digest,
            "collapse_rule": COLLAPSE_RULE,
            "collapses": self.collapses(),
            "table": table,
        }

    def to_markdown(self) -> str:
        """Header and table."""
        return "\n\n".join([f"# {self.name} over seeds", *self.header(), markdown_table(HEADINGS, self.rows())]) + "\n"

    def save(self, folder: Path) -> None:
        """Writes seeds.json and seeds.md."""
        atomic_write_json(folder / JSON_NAME, self.to_dict())
        atomic_write_text(folder / MARKDOWN_NAME, self.to_markdown())


def digits(value: float | None) -> str:
    """A figure with the four digits in which seeds and runs differ; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.1e}"


def markdown_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Rows of text as a Markdown table."""
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
