"""Snapshots of a study that was never run, made by hand: nodes with scores, in the order in which they are added."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lobula.exploration.panel import holdout, panel
from lobula.exploration.records import (
    NodeRecord,
    ProposalRecord,
    RunRecord,
    RunState,
    SeedPair,
    Snapshot,
)
from lobula.exploration.study import Study

METRIC, SECOND = "gnn.W.r2", "gnn.cell_types.accuracy"
RUN_SECONDS = 600.0


def a_study(**values: Any) -> Study:
    """A study with some sections other than default, each a dict: a_study(policy={"name": "ucb"})."""
    return Study.from_dict({"name": "toy", **values})


class Story:
    """Grows a snapshot. Every method returns what it adds, so that later ones can refer to it.

    Attributes:
        study: the study.
        nodes: so far.
        runs: so far.
        proposals: so far.
        block: block that new nodes belong to, and the snapshot's.
        phase: the snapshot's.
    """

    def __init__(self, study: Study | None = None, block: int = 0, phase: str = "search") -> None:
        self.study = study or a_study()
        self.nodes: list[NodeRecord] = []
        self.runs: list[RunRecord] = []
        self.proposals: list[ProposalRecord] = []
        self.block, self.phase = block, phase

    def node(
        self,
        score: float | None = None,
        parent: int | None = None,
        values: Mapping[str, Any] | None = None,
        changes: Sequence[tuple[str, Any, Any]] = (),
        strategy: str = "exploit",
        state: RunState = RunState.SCORED,
        second: float | None = None,
        **fields: Any,
    ) -> int:
        """A node and its run on the first pair: scored, or in another state; with neither score nor state, pending.

        Without values it gets one that no other node has; ``values={}`` is the base.
        """
        number = len(self.nodes) + 1
        values = {"training.lr": float(number)} if values is None else values
        config = fields.pop("config", f"block {self.block} {sorted(values.items())}")
        record = NodeRecord(number, self.block, parent, (), config, values, tuple(changes), "person", strategy)
        self.nodes.append(replace(record, **fields))
        if score is None and state is RunState.SCORED:
            state = RunState.RUNNING
        self.run(number, score, state=state, second=second)
        return number

    def run(
        self,
        node: int,
        score: float | None = None,
        state: RunState = RunState.SCORED,
        second: float | None = None,
        pair: int | None = None,
        of_holdout: bool = False,
        seconds: float = RUN_SECONDS,
    ) -> int:
        """A run of a node's config on its next pair, or on a given one."""
        config = self.nodes[node - 1].config
        had = [run for run in self.runs if run.config == config and run.pair.holdout == of_holdout]
        pairs = holdout(self.study.seeds) if of_holdout else panel(self.study.seeds)
        return self._add(node, pairs[len(had) if pair is None else pair], score, state, second, seconds)

    def scores_of(self, node: int) -> list[float]:
        """Scores of a node's config, in the order of its runs."""
        config = self.nodes[node - 1].config
        return [run.metrics[METRIC] for run in self.runs if run.config == config and METRIC in run.metrics]

    def settle(self, run: int, score: float | None = None, state: RunState = RunState.SCORED) -> None:
        """Another end for a run: a score, or another state without one."""
        metrics = {} if score is None else {METRIC: score}
        self.runs[run - 1] = replace(self.runs[run - 1], state=state, metrics=metrics)

    def stop(self) -> None:
        """An accepted proposal to stop."""
        content = {"kind": "stop", "reason": "enough"}
        self.proposals.append(ProposalRecord(len(self.proposals) + 1, "person", content, "accepted"))

    def snapshot(self, **changes: Any) -> Snapshot:
        """What the study knows now."""
        known = Snapshot(self.study, tuple(self.nodes), tuple(self.runs), tuple(self.proposals))
        return replace(known, **{"block": self.block, "phase": self.phase, **changes})

    def _add(
        self, node: int, pair: SeedPair, score: float | None, state: RunState, second: float | None, seconds: float
    ) -> int:
        number = len(self.runs) + 1
        began = 1000.0 * number
        ended = None if state in (RunState.ACCEPTED, RunState.SUBMITTED, RunState.RUNNING) else began + seconds
        metrics = {} if score is None else {METRIC: score}
        if second is not None:
            metrics[SECOND] = second
        self.runs.append(
            RunRecord(
                number, node, self.nodes[node - 1].config, pair, state, started=began, ended=ended, metrics=metrics
            )
        )
        return number
