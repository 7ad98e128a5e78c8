"""An agent beside an optimiser: who is asked, by credit per hour of runs, and what happens when the agent dies."""

import numpy as np

from lobula.errors import ProposerError
from lobula.exploration.judge import values_of
from lobula.exploration.proposals import Proposal
from lobula.exploration.proposers.base import Answer, Proposer, Request
from lobula.exploration.proposers.replay import is_failure
from lobula.exploration.records import EventRecord, Snapshot
from lobula.exploration.study import AgentSettings

BOUNDS = (0.1, 0.6)
"""An adaptive share stays between these, or at what the study sets if that is beyond them."""
REST = 20
"""Proposals of others after which an agent that failed too often is tried once more."""
_PRIOR_RUNS = 4.0  # each side begins with so many average runs at the common rate, so that one lucky run decides little


class Mixture:
    """Gives an agent its share of the proposals; the optimiser makes the others, and all when the agent cannot.

    Args:
        optimiser: always there.
        agent: any proposer that may fail.
        settings: the study's: share, whether it adapts, how many failures in a row are too many.
    """

    def __init__(self, optimiser: Proposer, agent: Proposer, settings: AgentSettings) -> None:
        self._optimiser = optimiser
        self._agent = agent
        self._settings = settings

    @property
    def name(self) -> str:
        """Names of both."""
        return f"{self._optimiser.name}+{self._agent.name}"

    def propose(self, request: Request) -> list[Proposal]:
        """Proposals of the one whose turn it is; see `ask`.

        Raises:
            ProposerError: if the optimiser has none either.
        """
        return list(self.ask(request).proposals)

    def ask(self, request: Request) -> Answer:
        """Proposals of the one whose turn it is, with who made them and which agent failed.

        Raises:
            ProposerError: if the optimiser has none either.
        """
        failures: tuple[tuple[str, str], ...] = ()
        if self.is_agents_turn(request.snapshot):
            try:
                proposals = tuple(self._agent.propose(request))
            except ProposerError as error:
                failures = ((self._agent.name, str(error)),)
            else:
                return Answer(self._agent.name, proposals)
        return Answer(self._optimiser.name, tuple(self._optimiser.propose(request)), failures)

    def is_agents_turn(self, snapshot: Snapshot) -> bool:
        """Whether the agent has had less than its share of the turns and is not at rest; a turn that it lost counts."""
        name = self._agent.name
        if is_resting(snapshot, name, self._settings.max_failures):
            return False
        rows = [record.proposer for record in snapshot.proposals]
        turns = rows.count(name) + len(_failures(snapshot, name)) + 1
        return turns <= share(snapshot, name, self._settings) * (turns + rows.count(self._optimiser.name))


def share(snapshot: Snapshot, agent: str, settings: AgentSettings) -> float:
    r"""The agent's share of the proposals.

    With rates :math:`r` of gain per hour, :math:`s = s_0 r_a / (s_0 r_a + (1 - s_0) r_o)`, between `BOUNDS`. The gain
    of a node is by how much it raised the best score of its block; hours are those of its runs.

    Args:
        snapshot: all that the study knows.
        agent: name of the agent; all others count as the optimiser.
        settings: the share to begin with, and whether it adapts.
    """
    first = settings.share
    if not settings.adaptive or first in (0.0, 1.0):
        return first
    gains, hours, runs = _credit(snapshot, agent)
    if runs == 0 or sum(hours) <= 0 or sum(gains) <= 0:
        return first
    common, prior = sum(gains) / sum(hours), _PRIOR_RUNS * sum(hours) / runs
    mine, others = ((gain + prior * common) / (hour + prior) for gain, hour in zip(gains, hours, strict=True))
    wanted = first * mine / (first * mine + (1 - first) * others)
    return float(min(max(wanted, min(BOUNDS[0], first)), max(BOUNDS[1], first)))


def is_resting(snapshot: Snapshot, agent: str, max_failures: int) -> bool:
    """Whether an agent failed so often in a row that it is left alone for a while.

    In a row: since its last proposal. After `REST` proposals of others since its last failure it is asked once more.
    """
    answered = [record.time for record in snapshot.proposals if record.proposer == agent]
    failed = [event.time for event in _failures(snapshot, agent) if event.time > max(answered, default=float("-inf"))]
    if len(failed) < max_failures:
        return False
    return sum(record.time >= failed[-1] for record in snapshot.proposals) < REST


def _failures(snapshot: Snapshot, agent: str) -> list[EventRecord]:
    return [event for event in snapshot.events if is_failure(event.kind, event.subject, event.content, agent)]


def _credit(snapshot: Snapshot, agent: str) -> tuple[list[float], list[float], int]:
    """Gains and hours of the agent and of the others, and the number of runs.

    The first node of a block is where both start from: no gain.
    """
    gains, hours, runs = [0.0, 0.0], [0.0, 0.0], 0
    best: dict[int, float] = {}
    seen: set[str] = set()
    for node in snapshot.nodes:
        side = 0 if node.proposer == agent else 1
        own = [run for run in snapshot.runs if run.node == node.id and not run.pair.holdout]
        hours[side] += sum(run.seconds or 0.0 for run in own) / 3600
        runs += len(own)
        values = list(values_of(snapshot, node.config).values())
        if not values or node.config in seen or node.strategy == "baseline":
            if values:
                best[node.block] = max(best.get(node.block, -np.inf), float(np.mean(values)))
            continue
        seen.add(node.config)
        mean = float(np.mean(values))
        if node.block in best:
            gains[side] += max(0.0, mean - best[node.block])
        best[node.block] = max(best.get(node.block, -np.inf), mean)
    return gains, hours, runs
