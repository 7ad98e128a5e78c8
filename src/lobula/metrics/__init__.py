"""Measures of agreement."""

from lobula.metrics.activity import ActivitySpectrum, activity_spectrum, expected_residual
from lobula.metrics.clusters import cluster_scores, hungarian_accuracy
from lobula.metrics.confusion import confusion_counts
from lobula.metrics.prediction import explained, pearson, summary
from lobula.metrics.recovery import compare, compare_weights, line_fit, sign_accuracy
from lobula.metrics.spectrum import Spectrum, alignment, subspace_alignment, weight_spectrum

__all__ = [
    "ActivitySpectrum",
    "Spectrum",
    "activity_spectrum",
    "alignment",
    "cluster_scores",
    "compare",
    "compare_weights",
    "confusion_counts",
    "expected_residual",
    "explained",
    "hungarian_accuracy",
    "line_fit",
    "pearson",
    "sign_accuracy",
    "subspace_alignment",
    "summary",
    "weight_spectrum",
]
