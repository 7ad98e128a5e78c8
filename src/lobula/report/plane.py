"""Neurons in the plane, for display: what they learned, and all that was recovered of them."""

import numpy as np

from lobula.errors import MissingDependencyError
from lobula.training.neighbour_map import neighbour_map

MOST_UMAP = 3_000
"""All neurons of a full-size circuit would take most of a minute."""


def neuron_map(features: np.ndarray) -> tuple[np.ndarray, tuple[str, str], str]:
    """Places of neurons that lie close where their features are alike: UMAP where it is installed (extra `umap`), else
    principal components. For display only, nothing is scored on it.

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
    plane = _principal(features)
    return plane, ("principal component 1", "principal component 2"), "principal components, without UMAP"


def embedding_plane(embedding: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """(N, 2) view of an embedding (N, D), and the names of its axes.

    Two dimensions are shown as they are, more by their first two principal components; a single one is spread over
    the plane by the rank of its value.
    """
    n, d = embedding.shape
    if d == 2:
        return embedding, ("embedding 1", "embedding 2")
    if d == 1:
        rank = np.argsort(np.argsort(embedding[:, 0])) / max(n - 1, 1)
        return np.column_stack([embedding[:, 0], rank]), ("embedding", "rank of the neuron")
    return _principal(embedding), (f"principal component 1 of {d}", "principal component 2")


def _principal(features: np.ndarray) -> np.ndarray:
    """(N, 2) first two principal components; a second of zeros if there is only one feature."""
    centred = np.nan_to_num(features - np.nanmean(features, axis=0))
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ directions[:2].T
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def _umap(features: np.ndarray) -> np.ndarray | None:
    """(N, 2) places, or None where UMAP is not installed."""
    try:
        return neighbour_map(features, n_neighbors=20, min_dist=0.2, seed=0)
    except MissingDependencyError:
        return None
