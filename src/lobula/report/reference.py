"""The stored reference of a check: what the figures of a recipe were, and how far they may move."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lobula.config import ExperimentConfig, recipe_names
from lobula.data.atomic import atomic_write_text
from lobula.data.provenance import code_state, device_facts, versions
from lobula.errors import ConfigError, MissingInputError, StoreError
from lobula.metrics import Quantity, spread
from lobula.report.fingerprint import Figure

FORMAT, VERSION = "lobula-reference", 1
RULE = (
    "tolerance = max(3 x sd over seeds, floor of the metric, relative floor of the metric x |median|); with one seed "
    "the floors alone, and so for what a seed gives again up to rounding (repeats). A check compares medians over its "
    "seeds. better: higher, lower, one (nearer to 1), same (any change is worse)."
)
SEED_FIELDS = ("simulation.seed", "training.seed")
_NOT_COMPARED = (*SEED_FIELDS, "training.device", "training.checkpoint_every")  # decide no figure, or are varied


@dataclass(frozen=True)
class Known:
    """What the reference knows of one metric.

    Attributes:
        better: direction.
        median: over all seeds of the reference.
        tolerance: change that passes.
        repeats: whether it can be compared for the seeds of the reference only.
        values: by seed.
    """

    better: str
    median: float
    tolerance: float
    repeats: bool
    values: dict[int, float]

    def at(self, seeds: Sequence[int]) -> float | None:
        """Median over some seeds. If the reference lacks one: over its own, or None for a metric that repeats."""
        if any(seed not in self.values for seed in seeds):
            return None if self.repeats else self.median
        return float(np.median([self.values[seed] for seed in seeds]))


@dataclass(frozen=True)
class Reference:
    """Content of a reference file.

    Attributes:
        made: when, ISO 8601.
        seeds: seeds it was made with.
        config: settings it was made with, nested.
        metrics: by name.
        facts: the rest: recipe, digest of the settings, commit, versions, machine.
    """

    made: str
    seeds: tuple[int, ...]
    config: dict[str, Any]
    metrics: dict[str, Known]
    facts: dict[str, Any]

    @classmethod
    def make(cls, config: ExperimentConfig, figures: Mapping[int, Mapping[str, Figure]]) -> "Reference":
        """A reference from the figures of every seed; metrics that a seed lacks are left out.

        Args:
            config: settings of the runs.
            figures: by seed, by name.
        """
        first, *others = figures.values()
        names = [name for name in first if all(name in other for other in others)]
        metrics = {
            name: _known(first[name].quantity, {seed: found[name].value for seed, found in figures.items()})
            for name in names
        }
        facts = {
            "recipe": config.name,
            "config_digest": config.digest(exclude=SEED_FIELDS),
            "code": code_state(),
            "versions": versions(),
            "machine": device_facts(),
        }
        made = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(made, tuple(figures), config.to_dict(), metrics, facts)

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Reads a reference file.

        Raises:
            MissingInputError: if there is none.
            StoreError: if it is damaged or foreign.
        """
        if not path.is_file():
            raise MissingInputError(f"{path}: no reference there; make one with lobula check --update")
        try:
            content = json.loads(path.read_text())
            if (content["format"], content["version"]) != (FORMAT, VERSION):
                raise ValueError(f"format {content['format']} {content['version']}")
            metrics = {
                name: Known(**m | {"values": {int(seed): value for seed, value in m["values"].items()}})
                for name, m in content["metrics"].items()
            }
            facts = {key: content[key] for key in ("recipe", "config_digest", "code", "versions", "machine")}
            return cls(content["made"], tuple(content["seeds"]), content["config"], metrics, facts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            raise StoreError(
                f"{path}: no readable reference ({type(cause).__name__}: {cause}), expected {FORMAT} {VERSION}; make "
                "it again with --update"
            ) from cause

    def save(self, path: Path) -> None:
        """Writes the file, one metric per line."""
        head = {"format": FORMAT, "version": VERSION, "rule": RULE, "made": self.made, "seeds": self.seeds}
        lines = [
            f'  "{key}": {json.dumps(value)}' for key, value in (head | self.facts | {"config": self.config}).items()
        ]
        metrics = [f'    "{name}": {json.dumps(vars(known))}' for name, known in self.metrics.items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        text = ",\n".join([*lines, '  "metrics": {\n' + ",\n".join(metrics) + "\n  }"])
        atomic_write_text(path, f"{{\n{text}\n}}\n")

    def changed_settings(self, config: ExperimentConfig) -> list[str]:
        """Settings that differ from those of the reference, in words; seeds, device and report do not count.

        A field that the reference does not know yet counts if it is not at its default.
        """
        old, new = _flat(self.config), _flat(config.to_dict())
        default = _flat(ExperimentConfig().to_dict())
        changed = [
            f"{path} is {json.dumps(value)}, reference {json.dumps(old.get(path, default[path]))}"
            for path, value in new.items()
            if value != old.get(path, default[path])
        ]
        return changed + [f"{path} is gone, reference {json.dumps(old[path])}" for path in old if path not in new]


def reference_path(recipe: str) -> Path:
    """Where the reference of a recipe is: shipped with lobula, or beside the YAML file.

    Raises:
        ConfigError: if `recipe` is neither a shipped recipe nor a YAML file.
    """
    if recipe in recipe_names():
        return Path(str(resources.files("lobula") / "references" / f"{recipe}.json"))
    path = Path(recipe)
    if not path.is_file():
        raise ConfigError(f"{recipe}: expected a shipped recipe or a YAML file; for a run directory give --reference")
    return path.with_name(f"{path.stem}.reference.json")


def _known(quantity: Quantity, values: dict[int, float]) -> Known:
    over = spread(list(values.values()), quantity.better)
    if over is None:
        raise ConfigError("reference: got no seeds, expected one or more")
    tolerance = quantity.tolerance(over.median, over.sd or 0.0)
    shown = {seed: _short(value) for seed, value in values.items()}
    return Known(quantity.better, _short(over.median), _short(tolerance), quantity.repeats, shown)


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that decide figures, by path."""
    return {
        f"{section}.{key}": value
        for section, fields in document.items()
        if isinstance(fields, Mapping) and section != "report"
        for key, value in fields.items()
        if f"{section}.{key}" not in _NOT_COMPARED
    }
