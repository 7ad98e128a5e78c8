"""Plays whole studies: what a policy and a proposer find, and how far their claims are off.

The policy, the proposer and the gate are the real ones and see real snapshots. Runs are drawn from a surrogate, or are
whatever a caller makes of a config and a pair of seeds. A drawn run of a config on a pair gives the same in every study
with the same seed and repeat, so that policies compare in pairs, too.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from lobula.errors import ConfigError, DuplicateProposalError, ProposalError
from lobula.exploration.gate import Gate, NewNode
from lobula.exploration.judge import value_of
from lobula.exploration.outcomes import goal_value, observations
from lobula.exploration.panel import next_pair
from lobula.exploration.policies.base import NextBlock, NextPhase, Policy, Propose, RunAgain, Wait
from lobula.exploration.policies.race import groups, winner
from lobula.exploration.proposals import Stop
from lobula.exploration.proposers.base import Proposer, Request
from lobula.exploration.records import NodeRecord, ProposalRecord, RunRecord, RunState, SeedPair, Snapshot
from lobula.exploration.study import Objective, Study
from lobula.exploration.surrogate import Surrogate

MOST_REJECTED = 50
"""Proposals refused in a row after which a simulation gives up."""


class Runs(Protocol):
    """What stands in for the runs of a study."""

    def metric(self, values: Mapping[str, Any], pair: SeedPair) -> float | None:
        """The objective's metric of a config on a pair of seeds; None if the run fails.

        Args:
            values: fields that differ from the base.
            pair: of the panel or of the hold-out.
        """

    def true_value(self, objective: Objective, values: Mapping[str, Any]) -> float:
        """What a config is truly worth under the study's goal, higher is better."""


@dataclass(frozen=True)
class DrawnRuns:
    """Runs drawn from a surrogate.

    Attributes:
        surrogate: what they are drawn from.
        seed: of the study.
    """

    surrogate: Surrogate
    seed: tuple[int, int]

    def metric(self, values: Mapping[str, Any], pair: SeedPair) -> float | None:
        """See `Runs`."""
        kind = (*self.seed, int(pair.holdout), pair.index)
        own = np.random.default_rng((*kind, 1 + zlib.crc32(repr(sorted(values.items())).encode())))
        return self.surrogate.draw(values, float(np.random.default_rng((*kind, 0)).standard_normal()), own)

    def true_value(self, objective: Objective, values: Mapping[str, Any]) -> float:
        """See `Runs`."""
        return self.surrogate.true_value(objective, values)


ProposerFactory = Callable[[int], Proposer]
"""From a seed to a proposer."""


@dataclass(frozen=True)
class Outcome:
    """What one simulated study, or a block of it that stands for itself, came to.

    Attributes:
        repeat: number of the study.
        node: chosen node.
        true: what its config is truly worth under the study's goal, higher is better.
        claimed: what the study says on its panel.
        certified: what the hold-out says; None without certification.
        single_true: truly, of the config with the best single run on the first pair, where all configs run.
        single_claimed: that run.
        n_runs: runs of the whole study, certification apart.
        n_certify: runs of its certification.
    """

    repeat: int
    node: int
    true: float
    claimed: float
    certified: float | None
    single_true: float
    single_claimed: float
    n_runs: int
    n_certify: int


