"""What a study knows, as plain values: nodes, runs, proposals, events. Read from the journal, never written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lobula.exploration.study import Study


class RunState(StrEnum):
    """Where a run is."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    SUBMITTED = "submitted"
    RUNNING = "running"
    OK = "ok"
    CRASH = "crash"
    OOM = "oom"
    NAN = "nan"
    TIMEOUT = "timeout"
    KILLED = "killed"
    INFRA = "infra"
    LOST = "lost"
    INVALID = "invalid"
    SCORED = "scored"


PENDING = (RunState.PROPOSED, RunState.ACCEPTED, RunState.SUBMITTED, RunState.RUNNING)
"""Not ended."""
FAILED = (RunState.CRASH, RunState.OOM, RunState.NAN, RunState.TIMEOUT, RunState.INVALID)
"""Ended badly through the config's own fault: an observation."""
NOT_OBSERVED = (RunState.KILLED, RunState.INFRA, RunState.LOST)
"""Ended badly through the machine, or stopped by hand: no observation; may be tried again."""
ENDED = (RunState.OK, *FAILED, *NOT_OBSERVED)
_AGAIN = (RunState.ACCEPTED,)
TRANSITIONS: dict[RunState, tuple[RunState, ...]] = {
    RunState.PROPOSED: (RunState.ACCEPTED, RunState.INVALID, RunState.KILLED),
    RunState.ACCEPTED: (RunState.SUBMITTED, RunState.INVALID, RunState.KILLED, RunState.INFRA),
    RunState.SUBMITTED: (RunState.RUNNING, *ENDED),
    RunState.RUNNING: ENDED,
    RunState.OK: (RunState.SCORED, RunState.NAN, RunState.CRASH, RunState.INFRA),
    **dict.fromkeys(NOT_OBSERVED, _AGAIN),
    **dict.fromkeys((*FAILED, RunState.SCORED), ()),
}
"""Where a run may go from each state; INFRA and LOST go back to ACCEPTED for a retry."""


@dataclass(frozen=True)
class SeedPair:
    """A pair of seeds.

    Attributes:
        index: place in the panel, or in the hold-out.
        data: seed of the simulation.
        init: seed of the training.
        holdout: whether it is kept for certification.
    """

    index: int
    data: int
    init: int
    holdout: bool = False


@dataclass(frozen=True)
class RunRecord:
    """A run of a config on one pair of seeds.

    Attributes:
        id: number within the study, from 1.
        node: id of the node it belongs to.
        config: id of its config; runs of one config pool, whichever node asked for them.
        pair: seeds.
        state: where it is.
        attempt: from 1; more after retries.
        slot: slot that it has or had, or None.
        handle: how the engine finds it again, or None.
        created: when it was accepted, seconds since 1970.
        started: when it began to run, or None.
        ended: when it ended, or None.
        error: one line, where it failed.
        metrics: scores by path ("gnn.W.r2"), once scored.
        facts: further facts: wall seconds by stage, trajectory, host.
    """

    id: int
    node: int
    config: str
    pair: SeedPair
    state: RunState
    attempt: int = 1
    slot: int | None = None
    handle: str | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    error: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Wall time; None while it runs or if it never began."""
        return None if self.started is None or self.ended is None else self.ended - self.started


@dataclass(frozen=True)
class NodeRecord:
    """A node of the tree: a config (and perhaps code) that was tried, with where it came from.

    Attributes:
        id: number within the study, from 1; the iteration number of the logs.
        block: number of the block, from 0.
        parent: node id, or None for the root of a block.
        other_parents: further parents of a recombination.
        config: id of the config; equal for nodes that try the same thing.
        values: fields that differ from the base of the block, by path.
        changes: (path, old, new) against the parent.
        proposer: name of who proposed it.
        strategy: why.
        hypothesis: one line.
        proposal: id of the proposal.
        code: commit of the patched code, or None for the base.
        note: observation that a person or an agent added, or empty.
    """

    id: int
    block: int
    parent: int | None
    other_parents: tuple[int, ...]
    config: str
    values: Mapping[str, Any]
    changes: tuple[tuple[str, Any, Any], ...]
    proposer: str
    strategy: str
    hypothesis: str = ""
    proposal: int | None = None
    code: str | None = None
    note: str = ""


@dataclass(frozen=True)
class ProposalRecord:
    """A proposal and what became of it.

    Attributes:
        id: number within the study.
        proposer: who.
        content: the proposal as plain values.
        verdict: "accepted", "rejected" or "pending".
        reason: why it was rejected, or empty.
        node: node that it became, or None.
        time: seconds since 1970.
    """

    id: int
    proposer: str
    content: Mapping[str, Any]
    verdict: str
    reason: str = ""
    node: int | None = None
    time: float = 0.0


@dataclass(frozen=True)
class EventRecord:
    """One line of the history.

    Attributes:
        id: number, from 1, without gaps.
        time: seconds since 1970.
        kind: "run", "node", "proposal", "block", "note", "principle", "agent", "study", ...
        subject: what it is about, such as "run 12".
        content: plain values.
        digest: hash of this event and of the digest before it.
    """

    id: int
    time: float
    kind: str
    subject: str
    content: Mapping[str, Any]
    digest: str


@dataclass(frozen=True)
class Snapshot:
    """All that a study knows at one moment. Policies, proposers, views and the dashboard are functions of it.

    Attributes:
        study: its definition.
        nodes: in order of id.
        runs: in order of id.
        proposals: in order of id.
        events: in order of id; may be left out (empty) where nobody needs them.
        principles: statements for the memory, oldest first.
        phase: "search", "race", "certify" or "done".
        block: number of the current block.
    """

    study: Study
    nodes: Sequence[NodeRecord] = ()
    runs: Sequence[RunRecord] = ()
    proposals: Sequence[ProposalRecord] = ()
    events: Sequence[EventRecord] = ()
    principles: Sequence[str] = ()
    phase: str = "search"
    block: int = 0

    def node(self, number: int) -> NodeRecord:
        """A node by id.

        Raises:
            KeyError: if there is none.
        """
        for node in self.nodes:
            if node.id == number:
                return node
        raise KeyError(number)

    def runs_of(self, config: str, holdout: bool = False) -> list[RunRecord]:
        """Runs of a config, whichever node asked for them, in order of their pairs."""
        found = [run for run in self.runs if run.config == config and run.pair.holdout == holdout]
        return sorted(found, key=lambda run: run.pair.index)
