"""What happened in which order, and what a config had shown at a moment: the facts behind the log and the memory."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lobula.exploration.judge import classify, value_of
from lobula.exploration.records import FAILED, NOT_OBSERVED, NodeRecord, RunRecord, RunState, Snapshot
from lobula.exploration.study import Study


@dataclass(frozen=True)
class Pool:
    """Runs of one config that had ended at some moment.

    Attributes:
        config: id of the config.
        runs: ended runs, failed ones with them.
        failed: runs that failed by the config's own fault.
        values: objective of the scored runs, in the metric's own sign.
    """

    config: str
    runs: int
    failed: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Mean of the scored runs."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over the scored runs; None of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def cv(self) -> float | None:
        """Standard deviation over mean, in percent."""
        return None if self.sd is None or not self.mean else 100.0 * self.sd / abs(self.mean)


def ended_runs(snapshot: Snapshot) -> list[RunRecord]:
    """Runs that get an entry, in the order in which they ended.

    A run that the machine failed is left out while it may be tried again, so that an entry, once there, stays.
    """
    found = [run for run in snapshot.runs if _is_final(snapshot.study, run)]
    return sorted(found, key=lambda run: (run.ended if run.ended is not None else run.created, run.id))


def pool(snapshot: Snapshot, runs: Sequence[RunRecord], config: str) -> Pool:
    """What some runs say about a config; runs of the hold-out are not pooled with the others."""
    own = [run for run in runs if run.config == config and not run.pair.holdout]
    metric = snapshot.study.objective.metric
    values = tuple(run.metrics[metric] for run in own if value_of(snapshot.study.objective, run) is not None)
    return Pool(config, len(own), sum(run.state in FAILED for run in own), values)


def best_pool(snapshot: Snapshot, runs: Sequence[RunRecord]) -> Pool | None:
    """The config whose scored runs are best on average; None where none was scored."""
    sign = 1.0 if snapshot.study.objective.direction == "higher" else -1.0
    configs = dict.fromkeys(run.config for run in runs)
    pools = [found for found in (pool(snapshot, runs, config) for config in configs) if found.mean is not None]
    return max(pools, key=lambda found: sign * (found.mean or 0.0), default=None)


def first_with(snapshot: Snapshot, config: str) -> NodeRecord:
    """The node that tried a config first."""
    return next(node for node in snapshot.nodes if node.config == config)


def class_of(snapshot: Snapshot, run: RunRecord) -> str:
    """Class in the heading of an entry; a slot that the machine failed is a failed one."""
    return classify(snapshot.study.objective, run) or "failed"


def next_parent(snapshot: Snapshot, run: RunRecord) -> str | None:
    """The parent that was in fact chosen next after a run had ended, or None while nothing has been."""
    moment = run.ended if run.ended is not None else run.created
    started: dict[int, float] = {}
    for other in snapshot.runs:
        started.setdefault(other.node, other.created)
    later = (node for node in snapshot.nodes if node.id > run.node and started.get(node.id, -1.0) >= moment)
    chosen = next(later, None)
    return None if chosen is None else "root" if chosen.parent is None else str(chosen.parent)


def block_nodes(snapshot: Snapshot, block: int) -> list[NodeRecord]:
    """Nodes of a block."""
    return [node for node in snapshot.nodes if node.block == block]


def block_runs(snapshot: Snapshot, runs: Sequence[RunRecord], block: int) -> list[RunRecord]:
    """Those of some runs whose nodes are of a block."""
    numbers = {node.id for node in block_nodes(snapshot, block)}
    return [run for run in runs if run.node in numbers]


def block_value(study: Study, block: int) -> object:
    """Value of the block's field; None where blocks have none."""
    values = study.blocks.values
    return values[block] if study.blocks.path and block < len(values) else None


def branching(nodes: Sequence[NodeRecord]) -> float | None:
    """Share of the nodes with a child that have two or more; None of a tree without children."""
    parents = [node.parent for node in nodes if node.parent is not None]
    with_child = set(parents)
    return sum(parents.count(parent) > 1 for parent in with_child) / len(with_child) if with_child else None


def _is_final(study: Study, run: RunRecord) -> bool:
    if run.state in NOT_OBSERVED:
        return run.state is RunState.KILLED or run.attempt > study.budget.retries
    return run.state is RunState.SCORED or run.state in FAILED
