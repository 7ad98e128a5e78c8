"""Proposers at equal budget on a small fly circuit: every run is a real training, recovery and scoring.

    python benchmarks/explorer_proposers.py run --n-runs 20
    python benchmarks/explorer_proposers.py table

The policy, the proposer and the gate are those of `lobula explore`, with four slots; runs are done in this process, one
after the other, which saves the start of three processes each. Every repeat has its own panel and its own hold-out.
What a method chose is worth the mean of its hidden runs, which nothing was chosen by. Runs that are there already are
not repeated. Results go to benchmarks/results/explorer/proposers.json, single runs to proposers.jsonl beside it.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lobula import pipeline
from lobula.config import ExperimentConfig, load_config
from lobula.data.provenance import device_facts, versions
from lobula.errors import ConfigError, DivergedError, NonFiniteError
from lobula.exploration.identity import data_id
from lobula.exploration.outcomes import goal_value
from lobula.exploration.panel import holdout, with_pair
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.proposers.base import Proposer
from lobula.exploration.proposers.registry import make_proposer
from lobula.exploration.records import SeedPair
from lobula.exploration.scorer import flatten
from lobula.exploration.simulator import play
from lobula.exploration.study import Objective, Study
from lobula.exploration.study_files import load_study

logger = logging.getLogger("benchmark")
RESULTS = Path(__file__).parent / "results" / "explorer"
METHODS = {
    "tpe": ("tpe", "staged"),
    "random": ("random", "staged"),
    "one parameter, UCB": ("mutator", "ucb"),
}
"""Proposer and policy."""
HEADER = (
    *("method", "repeats", "chosen, on hidden pairs: mean (worst)", "less base", "less random [95 %]"),
    *("claimed by the panel", "best single run claims"),
)
LEFT_OUT = "training.gauss_newton_steps"
"""Of the study's space: a step or two reach the ceiling whatever else is set, so that all methods would look alike."""


class RealRuns:
    """Trains, recovers and scores; keeps what it found in a file.

    Args:
        study: whose base, objective and hold-out are used.
        cache: JSON lines of runs.
        data: folder for recordings.
    """

    def __init__(self, study: Study, cache: Path, data: Path) -> None:
        self.base, self.study = load_config(study.base, overrides=list(study.set)), study
        self.cache, self.data = cache, data
        rows = cache.read_text().splitlines() if cache.exists() else []
        self.known: dict[str, float | None] = {row["run"]: row["metric"] for row in map(json.loads, rows)}

    def metric(self, values: Mapping[str, Any], pair: SeedPair) -> float | None:
        """The objective's metric; None if the run failed."""
        config = with_pair(self.base.with_values(dict(values)), pair)
        name = config.digest()
        if name not in self.known:
            self.known[name] = self._run(config)
            with self.cache.open("a") as file:
                file.write(json.dumps({"run": name, "metric": self.known[name]}) + "\n")
        return self.known[name]

    def true_value(self, objective: Objective, values: Mapping[str, Any]) -> float:
        """Mean over the hold-out."""
        sign = 1.0 if objective.direction == "higher" else -1.0
        found = [self.metric(values, pair) for pair in holdout(self.study.seeds)]
        kept = [sign * (objective.failed if value is None else value) for value in found]
        floor = -np.inf if objective.floor is None else sign * objective.floor
        return goal_value(objective, [max(value, floor) for value in kept])

    def _run(self, config: ExperimentConfig) -> float | None:
        recording = self.data / data_id(config)
        if not (recording / "truth.zarr").exists():
            pipeline.run(config, recording, progress=False, until="simulate")
        config = config.with_values({"simulation.recording": str(recording / "recording.zarr")})
        with tempfile.TemporaryDirectory(dir=self.data) as out:
            try:
                result = pipeline.run(config, out, progress=False, until="score")
            except (DivergedError, NonFiniteError):
                return None
        return flatten(result.scores or {})[0].get(self.study.objective.metric)


