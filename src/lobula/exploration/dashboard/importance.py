"""Which fields matter: how much worse a random forest predicts scores when a field's values are shuffled."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lobula.config.space import Dimension
from lobula.exploration.records import Snapshot

ENOUGH_RUNS = 16
"""Scored runs below which nothing is said."""
_TREES, _SHUFFLES, _LEAF = 150, 8, 2


def parameter_importance(
    snapshot: Snapshot, dimensions: Sequence[Dimension], scores: Mapping[int, float]
) -> dict[str, Any]:
    """Permutation importance of the fields that a study varies.

    Args:
        snapshot: what the study knows.
        dimensions: its dimensions.
        scores: score by run id.

    Returns:
        "rows": path, mean and sd of the drop in R2 over shuffles, largest first. "explained": R2 of the forest on
        runs that a tree has not seen, or None. "note": why there are no rows, or what to make of them; may be empty.
    """
    runs = [run for run in snapshot.runs if run.id in scores and not run.pair.holdout]
    values = {node.id: node.values for node in snapshot.nodes}
    columns = {d.path: [_encoded(d, values[run.node].get(d.path, d.default)) for run in runs] for d in dimensions}
    columns = {path: column for path, column in columns.items() if len(set(column)) > 1}
    if len(runs) < ENOUGH_RUNS or not columns:
        why = f"{len(runs)} scored runs" if columns else "no field has been varied"
        return {"rows": [], "explained": None, "note": f"Too little to tell: {why}, at least {ENOUGH_RUNS} are needed."}
    table = tuple((path, tuple(column)) for path, column in columns.items())
    return _by_shuffling(table, tuple(scores[run.id] for run in runs))


@lru_cache(maxsize=4)  # a live page asks again and again, and forests take a second
def _by_shuffling(table: tuple[tuple[str, tuple[float, ...]], ...], target: tuple[float, ...]) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    x, y = np.array([column for _, column in table]).T, np.array(target)
    forest = RandomForestRegressor(_TREES, min_samples_leaf=_LEAF, oob_score=True, random_state=0, n_jobs=1)
    forest.fit(x, y)
    drop = permutation_importance(forest, x, y, n_repeats=_SHUFFLES, random_state=0, n_jobs=1)
    found = zip(table, drop["importances_mean"], drop["importances_std"], strict=True)
    rows = [{"path": path, "mean": float(mean), "sd": float(sd)} for (path, _), mean, sd in found]
    explained = float(forest.oob_score_)
    note = "" if explained > 0.0 else "The forest predicts unseen runs no better than their mean: read nothing into it."
    return {"rows": sorted(rows, key=lambda row: -row["mean"]), "explained": explained, "note": note}


def _encoded(dimension: Dimension, value: Any) -> float:
    """A value as a number: its place among the choices, or its logarithm on a logarithmic axis."""
    if dimension.choices:
        return float(dimension.choices.index(value)) if value in dimension.choices else -1.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return -1.0
    return math.log(value) if dimension.scale == "log" and value > 0 else float(value)
