"""What an entry of the log says about trajectory, activity, weights and embeddings, from figures alone."""

import math
from collections.abc import Mapping, Sequence

from lobula.exploration.records import RunRecord
from lobula.exploration.study import Objective
from lobula.exploration.views.words import pairs, rounded

_STEADY = 0.02
_AXES = ("epoch", "iteration", "step", "phase", "time", "seconds")
_LOWER = ("loss", "rmse", "error", "prediction", "validation")
_BETTER = ("r2", "pearson", "accuracy")


def trajectory_line(run: RunRecord) -> list[str]:
    """Best value, last value and trend of every curve of the training; nothing where none was kept."""
    points = run.facts.get("trajectory")
    if not isinstance(points, Sequence) or isinstance(points, str) or not points:
        return []
    rows = [point for point in points if isinstance(point, Mapping)]
    names = dict.fromkeys(name for row in rows for name in row if name not in _AXES)
    words = []
    for name in names:
        curve = [float(row[name]) for row in rows if _is_finite(row.get(name))]
        falls = any(part in name for part in _LOWER) and not any(part in name for part in _BETTER)
        if curve and (falls or any(part in name for part in _BETTER)):
            best = min(curve) if falls else max(curve)
            kind = "lowest" if falls else "peak"
            words.append(f"{name} {kind}={best!r} final={curve[-1]!r} trend={_trend(curve)}")
    return [f"R2 trajectory: {', '.join(words)}"] if words else []


def activity_line(run: RunRecord) -> list[str]:
    """Effective rank at 99 % of the variance and spectral radius of the recorded circuit, where they were scored."""
    names = {"eff_rank": "circuit.effective_rank_99", "spectral_radius": "circuit.spectral_radius_W"}
    found = {label: run.metrics[path] for label, path in names.items() if path in run.metrics}
    if "eff_rank" in found and float(found["eff_rank"]).is_integer():
        found["eff_rank"] = int(found["eff_rank"])
    return [f"Activity: {pairs(found)}"] if found else []


def scatter_line(objective: Objective, run: RunRecord) -> list[str]:
    """The learned against the true weights in words, from slope and R2."""
    rung = objective.metric.partition(".")[0]
    slope, r2 = run.metrics.get(f"{rung}.W.slope"), run.metrics.get(f"{rung}.W.r2")
    if slope is None or r2 is None:
        return []
    if r2 > 0.9 and abs(slope - 1.0) < 0.1:
        words = "tight diagonal"
    elif abs(slope) < 0.05:
        words = "horizontal band at y=0: weights are not found, or an L1 penalty kills them"
    elif slope < 0.0:
        words = "points fall with the truth: signs are turned"
    elif slope < 0.9:
        words = "below the diagonal: weights are shrunk"
    elif slope > 1.1:
        words = "above the diagonal: weights are too large"
    else:
        words = "around the diagonal, with scatter"
    return [f"Scatter: {words} (slope {rounded(slope)}, R2 {rounded(r2)})"]


def embedding_line(objective: Objective, run: RunRecord) -> list[str]:
    """How far the embeddings tell cell types apart, in words, from the accuracy of their clusters."""
    rung = objective.metric.partition(".")[0]
    accuracy = run.metrics.get(f"{rung}.cell_types.accuracy")
    if accuracy is None:
        return []
    n_types = run.metrics.get(f"{rung}.cell_types.n_types")
    chance = run.metrics.get(f"{rung}.cell_types.chance_accuracy")
    types = f"{int(n_types)} types " if n_types is not None and math.isfinite(n_types) else "types "
    floor = 0.0 if chance is None else chance
    share = (accuracy - floor) / (1.0 - floor) if floor < 1.0 else 0.0
    words = "separated" if share > 0.9 else "partially separated" if share > 0.2 else "not separated"
    beside = "" if chance is None else f", chance {rounded(chance, 3)}"
    return [f"Embedding: {types}{words} (accuracy {rounded(accuracy)}{beside})"]


def _trend(curve: Sequence[float]) -> str:
    """Of the last third of a curve, against its whole range."""
    span = max(curve) - min(curve)
    start = curve[-max(2, math.ceil(len(curve) / 3)) :][0]
    if len(curve) < 2 or span == 0.0 or abs(curve[-1] - start) < _STEADY * span:
        return "stable"
    return "rising" if curve[-1] > start else "falling"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
