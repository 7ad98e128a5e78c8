"""A study by hand: what a controller and a journal do, as little of it as proposers need, in memory."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lobula.exploration.proposals import Proposal
from lobula.exploration.records import (
    EventRecord,
    NodeRecord,
    ProposalRecord,
    RunRecord,
    RunState,
    SeedPair,
    Snapshot,
)
from lobula.exploration.study import Study

Evaluate = Callable[[Mapping[str, Any]], float]

SPACE = (
    {"path": "training.lr", "low": 1e-5, "high": 1e-1, "scale": "log"},
    {"path": "training.warmup_fraction", "low": 0.0, "high": 0.2},
    {"path": "training.coeff_W_L1", "low": 1e-6, "high": 1e-2, "scale": "log"},
    {"path": "model.n_layers", "low": 2, "high": 6},
    {"path": "model.activation", "choices": ("relu", "tanh", "softplus")},
)


def study(**settings: Any) -> Study:
    """A study over five dimensions: logarithmic, linear, one whose base is off, whole numbers, names."""
    return Study.from_dict({"name": "by-hand", "base": "fly-small", "space": SPACE, **settings})


class HandMade:
    """A study's records, written by hand. Time is a counter, in seconds.

    Args:
        definition: the study.
    """

    def __init__(self, definition: Study | None = None) -> None:
        self.definition = definition or study()
        self.nodes: list[NodeRecord] = []
        self.runs: list[RunRecord] = []
        self.proposals: list[ProposalRecord] = []
        self.events: list[EventRecord] = []
        self.block = 0
        self.clock = 0.0

    @property
    def snapshot(self) -> Snapshot:
        """What a journal would give."""
        return Snapshot(
            self.definition,
            nodes=tuple(self.nodes),
            runs=tuple(self.runs),
            proposals=tuple(self.proposals),
            events=tuple(self.events),
            principles=("a high learning rate fails",),
            block=self.block,
        )

    def base(self) -> dict[str, Any]:
        """Values of the base of the block, by path."""
        document = self.definition.base_config(self.block).to_dict()
        return {
            f"{name}.{key}": value
            for name, inner in document.items()
            if isinstance(inner, dict)
            for key, value in inner.items()
        }

    def propose(self, proposal: Proposal, proposer: str = "tpe") -> int:
        """Keep a proposal that nobody has judged; returns its id."""
        self.clock += 1
        content = proposal.model_dump(mode="json")
        self.proposals.append(ProposalRecord(len(self.proposals) + 1, proposer, content, "pending", time=self.clock))
        return len(self.proposals)

    def reject(self, proposal: int, reason: str) -> None:
        """Refuse a proposal."""
        record = self.proposals[proposal - 1]
        self.proposals[proposal - 1] = replace(record, verdict="rejected", reason=reason)

    def accept(self, proposal: int) -> NodeRecord:
        """Make a proposal a node; its old values must match."""
        record = self.proposals[proposal - 1]
        content, base = record.content, self.base()
        parent = self.snapshot.node(content["parents"][0]) if content["parents"] else None
        values = dict(parent.values) if parent else {}
        changes = [(c["path"], c["old"], c["new"]) for c in content.get("changes", ())]
        for path, old, new in changes:
            assert values.get(path, base[path]) == old, f"{path}: {old} is not the parent's value"
            values[path] = new
        values = {path: value for path, value in values.items() if value != base[path]}
        node = NodeRecord(
            id=len(self.nodes) + 1,
            block=self.block,
            parent=parent.id if parent else None,
            other_parents=(),
            config=json.dumps([self.block, values], sort_keys=True),
            values=values,
            changes=tuple(changes),
            proposer=record.proposer,
            strategy=content["strategy"],
            hypothesis=content["hypothesis"],
            proposal=proposal,
        )
        self.nodes.append(node)
        self.proposals[proposal - 1] = replace(record, verdict="accepted", node=node.id)
        return node

    def run(
        self,
        node: NodeRecord,
        value: float | None = None,
        state: RunState = RunState.SCORED,
        pair: int = 0,
        seconds: float = 3600.0,
    ) -> RunRecord:
        """A run of a node: scored with `value`, or in another state."""
        started, self.clock = self.clock, self.clock + seconds
        metrics = {} if value is None else {self.definition.objective.metric: value}
        ended = None if state in (RunState.ACCEPTED, RunState.RUNNING) else self.clock
        run = RunRecord(
            len(self.runs) + 1, node.id, node.config, SeedPair(pair, pair, pair), state,
            started=started, ended=ended, metrics=metrics,
            error=None if value is not None else f"ended as {state}",
        )  # fmt: skip
        self.runs.append(run)
        return run

    def fail(self, agent: str, error: str = "login expired") -> None:
        """An agent could not answer."""
        self.clock += 1
        event = EventRecord(len(self.events) + 1, self.clock, "agent", agent, {"error": error}, "")
        self.events.append(event)

    def try_out(self, proposal: Proposal, evaluate: Evaluate, proposer: str = "tpe") -> float:
        """Propose, accept, run and score; returns the value."""
        node = self.accept(self.propose(proposal, proposer))
        value = evaluate({**self.base(), **node.values})
        self.run(node, value)
        return value
