"""Measures of agreement."""

from lobula.metrics.activity import ActivitySpectrum, activity_spectrum, expected_residual
from lobula.metrics.by_type import compare_groups, compare_sizes, dale_scores, group_moments, pair_means
from lobula.metrics.catalogue import (
    CEILING,
    QUANTITIES,
    RUNGS,
    Direction,
    Quantity,
    has_collapsed,
    rung_label,
    rungs_of,
    worse_by,
)
from lobula.metrics.clusters import cluster_scores, hungarian_accuracy
from lobula.metrics.confusion import confusion_counts
from lobula.metrics.horizon import horizon_scores, valid_time
from lobula.metrics.over_seeds import Difference, Spread, curves_over_seeds, difference, spread
from lobula.metrics.prediction import explained, pearson, summary
from lobula.metrics.recovery import compare, compare_weights, line_fit, sign_accuracy
from lobula.metrics.spectrum import Spectrum, alignment, spectral_radius, subspace_alignment, weight_spectrum
from lobula.metrics.support import support_scores

__all__ = [
    "CEILING",
    "QUANTITIES",
    "RUNGS",
    "ActivitySpectrum",
    "Difference",
    "Direction",
    "Quantity",
    "Spectrum",
    "Spread",
    "activity_spectrum",
    "alignment",
    "cluster_scores",
    "compare",
    "compare_groups",
    "compare_sizes",
    "compare_weights",
    "confusion_counts",
    "curves_over_seeds",
    "dale_scores",
    "difference",
    "expected_residual",
    "explained",
    "group_moments",
    "has_collapsed",
    "horizon_scores",
    "hungarian_accuracy",
    "line_fit",
    "pair_means",
    "pearson",
    "rung_label",
    "rungs_of",
    "sign_accuracy",
    "spectral_radius",
    "spread",
    "subspace_alignment",
    "summary",
    "support_scores",
    "valid_time",
    "weight_spectrum",
    "worse_by",
]
