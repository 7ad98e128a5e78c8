"""What the runs of a config say together: values per pair of seeds, failures included, and their mean or lower end."""

from collections.abc import Collection, Iterable

import numpy as np

from lobula.exploration.judge import value_of
from lobula.exploration.records import FAILED, NOT_OBSERVED, NodeRecord, RunRecord, RunState, Snapshot
from lobula.exploration.study import Objective

LOWER_QUANTILE = 0.1
"""What "robust" looks at: the value that one run in ten falls below."""


def failure_value(snapshot: Snapshot) -> float:
    """What a run that failed by its config's own fault counts as, higher is better.

    The bound below which runs are called failed, or the worst score so far if that is lower: a failure is very low,
    in the units of the metric, and never better than a run that ended.
    """
    objective = snapshot.study.objective
    bound = objective.failed if objective.direction == "higher" else -objective.failed
    values = [value_of(objective, run) for run in snapshot.runs if not run.pair.holdout]
    return min([bound, *(value for value in values if value is not None)])


def observations(
    snapshot: Snapshot,
    config: str,
    holdout: bool = False,
    pairs: Collection[int] | None = None,
    low: float | None = None,
) -> dict[int, float]:
    """Values of a config by index of the pair, higher is better; runs that failed count as `failure_value`.

    Args:
        snapshot: what the study knows.
        config: id of the config.
        holdout: the hold-out pairs in place of the panel's.
        pairs: only these indices; None: all.
        low: `failure_value`, where the caller has it at hand.
    """
    low = failure_value(snapshot) if low is None else low
    found = {}
    for run in snapshot.runs_of(config, holdout):
        if pairs is not None and run.pair.index not in pairs:
            continue
        value = low if run.state in FAILED else value_of(snapshot.study.objective, run)
        if value is not None:
            found[run.pair.index] = value
    return found


def goal_value(objective: Objective, values: Iterable[float]) -> float:
    """What the objective's goal makes of one or more runs of a config: their mean, or their lower quantile."""
    listed = list(values)
    if objective.goal == "robust":
        return float(np.quantile(listed, LOWER_QUANTILE))
    return float(np.mean(listed))


def is_lost(run: RunRecord) -> bool:
    """Whether a run ended without saying anything about its config: the machine failed, or a person stopped it."""
    return run.state in NOT_OBSERVED


def is_open(run: RunRecord) -> bool:
    """Whether an observation may still come of a run: it waits, runs, or has ended well and is not scored yet."""
    return run.state not in (*FAILED, *NOT_OBSERVED, RunState.SCORED)


def distinct(nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
    """One node per config, the first that tried it."""
    found: dict[str, NodeRecord] = {}
    for node in nodes:
        found.setdefault(node.config, node)
    return list(found.values())
