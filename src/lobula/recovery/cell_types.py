"""Cell types from what was recovered: mixtures of Gaussians and k-means on the neurons' features."""

import logging

import numpy as np
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import QuantileTransformer

from lobula.data.wiring import Wiring

logger = logging.getLogger(__name__)

CANDIDATES = (10, 20, 35, 50, 65, 80, 100)
MOST_NEURONS = 6000


def neuron_features(
    wiring: Wiring, weight: np.ndarray, tau: np.ndarray, v_rest: np.ndarray, embedding: np.ndarray | None
) -> np.ndarray:
    """(N, F): embedding, tau, v_rest, mean and spread of the incoming and outgoing weights; made normal column by
    column."""
    columns = [tau, v_rest]
    finite = np.where(np.isfinite(weight), weight, 0.0)
    for ends in (wiring.post, wiring.pre):
        count = np.maximum(np.bincount(ends, minlength=wiring.n_neurons), 1)
        mean = np.bincount(ends, finite, wiring.n_neurons) / count
        square = np.bincount(ends, finite**2, wiring.n_neurons) / count
        columns += [mean, np.sqrt(np.maximum(square - mean**2, 0.0)), count.astype(float)]
    features = np.column_stack(columns if embedding is None else [*columns, embedding])
    features = np.where(
        np.isfinite(features), features, np.nanmedian(np.where(np.isfinite(features), features, np.nan), 0)
    )
    n_quantiles = min(1000, len(features))
    return QuantileTransformer(n_quantiles=n_quantiles, output_distribution="normal", random_state=0).fit_transform(
        features
    )


def gaussian_mixture(features: np.ndarray, n_types: int | None, seed: int = 0) -> np.ndarray:
    """(N,) cluster labels; the number of clusters minimises the Bayesian information criterion where it is not
    given."""
    rng = np.random.default_rng(seed)
    sample = (
        features if len(features) <= MOST_NEURONS else features[rng.choice(len(features), MOST_NEURONS, replace=False)]
    )
    candidates = [n_types] if n_types else [k for k in CANDIDATES if k < len(sample) // 8] or [1]
    best, best_bic = GaussianMixture(), np.inf
    for k in candidates:
        mixture = GaussianMixture(k, covariance_type="diag", reg_covar=1e-4, random_state=seed, max_iter=60).fit(sample)
        bic = mixture.bic(sample)
        if bic < best_bic:
            best, best_bic = mixture, bic
    logger.info("cell types: %d clusters (BIC %.0f)", best.n_components, best_bic)
    return best.predict(features).astype(np.int64)


def k_means(features: np.ndarray, n_types: int, seed: int = 0) -> np.ndarray:
    """(N,) cluster labels."""
    return KMeans(min(n_types, len(features)), n_init=3, random_state=seed).fit_predict(features).astype(np.int64)
