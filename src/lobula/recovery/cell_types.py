"""Cell types from what was recovered: who is alike, and who talks to whom.

Neurons are first clustered by their own values (time constant, rest, mean and spread of their weights, embedding).
Then, a few times over, by those and by their partners: the summed weight from and to every cluster of the round before.
The number of clusters k is chosen by how well two halves of the neurons agree on the clustering of all (adjusted Rand
index A, largest A^2 log k: two clusters are always stable and say nothing); no truth is needed.
Information criteria are no use here: with thousands of neurons they keep splitting types.

One clustering splits some types and merges others, the next one other types. So there are several, with fewer and with
more clusters than k, and two neurons are of one type where most clusterings have them together: average linkage on how
often two neurons are apart, cut at one half.
Reference: Monti et al. (2003), consensus clustering; Fred & Jain (2005), evidence accumulation.
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
LEAST_VARIANCE = 1e-2
"""Of a component, in features of variance 1."""
LIKELY = 0.98
"""Of the largest A^2 log k: numbers of clusters above it are averaged, as the largest of them is chance."""
AROUND = (0.75, 0.9, 1.0, 1.2, 1.5)
"""Numbers of clusters of the clusterings that vote, in units of the chosen number."""
VOTES = 3
"""Clusterings with each of these numbers."""
APART = 0.5
"""Share of clusterings that must have two groups of neurons apart for these to be two types."""


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
    likely, stability = 1, float("nan")
    if n_types is None:
        likely, stability = most_stable(features, matrix, everyone)
    labels = agreed(votes(features, matrix, n_types or likely), everyone[:MOST_NEURONS], n_types)
    from sklearn.cluster import KMeans  # scikit-learn takes two seconds to import

    seen, found = with_partners(features, matrix, labels), len(np.unique(labels))
    plain = KMeans(found, n_init=3, random_state=0).fit_predict(seen).astype(np.int64)
    return CellTypes(labels, plain, found, stability)


def votes(features: np.ndarray, matrix: scipy.sparse.csr_matrix, n_types: int) -> np.ndarray:
    """(N, V) labels of clusterings with about that many clusters, each from other neurons and another start."""
    rng, labels = np.random.default_rng(1), []
    for seed, factor in enumerate(AROUND * VOTES if n_types > 1 else ()):
        sample = rng.permutation(len(features))[:MOST_NEURONS]
        k = min(max(round(n_types * factor), 2), len(sample))
        labels.append(relational_mixture(features, matrix, k, sample, seed))
    return np.stack(labels, 1) if labels else np.zeros((len(features), 1), dtype=np.int64)


def agreed(labels: np.ndarray, sample: np.ndarray, n_types: int | None) -> np.ndarray:
    """(N,) labels that most of several clusterings (N, V) agree on.

    Average linkage of the neurons of a sample; all others join those who mostly have their labels.

    Args:
        labels: clusterings.
        sample: (M,) neurons.
        n_types: number of clusters, if it is known; otherwise the tree is cut where half of the clusterings agree.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(sample) < 2:  # no pair to link
        return np.zeros(len(labels), dtype=np.int64)
    tree = linkage(labels[sample], "average", metric="hamming")
    cut = fcluster(tree, APART, "distance") if n_types is None else fcluster(tree, n_types, "maxclust")
    share = np.zeros((len(labels), int(cut.max())))
    for column in labels.T:
        table = np.zeros((int(column.max()) + 1, share.shape[1]))
        np.add.at(table, (column[sample], cut - 1), 1.0)
        share += (table / np.bincount(cut)[1:])[column]
    return share.argmax(1).astype(np.int64)


def most_stable(features: np.ndarray, matrix: scipy.sparse.csr_matrix, order: np.ndarray) -> tuple[int, float]:
    """Number of clusters on which two disjoint halves of the neurons agree most, about, and their agreement."""
    from sklearn.metrics import adjusted_rand_score

    middle = len(order) // 2
    halves = order[:middle][:MOST_NEURONS], order[middle:][:MOST_NEURONS]
    tried, agreement, gain = [1], [0.0], [0.0]
    for k in CANDIDATES:
        if middle < k * NEURONS_PER_CLUSTER / 2:
            break
        first, second = (
            [relational_mixture(features, matrix, k, half, 2 * start + side) for start in range(STARTS)]
            for side, half in enumerate(halves)
        )
        score = float(np.mean([adjusted_rand_score(a, b) for a in first for b in second]))
        tried, agreement, gain = [*tried, k], [*agreement, score], [*gain, max(score, 0.0) ** 2 * np.log(k)]
    likely = np.array(gain) >= LIKELY * max(gain)
    best = round(float(np.exp(np.log(tried)[likely].mean()))) if max(gain) > 0 else 1
    logger.info("cell types: about %d clusters, agreement of halves %.3f", best, agreement[int(np.argmax(gain))])
    return best, agreement[int(np.argmax(gain))]


def relational_mixture(
    features: np.ndarray, matrix: scipy.sparse.csr_matrix, n_types: int, sample: np.ndarray, seed: int
) -> np.ndarray:
    """(N,) labels of all neurons from mixtures fitted to a sample."""
    labels = mixture_labels(features, n_types, sample, seed)
    for _ in range(ROUNDS if n_types > 1 else 0):
        seen = with_partners(features, matrix, labels)
        labels = mixture_labels(seen, n_types, sample, seed)
    return labels


def with_partners(features: np.ndarray, matrix: scipy.sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """(N, F + P) own features and those of the partners."""
    return np.hstack([features, PARTNER_WEIGHT * partner_profile(matrix, labels)])


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
