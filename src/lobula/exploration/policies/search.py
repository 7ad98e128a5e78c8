"""The search of a block: baseline first, then proposals from the tree, replicates where the study wants them."""

from dataclasses import dataclass

from lobula.exploration.panel import next_pair
from lobula.exploration.policies.base import Action, NextBlock, Propose, RunAgain, Wait
from lobula.exploration.policies.budget import capacity, open_runs, runs_left
from lobula.exploration.policies.race import baseline, race_cost
from lobula.exploration.policies.replicates import replicate
from lobula.exploration.policies.strategies import suggest
from lobula.exploration.policies.ucb import Form, block_nodes, ucb_rows
from lobula.exploration.records import NodeRecord, Snapshot


@dataclass(frozen=True)
class SearchRules:
    """How a search goes.

    Attributes:
        form: score that picks the parent.
        race: whether a race follows, which keeps its share of the budget and makes re-runs in the search needless.
    """

    form: Form
    race: bool


def search_action(snapshot: Snapshot, rules: SearchRules) -> Action | None:
    """What a free slot does in the search; None when the search is over and its runs have ended."""
    reserved = race_cost(snapshot) if rules.race else 0
    if is_stopped(snapshot) or runs_left(snapshot) < reserved + 1:
        return _when_quiet(snapshot, None)
    nodes = block_nodes(snapshot)
    if n_iterations(snapshot) >= block_length(snapshot, reserved):
        last = snapshot.study.n_blocks is not None and snapshot.block + 1 >= snapshot.study.n_blocks
        over = None if last else NextBlock(f"block {snapshot.block}: {n_iterations(snapshot)} iterations")
        return _when_quiet(snapshot, over)
    if not nodes:
        return Propose((), "baseline", "start of the block: its base, unchanged")
    again = _baseline_again(snapshot, nodes) or replicate(snapshot)
    if again is not None:
        return again
    rows = ucb_rows(snapshot, rules.form)
    found = suggest(snapshot, rows, run_again=not rules.race)
    if found.again:
        node = snapshot.node(found.parents[0])
        pair = next_pair(snapshot, node.config)
        if pair is not None:
            return RunAgain(node.id, pair, f"{found.strategy}: {found.reason}")
    return Propose(found.parents, found.strategy, found.reason)


def is_stopped(snapshot: Snapshot) -> bool:
    """Whether a proposal to stop was accepted."""
    return any(record.content.get("kind") == "stop" and record.verdict == "accepted" for record in snapshot.proposals)


def n_iterations(snapshot: Snapshot) -> int:
    """Iterations of the current block: its runs, and nodes whose config had been run before."""
    ids = [node.id for node in block_nodes(snapshot)]
    runs = [run.node for run in snapshot.runs if not run.pair.holdout]
    return sum(max(1, runs.count(number)) for number in ids)


def block_length(snapshot: Snapshot, reserved: int) -> float:
    """Iterations of a block: as the study says, else an equal part of the search's budget for each block."""
    blocks = snapshot.study.blocks
    if blocks.n_iter is not None:
        return blocks.n_iter
    return (capacity(snapshot) - reserved) // (snapshot.study.n_blocks or 1)


def _when_quiet(snapshot: Snapshot, over: NextBlock | None) -> Wait | NextBlock | None:
    """What follows once all runs have ended: summaries and races look at whole blocks."""
    return Wait("the block waits for its last runs") if open_runs(snapshot, holdout=False) else over


def _baseline_again(snapshot: Snapshot, nodes: list[NodeRecord]) -> RunAgain | None:
    """The first batch of a study with replicate slots is its base in every slot: the noise comes before the search."""
    study, base = snapshot.study, baseline(nodes)
    if base is None or study.policy.replicate == 0.0 or snapshot.block > 0:
        return None
    pair = next_pair(snapshot, base.config)
    if pair is None or pair.index >= study.engine.slots:
        return None
    return RunAgain(base.id, pair, f"noise of the base: run {pair.index + 1} of {study.engine.slots}")
