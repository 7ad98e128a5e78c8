"""Measures of agreement."""

from lobula.metrics.by_type import compare_groups, compare_sizes, dale_scores
from lobula.metrics.clusters import cluster_scores, hungarian_accuracy
from lobula.metrics.horizon import horizon_scores
from lobula.metrics.prediction import explained, pearson, summary
from lobula.metrics.recovery import compare, compare_weights, line_fit, sign_accuracy

__all__ = [
    "cluster_scores",
    "compare",
    "compare_groups",
    "compare_sizes",
    "compare_weights",
    "dale_scores",
    "explained",
    "horizon_scores",
    "hungarian_accuracy",
    "line_fit",
    "pearson",
    "sign_accuracy",
    "summary",
]
