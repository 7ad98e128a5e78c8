"""Which cluster stands for which cell type."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def confusion_counts(true: np.ndarray, cluster: np.ndarray, n_types: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neurons by cell type and cluster, clusters in the order of the types that they match best.

    Args:
        true: (N,) cell types, 0..n_types - 1.
        cluster: (N,) cluster labels, any integers.
        n_types: number of types C.

    Returns:
        counts (C, K): neurons of every type in every cluster, columns in matched order, clusters without a type last.
        labels (K,): cluster of every column.
        matched (K,): type that it stands for, -1 for none.
    """
    labels, place = np.unique(cluster, return_inverse=True)
    counts = np.zeros((n_types, len(labels)), dtype=np.int64)
    np.add.at(counts, (true, place), 1)
    rows, columns = linear_sum_assignment(-counts)
    matched = np.full(len(labels), n_types)
    matched[columns] = rows
    order = np.argsort(matched, kind="stable")
    matched = matched[order]
    return counts[:, order], labels[order], np.where(matched < n_types, matched, -1)
