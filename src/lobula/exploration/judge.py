"""What a run is worth: its value under the study's objective, and its class."""

from typing import Literal

from lobula.exploration.records import FAILED, RunRecord, RunState, Snapshot
from lobula.exploration.study import Objective

Class = Literal["converged", "partial", "partial-W", "partial-E", "failed"]


def value_of(objective: Objective, run: RunRecord) -> float | None:
    """The objective's metric, turned so that higher is better; None where there is none (yet, or for a failed run)."""
    value = run.metrics.get(objective.metric) if run.state is RunState.SCORED else None
    if value is None:
        return None
    sign = 1.0 if objective.direction == "higher" else -1.0
    return sign * value if objective.floor is None else max(sign * value, sign * objective.floor)


def is_observation(run: RunRecord) -> bool:
    """Whether a run says something about its config: it was scored, or failed by its own fault."""
    return run.state is RunState.SCORED or run.state in FAILED


def classify(objective: Objective, run: RunRecord) -> Class | None:
    """Class of a run; None while nothing is known, or where the machine failed.

    With a second metric the dual form: converged, partial-W (the first is good), partial-E (the second is good),
    partial, failed.
    """
    if run.state in FAILED:
        return "failed"
    first = value_of(objective, run)
    if first is None:
        return None
    sign = 1.0 if objective.direction == "higher" else -1.0
    good, bad = first > sign * objective.converged, first < sign * objective.failed
    if objective.second is None:
        return "converged" if good else "failed" if bad else "partial"
    second = run.metrics.get(objective.second, float("-inf"))
    good_too = second > objective.second_converged
    if good or good_too:
        return "converged" if good and good_too else "partial-W" if good else "partial-E"
    return "failed" if bad and second < objective.failed else "partial"


def values_of(snapshot: Snapshot, config: str, holdout: bool = False) -> dict[int, float]:
    """Values of a config's scored runs by index of their pair, higher is better."""
    found = {}
    for run in snapshot.runs_of(config, holdout):
        value = value_of(snapshot.study.objective, run)
        if value is not None:
            found[run.pair.index] = value
    return found
