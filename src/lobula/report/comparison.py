"""Runs side by side: which settings differ, and by how much the scores do, with intervals over seeds."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobula.config import ExperimentConfig
from lobula.data.run_dir import MANIFEST, RunDir
from lobula.errors import ConfigError, MissingInputError, StoreError
from lobula.metrics import CEILING, QUANTITIES, RUNGS, Difference, Direction, difference, rung_label, rungs_of
from lobula.report.reference import SEED_FIELDS
from lobula.report.seed_table import digits, markdown_table

logger = logging.getLogger(__name__)

HEADINGS = ("run", "rung", "quantity", "first", "this", "difference", "95 % interval", "n", "")
_TEXT = ("name", "description")


@dataclass(frozen=True)
class Member:
    """One run of a group.

    Attributes:
        path: run directory.
        config: its settings.
        scores: content of scores.json.
        recording: digest of what the recording was made from, None if the run did not note it.
    """

    path: Path
    config: ExperimentConfig
    scores: dict[str, Any]
    recording: str | None

    @property
    def seed(self) -> tuple[int, int]:
        """Seeds of simulation and training."""
        return self.config.simulation.seed, self.config.training.seed


@dataclass(frozen=True)
class Group:
    """A run, or the runs of one experiment over seeds.

    Attributes:
        path: as it was given.
        members: by seeds.
    """

    path: Path
    members: dict[tuple[int, int], Member]

    @property
    def config(self) -> ExperimentConfig:
        """Settings of the first member; those of the others are the same but for the seeds."""
        return next(iter(self.members.values())).config

    @property
    def target(self) -> str:
        """What was fitted: "observed" or "drift"."""
        return self.config.training.target

    def label(self, rung: str) -> str:
        """The rung as tables name it, with its prior."""
        return rung_label(next(iter(self.members.values())).scores, rung)

    @property
    def rungs(self) -> list[str]:
        """Rungs that any member has, the ceiling last."""
        found = {name for member in self.members.values() for name in rungs_of(member.scores)}
        return [name for name in (*RUNGS, CEILING) if name in found]


@dataclass(frozen=True)
class ScoreRow:
    """The difference of one figure between the first group and another.

    Attributes:
        run: the other group.
        rung: rung of both.
        shown: the same as tables name it, with the priors of both where they differ.
        quantity: name of the figure.
        label: as tables show it.
        better: direction.
        difference: other minus first.
    """

    run: str
    rung: str
    shown: str
    quantity: str
    label: str
    better: Direction
    difference: Difference

    def cells(self) -> tuple[str, ...]:
        """Text under `HEADINGS`."""
        d = self.difference
        interval = "–" if d.low is None or d.high is None else f"{d.low:+.4f} to {d.high:+.4f}"
        n = str(d.n[0]) if d.n[0] == d.n[1] else f"{d.n[0]}, {d.n[1]}"
        figures = (digits(d.first), digits(d.second), f"{d.mean:+.4f}")
        return (self.run, self.shown, self.label, *figures, interval, n, d.judged(self.better))


@dataclass(frozen=True)
class RunComparison:
    """Groups against the first of them.

    Attributes:
        groups: the first is what the others are compared with.
        settings: value by group, of the settings that differ.
        rows: score differences.
        warnings: what to keep in mind.
    """

    groups: tuple[Group, ...]
    settings: dict[str, list[Any]]
    rows: tuple[ScoreRow, ...]
    warnings: tuple[str, ...]

    def header(self) -> list[str]:
        """Sentences above the tables."""
        first = self.groups[0]
        methods = list(dict.fromkeys(row.difference.method for row in self.rows))
        said = [f"Compared with {first.path} (target {first.target}); difference = this - first."]
        said += [f"Intervals: {'; '.join(methods)}; n = seeds used."] if methods else []
        return said + [f"Warning: {warning}" for warning in self.warnings]

    def setting_rows(self) -> list[tuple[str, ...]]:
        """Path and value by group."""
        return [(path, *(json.dumps(value) for value in values)) for path, values in self.settings.items()]

    def setting_headings(self) -> tuple[str, ...]:
        """Headings of `setting_rows`."""
        return ("setting", *(str(group.path) for group in self.groups))

    def to_dict(self) -> dict[str, Any]:
        """Plain values with full precision."""
        return {
            "target": self.groups[0].target,
            "runs": [{"path": str(g.path), "seeds": [list(seed) for seed in g.members]} for g in self.groups],
            "settings": self.settings,
            "scores": [
                {key: value for key, value in vars(row).items() if key != "difference"}
                | vars(row.difference)
                | {"judgement": row.difference.judged(row.better)}
                for row in self.rows
            ],
            "warnings": list(self.warnings),
        }

    def to_markdown(self) -> str:
        """Header, settings and scores."""
        settings = "No setting differs."
        if self.settings:
            settings = markdown_table(self.setting_headings(), self.setting_rows())
        table = markdown_table(HEADINGS, [row.cells() for row in self.rows])
        lines = "\n".join(f"{line}  " for line in self.header())
        return f"# Comparison\n\n{lines}\n\n## Settings that differ\n\n{settings}\n\n## Scores\n\n{table}\n"


def compare_runs(paths: Sequence[Path]) -> RunComparison:
    """Compares runs, or folders of runs over seeds, with the first of them.

    Raises:
        MissingInputError: if there is no run, or one without scores.
        ConfigError: if there are fewer than two, targets differ, or the runs of a folder have different settings.
    """
    if len(paths) < 2:
        raise ConfigError(f"compare: got {len(paths)} runs, expected two or more")
    groups = tuple(load_group(path) for path in paths)
    targets = {group.target: group.path for group in groups}
    if len(targets) > 1:
        shown = ", ".join(f"{path} was fitted to {target!r}" for target, path in targets.items())
        raise ConfigError(
            f"compare: {shown}, expected one target; observed and drift are different problems, compare runs of one"
        )
    rows = [row for group in groups[1:] for row in score_rows(groups[0], group)]
    warnings = [text for group in groups[1:] for text in recording_warnings(groups[0], group)]
    for warning in warnings:
        logger.warning("%s", warning)
    return RunComparison(groups, changed_settings(groups), tuple(rows), tuple(warnings))


def load_group(path: Path) -> Group:
    """A run directory, or a folder whose subfolders are runs of one experiment.

    Raises:
        MissingInputError: if there is no run with scores.
        ConfigError: if settings other than the seeds differ within the folder.
    """
    folders = [path] if (path / MANIFEST).is_file() else sorted(file.parent for file in path.glob(f"*/{MANIFEST}"))
    if not folders:
        raise MissingInputError(
            f"{path}: neither a run nor a folder of runs; check the path, or run `lobula run` first"
        )
    found = sorted((_member(folder) for folder in folders), key=lambda member: member.seed)
    members: dict[tuple[int, int], Member] = {}
    for member in found:
        if member.seed in members:
            raise ConfigError(
                f"{path}: {members[member.seed].path.name} and {member.path.name} have the same seeds {member.seed}, "
                "expected runs of one experiment over seeds; name the runs one by one"
            )
        members[member.seed] = member
        differing = _differing([found[0].config, member.config])
        if differing:
            raise ConfigError(
                f"{path}: {next(iter(differing))} differs between {found[0].path.name} and {member.path.name}, "
                "expected runs of one experiment over seeds; name the runs one by one"
            )
    return Group(path, members)


def score_rows(first: Group, other: Group) -> list[ScoreRow]:
    """Differences of every figure that both groups have."""
    rows = []
    for rung in [name for name in other.rungs if name in first.rungs]:
        shown = " → ".join(dict.fromkeys(group.label(rung) for group in (first, other)))
        for quantity in QUANTITIES:
            pair = []
            for group in (first, other):
                values = {seed: quantity.of(member.scores.get(rung) or {}) for seed, member in group.members.items()}
                pair.append({seed: value for seed, value in values.items() if value is not None})
            found = difference(*pair)
            if found is not None:
                rows.append(
                    ScoreRow(str(other.path), rung, shown, quantity.name, quantity.label, quantity.better, found)
                )
    return rows


def changed_settings(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Value by group of the settings that differ; of the seeds where a single run is compared with a single run."""
    seeds_count = all(len(group.members) == 1 for group in groups)
    return _differing([group.config for group in groups], with_seeds=seeds_count)


