"""Measures of agreement."""

from lobula.metrics.by_type import compare_groups, compare_sizes, dale_scores
from lobula.metrics.catalogue import CEILING, QUANTITIES, RUNGS, Direction, Quantity, has_collapsed, rungs_of, worse_by
from lobula.metrics.clusters import cluster_scores, hungarian_accuracy
from lobula.metrics.horizon import horizon_scores
from lobula.metrics.over_seeds import Difference, Spread, difference, spread
from lobula.metrics.prediction import explained, pearson, summary
from lobula.metrics.recovery import compare, compare_weights, line_fit, sign_accuracy

__all__ = [
    "CEILING",
    "QUANTITIES",
    "RUNGS",
    "Difference",
    "Direction",
    "Quantity",
    "Spread",
    "cluster_scores",
    "compare",
    "compare_groups",
    "compare_sizes",
    "compare_weights",
    "dale_scores",
    "difference",
    "explained",
    "has_collapsed",
    "horizon_scores",
    "hungarian_accuracy",
    "line_fit",
    "pearson",
    "rungs_of",
    "sign_accuracy",
    "spread",
    "summary",
    "worse_by",
]