def method_study(method: str, repeat: int, n_runs: int) -> Study:
    """The study of a method in a repeat: the shipped one without the field that decides all."""
    proposer, policy = METHODS[method]
    study = load_study("fly-tiny")
    space = [
        entry for entry in study.to_dict()["space"] if (entry if isinstance(entry, str) else entry["path"]) != LEFT_OUT
    ]
    values = study.to_dict() | {"space": space}
    values["budget"] |= {"n_runs": n_runs}
    values["seeds"] |= {"first": 100 * repeat}
    values["proposer"] |= {"name": proposer, "seed": repeat}
    values["policy"] |= {"name": policy, "certify": False}
    return Study.from_dict(values)


def proposer_of(study: Study, folder: Path) -> Proposer:
    """The proposer that the study names."""
    proposer = make_proposer(study, folder)
    if proposer is None:
        raise ConfigError(f"proposer: got {study.proposer.name}, expected one that proposes by itself")
    return proposer


def run(args: argparse.Namespace) -> None:
    """Plays every method in every repeat."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / "proposers.json"
    known = json.loads(file.read_text())["rows"] if file.exists() else []
    found = {(row["method"], row["repeat"]): row for row in known}
    with tempfile.TemporaryDirectory() as data:
        for repeat in args.repeats:
            for method in METHODS:
                study = method_study(method, repeat, args.n_runs)
                runs = RealRuns(study, RESULTS / "proposers.jsonl", Path(data))
                outcomes, snapshot = play(study, runs, make_policy(study), proposer_of(study, Path(data)), repeat)
                row = {"method": method, "repeat": repeat, "base": runs.true_value(study.objective, {})}
                row |= {
                    name: getattr(outcomes[0], name)
                    for name in ("true", "claimed", "single_true", "single_claimed", "n_runs")
                }
                row |= {"chosen": dict(snapshot.node(outcomes[0].node).values)}
                row["values"] = [run.metrics.get(study.objective.metric) for run in snapshot.runs]
                found[method, repeat] = row
                logger.info("repeat %d, %s: %.4f on the hold-out, base %.4f", repeat, method, row["true"], row["base"])
                facts = {
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                    "machine": device_facts(),
                    "versions": versions(),
                }
                settings = {"n_runs": args.n_runs, "space": study.to_dict()["space"], "seeds": study.to_dict()["seeds"]}
                text = json.dumps({**facts, "settings": settings, "rows": list(found.values())}, indent=1)
                file.write_text(text + "\n")


def table(args: argparse.Namespace) -> None:
    """Markdown: what each method chose is worth, against random in the same repeats."""
    rows = json.loads((RESULTS / "proposers.json").read_text())["rows"]
    by = {method: {row["repeat"]: row for row in rows if row["method"] == method} for method in METHODS}
    print(f"| {' | '.join(HEADER)} |")
    print("|---" * len(HEADER) + "|")
    for method, own in by.items():
        true = [row["true"] for row in own.values()]
        gain = np.mean([row["true"] - row["base"] for row in own.values()])
        pairs = [row["true"] - by["random"][k]["true"] for k, row in own.items() if k in by["random"]]
        against = "-"
        if method != "random" and len(pairs) > 1:
            half = stats.t.ppf(0.975, len(pairs) - 1) * np.std(pairs, ddof=1) / np.sqrt(len(pairs))
            against = f"{np.mean(pairs):+.4f} [{np.mean(pairs) - half:+.4f}, {np.mean(pairs) + half:+.4f}]"
        claims = [f"{np.mean([row[name] for row in own.values()]):.4f}" for name in ("claimed", "single_claimed")]
        cells = [method, str(len(own)), f"{np.mean(true):.4f} ({min(true):.4f})", f"{gain:+.4f}", against, *claims]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    play_all = commands.add_parser("run", help="play the studies")
    play_all.add_argument("--repeats", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    play_all.add_argument("--n-runs", type=int, default=20)
    play_all.set_defaults(call=run)
    show = commands.add_parser("table", help="print the table")
    show.set_defaults(call=table)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    args.call(args)


if __name__ == "__main__":
    main()