def recording_warnings(first: Group, other: Group) -> list[str]:
    """A sentence if runs with the same seeds were fitted to different recordings."""
    differing = [
        seed
        for seed, member in other.members.items()
        if seed in first.members and None not in (member.recording, first.members[seed].recording)
        if member.recording != first.members[seed].recording
    ]
    if not differing:
        return []
    seeds = ", ".join(str(simulation) for simulation, _ in differing)
    return [f"{first.path} and {other.path} were fitted to different recordings (seed {seeds}); ceilings differ, too"]


def _member(folder: Path) -> Member:
    run, file = RunDir.existing(folder), folder / "scores.json"
    if not file.is_file():
        raise MissingInputError(f"{folder}: no scores there; run `lobula score --out {folder}` first")
    try:
        scores = json.loads(file.read_text())
    except (OSError, ValueError) as cause:
        raise StoreError(f"{file}: damaged ({cause}), expected scores; run the score stage again") from cause
    config = run.config
    recording = run.stage_facts("simulate").get("digest")
    if config.simulation.recording is not None:
        recording = str(config.simulation.recording.resolve())
    return Member(folder, config, scores, recording)


def _differing(configs: Sequence[ExperimentConfig], with_seeds: bool = False) -> dict[str, list[Any]]:
    """Value by config of the fields that differ."""
    flat = [
        {f"{section}.{key}": value for section, fields in config.to_dict().items() if section not in _TEXT
         for key, value in fields.items()}
        for config in configs
    ]  # fmt: skip
    found = {path: [document.get(path) for document in flat] for path in flat[0]}
    skipped = () if with_seeds else SEED_FIELDS
    return {
        path: values
        for path, values in found.items()
        if path not in skipped and any(value != values[0] for value in values)
    }
