"""Cell types from what was recovered: who is alike, and who talks to whom.

Neurons are first clustered by their own values (time constant, rest, mean and spread of their weights, embedding).
Then, a few times over, by those and by their partners: the summed weight from and to every cluster of the round before.
The number of clusters k is chosen by how well two halves of the neurons agree on the clustering of all (adjusted Rand
index A, largest A^2 log k: two clusters are always stable and say nothing); no truth is needed.
Information criteria are no use here: with thousands of neurons they keep splitting types.
"""

import logging
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from lobula.data.wiring import Wiring

logger = logging.getLogger(__name__)

CANDIDATES = (2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 100, 120)
NEURONS_PER_CLUSTER = 12
MOST_NEURONS = 3000
ROUNDS = 3
STARTS = 2
PARTNER_DIMENSIONS = 20
PARTNER_WEIGHT = 2.0
LEAST_VARIANCE = 1e-3
"""Of a component, in features of variance 1."""


@dataclass(frozen=True)
class CellTypes:
    """Clusters of neurons.

    Attributes:
        gmm: (N,) labels by mixtures of Gaussians.
        k_means: (N,) labels by k-means on the same features.
        n_types: number of clusters.
        stability: agreement of two halves at that number, 1 = same clustering; NaN if the number was given.
    """

    gmm: np.ndarray
    k_means: np.ndarray
    n_types: int
    stability: float


def find_cell_types(wiring: Wiring, features: np.ndarray, weight: np.ndarray, n_types: int | None = None) -> CellTypes:
    """Clusters neurons by their own features and by their partners.

    Args:
        wiring: the graph.
        features: (N, F) from `neuron_features`.
        weight: (E,) recovered weights.
        n_types: number of clusters, if it is known.
    """
    matrix = wiring.csr(np.where(np.isfinite(weight), weight, 0.0))
    everyone = np.random.default_rng(0).permutation(len(features))
    stability = float("nan")
    if n_types is None:
        n_types, stability = most_stable(features, matrix, everyone)
    labels, seen = relational_mixture(features, matrix, n_types, everyone[:MOST_NEURONS], seed=0)
    from sklearn.cluster import KMeans  # scikit-learn takes two seconds to import

    plain = KMeans(n_types, n_init=3, random_state=0).fit_predict(seen).astype(np.int64)
    return CellTypes(labels, plain, n_types, stability)


def most_stable(features: np.ndarray, matrix: scipy.sparse.csr_matrix, order: np.ndarray) -> tuple[int, float]:
    """Number of clusters on which two disjoint halves of the neurons agree most, and their agreement."""
    from sklearn.metrics import adjusted_rand_score

    middle = len(order) // 2
    halves = order[:middle][:MOST_NEURONS], order[middle:][:MOST_NEURONS]
    best, agreement, most = 1, 0.0, 0.0
    for k in CANDIDATES:
        if middle < k * NEURONS_PER_CLUSTER / 2:
            break
        first, second = (
            [relational_mixture(features, matrix, k, half, 2 * start + side)[0] for start in range(STARTS)]
            for side, half in enumerate(halves)
        )
        score = float(np.mean([adjusted_rand_score(a, b) for a in first for b in second]))
        if score**2 * np.log(k) > most:
            best, agreement, most = k, score, score**2 * np.log(k)
    logger.info("cell types: %d clusters, agreement of halves %.3f", best, agreement)
    return best, agreement


def relational_mixture(
    features: np.ndarray, matrix: scipy.sparse.csr_matrix, n_types: int, sample: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) of all neurons from mixtures fitted to a sample, and the features (N, F') of the last round."""
    seen, labels = features, mixture_labels(features, n_types, sample, seed)
    for _ in range(ROUNDS if n_types > 1 else 0):
        seen = np.hstack([features, PARTNER_WEIGHT * partner_profile(matrix, labels)])
        labels = mixture_labels(seen, n_types, sample, seed)
    return labels, seen


def mixture_labels(features: np.ndarray, n_types: int, sample: np.ndarray, seed: int) -> np.ndarray:
    """(N,) labels of a mixture of Gaussians with diagonal covariances, fitted to a sample."""
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(
        n_types, covariance_type="diag", reg_covar=LEAST_VARIANCE, random_state=seed, max_iter=60, tol=1e-2
    )
    return mixture.fit(features[sample]).predict(features).astype(np.int64)


def partner_profile(matrix: scipy.sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """(N, P) main directions of the weight from and to every cluster, each neuron's scaled to length 1."""
    member = scipy.sparse.csr_matrix((np.ones(len(labels)), (np.arange(len(labels)), labels)))
    sums = [(m @ member).toarray() for m in (matrix, matrix.T)]
    profile = np.hstack([s / np.maximum(np.linalg.norm(s, axis=1, keepdims=True), 1e-9) for s in sums])
    centred = profile - profile.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    reduced = centred @ directions[:, -PARTNER_DIMENSIONS:]
    return reduced / max(float(reduced.std()), 1e-12)


def neuron_features(
    wiring: Wiring, weight: np.ndarray, tau: np.ndarray, v_rest: np.ndarray, embedding: np.ndarray | None
) -> np.ndarray:
    """(N, F): tau, v_rest, mean and spread of incoming and outgoing weights, embedding; each column made normal."""
    columns = [tau, v_rest]
    finite = np.where(np.isfinite(weight), weight, 0.0)
    for ends in (wiring.post, wiring.pre):
        count = np.maximum(np.bincount(ends, minlength=wiring.n_neurons), 1)
        mean = np.bincount(ends, finite, wiring.n_neurons) / count
        square = np.bincount(ends, finite**2, wiring.n_neurons) / count
        columns += [mean, np.sqrt(np.maximum(square - mean**2, 0.0))]
    features = np.column_stack(columns if embedding is None else [*columns, embedding])
    known = np.isfinite(features)
    middle = np.array([np.median(x[k]) if k.any() else 0.0 for x, k in zip(features.T, known.T, strict=True)])
    features = np.where(known, features, middle)
    from sklearn.preprocessing import QuantileTransformer

    normal = QuantileTransformer(n_quantiles=min(1000, len(features)), output_distribution="normal", random_state=0)
    return normal.fit_transform(features)
