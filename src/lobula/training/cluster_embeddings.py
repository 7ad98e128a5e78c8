"""Cluster and replace: every embedding becomes the centre of its cluster, so that neurons of a kind are one again."""

import logging

import numpy as np
import torch

from lobula.config.training import TrainingConfig
from lobula.models.graph_network import GraphNetwork
from lobula.training.neighbour_map import neighbour_map, umap_class

logger = logging.getLogger(__name__)

FEW = 20
"""Neurons that make a dense place for dbscan, unless there are fewer than that per cluster asked for."""
MAP_NEIGHBOURS = 15
"""Neighbours in the map of umap: too few, and a kind breaks up."""
MAP_REACH = 0.5
"""Places in the map of umap that are closer belong together; its clusters lie some units apart."""


def check_clustering(settings: TrainingConfig) -> None:
    """Raises MissingDependencyError at once, and not after minutes, if embeddings will be clustered by a library that
    is not installed."""
    if settings.cluster_every is not None and settings.cluster_method == "umap":
        umap_class()


@torch.no_grad()
def cluster_and_replace(model: GraphNetwork, settings: TrainingConfig, seed: int) -> int:
    """Replaces embeddings by the median of their cluster; neurons that dbscan or umap calls noise keep theirs.

    Args:
        model: changed in place.
        settings: `cluster_method` and `n_clusters`.
        seed: of the clustering.

    Returns:
        Number of clusters.
    """
    points = model.embedding.detach().cpu().double().numpy()
    labels = _labels(points, settings, seed)
    replaced = points.copy()
    found = [k for k in np.unique(labels) if k >= 0]
    for k in found:
        replaced[labels == k] = np.median(points[labels == k], axis=0)
    model.embedding.copy_(torch.from_numpy(replaced).to(model.embedding))
    logger.info("embeddings replaced by the centres of %d clusters", len(found))
    return len(found)


def _labels(points: np.ndarray, settings: TrainingConfig, seed: int) -> np.ndarray:
    from sklearn.cluster import DBSCAN, KMeans  # scikit-learn takes two seconds to import
    from sklearn.mixture import GaussianMixture

    n = min(settings.n_clusters, len(np.unique(points, axis=0)))
    if settings.cluster_method == "kmeans":
        return KMeans(n, n_init=3, random_state=seed).fit_predict(points)
    if settings.cluster_method == "gmm":
        return GaussianMixture(n, random_state=seed, reg_covar=1e-6 * max(points.var(), 1e-12)).fit_predict(points)
    if settings.cluster_method == "umap":
        plane = neighbour_map(points, MAP_NEIGHBOURS, 0.0, seed)
        return DBSCAN(eps=MAP_REACH, min_samples=2).fit_predict(plane)
    few = max(2, min(FEW, len(points) // (2 * settings.n_clusters)))
    reach = 0.5 * float(points.std()) / np.sqrt(settings.n_clusters)
    return DBSCAN(eps=max(reach, 1e-9), min_samples=few).fit_predict(points)
