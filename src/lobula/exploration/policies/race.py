"""The race: sequential halving of the best configs over the pairs of the panel, then certification on hidden pairs.

A search picks its best config by one run each, so the pick is lucky as often as it is good. In the race run j of every
config has pair j: after round j the configs that are still in have all pairs 0 to j, and are ranked by the mean of
their differences from the field on the same pair. Configs of a block that fixes a field (a fill, a time step) race
among themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lobula.exploration.outcomes import distinct, failure_value, goal_value, is_open, observations
from lobula.exploration.panel import holdout, panel
from lobula.exploration.policies.base import RunAgain, Wait
from lobula.exploration.policies.budget import capacity, open_runs, race_sizes, runs_left
from lobula.exploration.records import NodeRecord, RunState, SeedPair, Snapshot
from lobula.exploration.variance import posteriors


@dataclass(frozen=True)
class Standing:
    """Where the race of a group is.

    Attributes:
        ranking: node ids and their values relative to the field, best first: of those still in, then, worst last, of
            those that left it. Values of rounds differ in what they are relative to.
        rounds: how many rounds are complete.
        pair: pair of the round that runs; None when the race is over.
        missing: node ids, of those still in, that have no run on it.
    """

    ranking: tuple[tuple[int, float], ...]
    rounds: int = 0
    pair: SeedPair | None = None
    missing: tuple[int, ...] = ()


def groups(snapshot: Snapshot) -> list[list[NodeRecord]]:
    """Nodes that race each other: those of a block where blocks fix a field, else all."""
    if snapshot.study.blocks.path is None:
        return [list(snapshot.nodes)] if snapshot.nodes else []
    blocks = sorted({node.block for node in snapshot.nodes})
    return [[node for node in snapshot.nodes if node.block == block] for block in blocks]


def sizes_of(snapshot: Snapshot) -> tuple[int, ...]:
    """Configs per round of the race of each group."""
    n_groups = 1 if snapshot.study.blocks.path is None else max(1, snapshot.study.n_blocks or len(groups(snapshot)))
    return race_sizes(snapshot.study.policy, snapshot.study.seeds.panel, capacity(snapshot) / n_groups)


def race_cost(snapshot: Snapshot) -> int:
    """Runs that the race would still take if the search ended now."""
    sizes = sizes_of(snapshot)
    raced = groups(snapshot)
    n_more = 0 if snapshot.study.blocks.path is None else max(0, (snapshot.study.n_blocks or 0) - len(raced))
    cost = n_more * sum(sizes)
    for nodes in raced:
        entered = rank(snapshot, [node for node in distinct(nodes) if _scored_first(snapshot, node)], (0,))
        for j, size in enumerate(sizes, start=1):
            members = [snapshot.node(number).config for number, _ in entered[:size]]
            done = sum(any(run.pair.index == j for run in snapshot.runs_of(config)) for config in members)
            cost += size - done
    return cost


def standing(snapshot: Snapshot, nodes: Sequence[NodeRecord]) -> Standing:
    """Plays the race of a group as far as its runs go.

    Only the first pair decides who enters, though a search may have run some configs on more: what is known of the
    others must not change who has entered while the race is on. A config that failed on the first pair, or was lost,
    does not enter.
    """
    entered = [node for node in distinct(nodes) if _scored_first(snapshot, node)]
    ranked = rank(snapshot, entered, (0,))
    out: list[tuple[int, float]] = []
    pairs = panel(snapshot.study.seeds)
    for j, size in enumerate(sizes_of(snapshot), start=1):
        out = ranked[size:] + out
        members = [snapshot.node(number) for number, _ in ranked[:size]]
        runs = {node.id: [run for run in snapshot.runs_of(node.config) if run.pair.index == j] for node in members}
        missing = tuple(number for number, found in runs.items() if not found)
        pending = any(is_open(run) for found in runs.values() for run in found)
        if len(members) > 1 and (missing or pending):
            return Standing((*rank(snapshot, members, range(j + 1)), *out), j - 1, pairs[j], missing)
        ranked = rank(snapshot, members, range(j + 1))
    return Standing((*ranked, *out), len(sizes_of(snapshot)))


def rank(snapshot: Snapshot, nodes: Sequence[NodeRecord], pairs: Sequence[int]) -> list[tuple[int, float]]:
    """Nodes by their value on some pairs relative to the field, best first.

    The value of a pair is taken relative to the mean of the nodes that ran on it, so that a node that lost a run
    neither wins nor loses by a pair that was easy.
    """
    low = failure_value(snapshot)
    values = {node.id: observations(snapshot, node.config, pairs=pairs, low=low) for node in nodes}
    fields = {
        j: float(np.mean([found[j] for found in values.values() if j in found]))
        for j in {j for found in values.values() for j in found}
    }
    scored = [
        (number, goal_value(snapshot.study.objective, (value - fields[j] for j, value in found.items())))
        for number, found in values.items()
        if found
    ]
    return sorted(scored, key=lambda item: (-item[1], item[0]))


def race_action(snapshot: Snapshot) -> RunAgain | Wait | None:
    """Next run of the race; None when it is over, or when the budget is."""
    left = runs_left(snapshot)
    for nodes in groups(snapshot):
        now = standing(snapshot, nodes)
        if now.pair is not None and now.missing and left >= 1:
            number = now.missing[0]
            return RunAgain(number, now.pair, f"race, pair {now.pair.index}: node {number} is still in")
    return Wait("the race waits for its runs") if open_runs(snapshot, holdout=False) else None


def winner(snapshot: Snapshot, nodes: Sequence[NodeRecord]) -> NodeRecord | None:
    """The config that leads the race of a group; before the first round is complete, the best by its posterior."""
    now = standing(snapshot, nodes)
    if now.rounds > 0 and now.ranking:
        return snapshot.node(now.ranking[0][0])
    believed = posteriors(snapshot, [node.config for node in nodes])

    def worth(config: str) -> tuple[float, float, float]:
        found = believed[config]
        return found.value, -found.failure_rate, found.mean  # the quantile of all that fail too often is the same

    best = max(believed, key=worth, default=None)
    return next((node for node in nodes if node.config == best), None)


def baseline(nodes: Sequence[NodeRecord]) -> NodeRecord | None:
    """The unchanged base of a group, if it was run."""
    return next((node for node in nodes if not node.values and node.code is None), None)


def certify_action(snapshot: Snapshot) -> RunAgain | Wait | None:
    """Next run of the certification: winner and baseline on every hold-out pair; None when it is done."""
    for nodes in groups(snapshot):
        best, base = winner(snapshot, nodes), baseline(nodes)
        if best is None:
            continue
        compared = [best] if base is None or base.config == best.config else [best, base]
        for pair in holdout(snapshot.study.seeds):
            for node in compared:
                if not any(run.pair.index == pair.index for run in snapshot.runs_of(node.config, holdout=True)):
                    role = "winner" if node is best else "baseline"
                    return RunAgain(node.id, pair, f"certification, pair {pair.index}: {role}, node {node.id}")
    return Wait("the certification waits for its runs") if open_runs(snapshot) else None


def _scored_first(snapshot: Snapshot, node: NodeRecord) -> bool:
    return any(run.pair.index == 0 and run.state is RunState.SCORED for run in snapshot.runs_of(node.config))
