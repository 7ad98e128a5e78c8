"""Slots for configs that are known already: the same again on the next pair of the panel."""

from collections.abc import Sequence

from lobula.exploration.outcomes import failure_value, goal_value, observations
from lobula.exploration.panel import next_pair
from lobula.exploration.policies.base import RunAgain
from lobula.exploration.policies.ucb import block_nodes
from lobula.exploration.records import NodeRecord, Snapshot

RUNS_WANTED, CONFIGS_WANTED = 3, 3


def replicate(snapshot: Snapshot) -> RunAgain | None:
    """The next replicate of the current block, if it is its turn.

    The rule of the instruction documents: a share of the slots (`policy.replicate`, their two of four is .5) runs known
    configs until the best three have three runs each, then half of that share; first the best of those with fewer than
    three runs, then the best config.
    """
    share = snapshot.study.policy.replicate
    best = _best_configs(snapshot)
    if share == 0.0 or not best:
        return None
    wanted = min(RUNS_WANTED, snapshot.study.seeds.panel)
    short = [node for node in best[:CONFIGS_WANTED] if len(snapshot.runs_of(node.config)) < wanted]
    if not short and len(best) >= CONFIGS_WANTED:
        share /= 2
    ids = {node.id for node in block_nodes(snapshot)}
    runs = [run for run in snapshot.runs if run.node in ids and not run.pair.holdout]
    again = sum(run.pair.index > 0 for run in runs)
    if again + 1 > share * (len(runs) + 1):
        return None
    for node in (*short, *best[:CONFIGS_WANTED]):
        pair = next_pair(snapshot, node.config)
        if pair is not None:
            done = len(snapshot.runs_of(node.config))
            return RunAgain(node.id, pair, f"replicate: node {node.id} has {done} run{'' if done == 1 else 's'}")
    return None


def _best_configs(snapshot: Snapshot) -> Sequence[NodeRecord]:
    """The block's configs with an observation, best first, one node each."""
    found: dict[str, tuple[float, NodeRecord]] = {}
    low = failure_value(snapshot)
    for node in block_nodes(snapshot):
        values = observations(snapshot, node.config, low=low)
        if values and node.config not in found:
            found[node.config] = (goal_value(snapshot.study.objective, values.values()), node)
    return [node for _, node in sorted(found.values(), key=lambda item: (-item[0], item[1].id))]