@dataclass(frozen=True)
class Simulation:
    """Outcomes of many simulated studies; a study in which nothing was scored has none.

    Attributes:
        outcomes: in order of repeat.
        n_repeats: studies.
    """

    outcomes: tuple[Outcome, ...]
    n_repeats: int

    def mean(self, name: str) -> float:
        """Mean of an attribute of the outcomes that have it; NaN without any."""
        found = [value for outcome in self.outcomes if (value := getattr(outcome, name)) is not None]
        return float(np.mean(found)) if found else float("nan")

    @property
    def over_reported(self) -> float:
        """By how much the claim is above the truth, in the mean."""
        return self.mean("claimed") - self.mean("true")

    @property
    def single_over_reported(self) -> float:
        """The same for the best single run of the same studies."""
        return self.mean("single_claimed") - self.mean("single_true")

    @property
    def certified_over_reported(self) -> float:
        """The same for the hold-out; NaN without certification."""
        kept = [outcome for outcome in self.outcomes if outcome.certified is not None]
        return Simulation(tuple(kept), self.n_repeats).mean("certified") - float(
            np.mean([o.true for o in kept] or [np.nan])
        )

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values, to print."""
        sd = float(np.std([outcome.true for outcome in self.outcomes], ddof=1)) if len(self.outcomes) > 1 else 0.0
        return [
            (
                "studies",
                f"{self.n_repeats}, of them {self.n_repeats - len({o.repeat for o in self.outcomes})} without a score",
            ),
            ("true value of the chosen config", f"{self.mean('true'):.4f}, sd {sd:.4f} over studies"),
            ("over-reported by its panel", f"{self.over_reported:+.4f}"),
            ("over-reported by its hold-out", f"{self.certified_over_reported:+.4f}"),
            ("true value behind the best single run", f"{self.mean('single_true'):.4f}"),
            ("over-reported by that run", f"{self.single_over_reported:+.4f}"),
            ("runs", f"{self.mean('n_runs'):.1f}, and {self.mean('n_certify'):.1f} to certify"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def simulate(
    study: Study,
    surrogate: Surrogate,
    policy: Policy,
    proposer_factory: ProposerFactory,
    n_repeats: int = 20,
    seed: int = 0,
    run_seconds: float = 600.0,
) -> Simulation:
    """Plays a study many times.

    Args:
        study: its definition; its slots, budget, seeds and space are used.
        surrogate: in place of runs.
        policy: decides.
        proposer_factory: makes the proposer of each repeat from a seed.
        n_repeats: studies.
        seed: of the noise and of the proposers.
        run_seconds: time of a run, for budgets in hours.

    Raises:
        ConfigError: if the study is not valid, or the gate refuses 50 proposals in a row.
    """
    outcomes: list[Outcome] = []
    for repeat in range(n_repeats):
        proposer = proposer_factory(int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0]))
        outcomes += play(study, DrawnRuns(surrogate, (seed, repeat)), policy, proposer, repeat, run_seconds)[0]
    return Simulation(tuple(outcomes), n_repeats)


def play(
    study: Study, runs: Runs, policy: Policy, proposer: Proposer, repeat: int = 0, run_seconds: float = 600.0
) -> tuple[list[Outcome], Snapshot]:
    """Plays a study once.

    Args:
        study: its definition.
        runs: gives the metrics.
        policy: decides.
        proposer: proposes.
        repeat: number of the study, for its outcomes.
        run_seconds: time of a run, for budgets in hours.

    Returns:
        One outcome per group of nodes that race each other, and the study at its end.

    Raises:
        ConfigError: if the study is not valid, or the gate refuses 50 proposals in a row.
    """
    table = _Table(study, runs, run_seconds)
    _play(table, Gate(study), policy, proposer)
    return _outcomes(table, repeat), table.snapshot()


@dataclass
class _Table:
    """A study while it is played."""

    study: Study
    source: Runs
    run_seconds: float
    nodes: list[NodeRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    proposals: list[ProposalRecord] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    phase: str = "search"
    block: int = 0
    now: float = 0.0

    def snapshot(self) -> Snapshot:
        known = (tuple(self.nodes), tuple(self.runs), tuple(self.proposals))
        return Snapshot(self.study, *known, phase=self.phase, block=self.block)

    def record(
        self, proposer: str, content: dict[str, Any], verdict: str, reason: str = "", node: int | None = None
    ) -> None:
        number = len(self.proposals) + 1
        self.proposals.append(ProposalRecord(number, proposer, content, verdict, reason, node, self.now))

    def accept(self, new: NewNode, proposer: str, proposal: int | None) -> int:
        number = len(self.nodes) + 1
        self.nodes.append(
            NodeRecord(
                *(number, new.block, new.parent, new.other_parents, new.config, new.values, new.changes),
                *(proposer, new.strategy, new.hypothesis, proposal, new.code),
            )
        )
        pair = next_pair(self.snapshot(), new.config)
        if pair is not None:
            self.start(number, pair)
        return number

    def start(self, node: int, pair: SeedPair) -> None:
        number, config = len(self.runs) + 1, self.nodes[node - 1].config
        self.runs.append(RunRecord(number, node, config, pair, RunState.RUNNING, created=self.now, started=self.now))
        self.pending.append(number)

    def finish(self) -> None:
        """Ends the run that began first."""
        number = self.pending.pop(0)
        run = self.runs[number - 1]
        drawn = self.source.metric(self.nodes[run.node - 1].values, run.pair)
        ended = (run.started or 0.0) + self.run_seconds
        self.now = max(self.now, ended)
        objective = self.study.objective
        names = [name for name in (objective.metric, objective.second) if name]
        state = RunState.CRASH if drawn is None else RunState.SCORED
        metrics = {} if drawn is None else dict.fromkeys(names, drawn)
        self.runs[number - 1] = replace(run, state=state, ended=ended, metrics=metrics)


def _play(table: _Table, gate: Gate, policy: Policy, proposer: Proposer) -> None:
    refused = 0
    while True:
        snapshot = table.snapshot()
        action = policy.decide(snapshot)
        if isinstance(action, Wait):
            if not table.pending:
                return
            table.finish()
        elif isinstance(action, NextPhase):
            table.phase = action.phase
        elif isinstance(action, NextBlock):
            table.block += 1
        elif isinstance(action, RunAgain):
            table.start(action.node, action.pair)
        elif action.strategy == "baseline":
            table.accept(gate.baseline(snapshot), "study", None)
        else:
            reason = _ask(table, gate, proposer, action)
            refused = 0 if reason is None else refused + 1
            if refused > MOST_REJECTED:
                raise ConfigError(
                    f"simulate: {proposer.name}: {MOST_REJECTED} proposals in a row refused, last: {reason}"
                )
        if len(table.pending) >= table.study.engine.slots:
            table.finish()


def _ask(table: _Table, gate: Gate, proposer: Proposer, action: Propose) -> str | None:
    """Asks for a proposal and starts what comes of it; the reason if nothing does."""
    snapshot = table.snapshot()
    proposals = proposer.propose(Request(snapshot, action.parents, action.strategy))
    reason: str | None = "no proposal"
    for proposal in proposals[:1]:
        content = proposal.model_dump(mode="json")
        if isinstance(proposal, Stop):
            table.record(proposer.name, content, "accepted")
            return None
        try:
            new = gate.check(proposal, snapshot)
        except DuplicateProposalError as refusal:
            reason = str(refusal)
            pair = next_pair(snapshot, snapshot.node(refusal.node).config)
            if pair is not None:
                table.start(refusal.node, pair)
                reason = None
        except ProposalError as refusal:
            reason = str(refusal)
        else:
            number = table.accept(new, proposer.name, len(table.proposals) + 1)
            table.record(proposer.name, content, "accepted", node=number)
            return None
        table.record(proposer.name, content, "rejected", reason or "a known config: run again")
    return reason


def _outcomes(table: _Table, repeat: int) -> list[Outcome]:
    """One outcome per group of nodes that race each other."""
    snapshot, objective = table.snapshot(), table.study.objective
    found = []
    n_certify = sum(run.pair.holdout for run in table.runs)
    for nodes in groups(snapshot):
        ids = {node.id for node in nodes}
        singles = [
            (value, run.node)
            for run in table.runs
            if run.node in ids
            and run.pair.index == 0
            and not run.pair.holdout
            and (value := value_of(objective, run)) is not None
        ]
        chosen = winner(snapshot, nodes)
        if chosen is None or not singles:
            continue
        best, lucky = max(singles)
        hidden = observations(snapshot, chosen.config, holdout=True)
        found.append(
            Outcome(
                repeat=repeat,
                node=chosen.id,
                true=table.source.true_value(objective, chosen.values),
                claimed=goal_value(objective, observations(snapshot, chosen.config).values()),
                certified=goal_value(objective, hidden.values()) if hidden else None,
                single_true=table.source.true_value(objective, snapshot.node(lucky).values),
                single_claimed=best,
                n_runs=len(table.runs) - n_certify,
                n_certify=n_certify,
            )
        )
    return found
