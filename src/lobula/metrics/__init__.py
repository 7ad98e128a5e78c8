"""Measures of agreement."""

from lobula.metrics.catalogue import CEILING, QUANTITIES, RUNGS, Direction, Quantity, has_collapsed, rungs_of, worse_by
from lobula.metrics.clusters import cluster_scores, hungarian_accuracy
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
    "compare_weights",
    "difference",
    "explained",
    "has_collapsed",
    "hungarian_accuracy",
    "line_fit",
    "pearson",
    "rungs_of",
    "sign_accuracy",
    "spread",
    "summary",
    "worse_by",
]
