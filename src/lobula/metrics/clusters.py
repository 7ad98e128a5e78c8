"""Agreement of clusters with cell types, always beside chance."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def cluster_scores(true: np.ndarray, cluster: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Hungarian accuracy (best one-to-one matching), ARI, NMI, and the accuracy of shuffled labels.

    Args:
        true: (N,) cell types.
        cluster: (N,) cluster labels.
        seed: of the shuffle.
    """
    from sklearn.metrics import (
        adjusted_rand_score,
        normalized_mutual_info_score,
    )  # scikit-learn takes two seconds to import

    shuffled = np.random.default_rng(seed).permutation(cluster)
    return {
        "accuracy": hungarian_accuracy(true, cluster),
        "ari": float(adjusted_rand_score(true, cluster)),
        "nmi": float(normalized_mutual_info_score(true, cluster)),
        "chance_accuracy": hungarian_accuracy(true, shuffled),
        "n_clusters": len(np.unique(cluster)),
        "n_types": len(np.unique(true)),
    }


def hungarian_accuracy(true: np.ndarray, cluster: np.ndarray) -> float:
    """Share of neurons in the right place under the best one-to-one matching of clusters and types."""
    _, t = np.unique(true, return_inverse=True)
    _, c = np.unique(cluster, return_inverse=True)
    table = np.zeros((t.max() + 1, c.max() + 1), dtype=np.int64)
    np.add.at(table, (t, c), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(true))
