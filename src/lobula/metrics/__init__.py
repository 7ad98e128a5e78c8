"""Measures of agreement."""

from lobula.metrics.clusters import cluster_scores, hungarian_accuracy
from lobula.metrics.prediction import explained, pearson, summary
from lobula.metrics.recovery import compare, compare_weights, line_fit, sign_accuracy

__all__ = [
    "cluster_scores",
    "compare",
    "compare_weights",
    "explained",
    "hungarian_accuracy",
    "line_fit",
    "pearson",
    "sign_accuracy",
    "summary",
]
