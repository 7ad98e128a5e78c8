"""What of the budget is spent, in runs; hours are turned into runs by the time that a run takes here."""

import math
from collections.abc import Sequence

import numpy as np

from lobula.exploration.outcomes import is_lost, is_open
from lobula.exploration.records import RunRecord, Snapshot
from lobula.exploration.study import Budget, PolicySettings

HOUR = 3600.0


def capacity(snapshot: Snapshot) -> float:
    """Runs that the whole budget holds, certification apart; infinite where the study has no limit."""
    return runs_in(snapshot.study.budget, seconds_per_run(snapshot))


def runs_in(budget: Budget, run_seconds: float) -> float:
    """Runs that a budget holds at so many seconds a run; infinite where it has no limit."""
    limits = [math.inf] if budget.n_runs is None else [float(budget.n_runs)]
    if budget.hours is not None:
        limits.append(budget.hours * HOUR / run_seconds)
    return min(limits)


def runs_left(snapshot: Snapshot) -> float:
    """Runs that the rest of the budget holds, certification apart.

    A run counts from when it is accepted; until it ends it costs what a run usually takes. A run that the machine lost
    is free, but of those there are no more than the budget has runs, so that a broken machine ends the study, too.
    """
    budget = snapshot.study.budget
    runs = [run for run in snapshot.runs if not run.pair.holdout]
    left = [math.inf]
    if budget.n_runs is not None:
        kept = sum(not is_lost(run) for run in runs)
        left.append(float(budget.n_runs - max(kept, len(runs) - budget.n_runs)))
    if budget.hours is not None:
        usual = seconds_per_run(snapshot)
        spent = sum((run.seconds or 0.0) if not is_open(run) else usual for run in runs)
        left.append((budget.hours * HOUR - spent) / usual)
    return min(left)


def seconds_per_run(snapshot: Snapshot) -> float:
    """Mean wall time of the ended runs on the first pair, or the time limit where there is none.

    Runs of the race are left out, so that its size does not change while it runs.
    """
    ended = [run for run in snapshot.runs if run.pair.index == 0 and not run.pair.holdout and not is_lost(run)]
    seconds = [run.seconds for run in ended if run.seconds is not None and run.seconds > 0]
    return float(np.mean(seconds)) if seconds else snapshot.study.budget.run_seconds


def open_runs(snapshot: Snapshot, nodes: Sequence[int] | None = None, holdout: bool | None = None) -> list[RunRecord]:
    """Runs that an observation may still come of, of all nodes or of some."""
    return [
        run
        for run in snapshot.runs
        if is_open(run) and (nodes is None or run.node in nodes) and holdout in (None, run.pair.holdout)
    ]


def race_sizes(policy: PolicySettings, n_panel: int, n_runs: float) -> tuple[int, ...]:
    """How many configs run on the second pair of the panel, on the third, and so on.

    Each round keeps half, down to two. What the share of the race leaves over first lets the last two go on through
    the panel, then more of the others stay. A race that the share cannot pay begins with fewer configs.

    Args:
        policy: settings: configs that enter, share of the budget.
        n_panel: pairs in the panel; the search has used the first.
        n_runs: runs of the whole budget.

    Returns:
        One size per round, never rising; empty where there is no race.
    """
    paid = policy.race_share * n_runs + 1e-9
    for entrants in range(policy.n_race, 1, -1):
        n_rounds = min(n_panel - 1, math.ceil(math.log2(entrants)))
        sizes = [max(2, math.ceil(entrants / 2**r)) for r in range(n_rounds)]
        if not sizes or sum(sizes) > paid:
            continue
        while len(sizes) < n_panel - 1 and sum(sizes) + 2 <= paid:
            sizes.append(2)
        for r in range(1, len(sizes)):
            sizes[r] += int(min(sizes[r - 1] - sizes[r], paid - sum(sizes)))
        return tuple(sizes)
    return ()
