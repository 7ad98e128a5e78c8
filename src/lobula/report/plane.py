"""A map of the neurons for display: UMAP where it is installed (extra `umap`), else principal components."""

import warnings

import numpy as np

MOST_UMAP = 3_000
"""All neurons of a full-size circuit would take most of a minute."""


def neuron_map(features: np.ndarray) -> tuple[np.ndarray, tuple[str, str], str]:
    """Places of neurons that lie close where their features are alike. For display only, nothing is scored on it.

    Args:
        features: (N, F) finite features of every neuron.

    Returns:
        (N, 2) places, NaN for those left out of a large circuit, the names of the axes, and the method in words.
    """
    chosen = np.unique(np.linspace(0, len(features) - 1, min(len(features), MOST_UMAP)).astype(int))
    found = _umap(features[chosen]) if len(features) > 30 else None
    if found is not None:
        places = np.full((len(features), 2), np.nan)
        places[chosen] = found
        some = f" of {len(chosen):,} neurons, evenly chosen" if len(chosen) < len(features) else ""
        return places, ("UMAP 1", "UMAP 2"), f"UMAP{some}"
    centred = features - features.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    plane = centred @ directions[:, : -3 if features.shape[1] > 1 else None : -1]
    plane = np.pad(plane, ((0, 0), (0, max(0, 2 - plane.shape[1]))))
    return plane, ("principal component 1", "principal component 2"), "principal components, without UMAP"


def _umap(features: np.ndarray) -> np.ndarray | None:
    """(N, 2) places, or None where UMAP is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of numba, scikit-learn and threads
        try:
            from umap import UMAP
        except ImportError:
            return None
        return np.asarray(UMAP(n_neighbors=20, min_dist=0.2, random_state=0).fit_transform(features), dtype=float)
