"""UMAP (McInnes et al. 2018), where its library is installed: points in the plane, neighbours close to each other."""

import warnings
from typing import Any

import numpy as np

from lobula.errors import MissingDependencyError


def neighbour_map(points: np.ndarray, n_neighbors: int, min_dist: float, seed: int) -> np.ndarray:
    """(N, 2) places of points (N, F).

    Args:
        points: finite.
        n_neighbors: neighbours that each point wants close.
        min_dist: closest that two places should lie; 0 packs clusters.
        seed: of the optimisation; one thread, so that it decides everything.

    Raises:
        MissingDependencyError: if umap-learn is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of numba and scikit-learn
        umap = umap_class()(
            n_neighbors=min(n_neighbors, len(points) - 1), min_dist=min_dist, random_state=seed, n_jobs=1
        )
        return np.asarray(umap.fit_transform(points), dtype=float)


def umap_class() -> Any:
    """The class UMAP.

    Raises:
        MissingDependencyError: if umap-learn is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as cause:
        raise MissingDependencyError(
            "UMAP: umap-learn is not installed, expected it for training.cluster_method=umap; "
            "python -m pip install 'lobula[umap]', or choose gmm, kmeans or dbscan"
        ) from cause
    return UMAP
