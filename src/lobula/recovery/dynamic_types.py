"""Cell types from what neurons do by themselves: their update as a function of their own voltage.

Networks whose partners are random have types that differ in their dynamics alone. Every neuron's update is read at the
same voltages, and so is its message function where neurons have their own; neurons with the same curves are of one
type. Types are components of a mixture of Gaussians with full covariances, in the few directions in which neurons
differ, so that one parameter may differ much more than another. Their number is where one more component stops to make
the curves clearly more likely: a normal distribution that is split without need gains about a tenth of a nat per
neuron, two types that are ten standard deviations apart gain a nat and more.

An input that stays in saturation adds a constant, and whether that or the neuron's own offset is the constant no
recording tells. Where it may be the input, the neuron's curve is known up to its level, and takes that of its likes.
"""

from typing import TYPE_CHECKING

import numpy as np

from lobula.data.wiring import Wiring
from lobula.recovery.cell_types import CellTypes
from lobula.regression.ridge import LinearCircuit

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

N_VOLTAGES = 15
UNKNOWN_LEVEL = 0.05
"""Of the usual size of an update: an error of the level beyond makes it unknown."""
ALIKE = 10
"""Neurons whose level one takes that has none."""
MOST_TYPES = 12
LEAST_GAIN = 0.3
"""Of the mean log likelihood per neuron, for one more type."""
FARTHEST = 20.0
"""Mean deviations beyond which a neuron is as far as that: one odd neuron is no type."""
LEAST_SHARE = 1e-3
"""Of the variance: a direction below is noise."""
MOST_DIRECTIONS = 6
LEAST_VARIANCE = 1e-4
"""Of the variance: types are no points, even where estimates are exact."""


def common_voltages(voltage: np.ndarray) -> np.ndarray:
    """(P,) voltages that most neurons visit, from a sample (T, N) of the recording [a.u.]."""
    low, high = np.median(np.quantile(voltage, 0.05, axis=0)), np.median(np.quantile(voltage, 0.95, axis=0))
    return np.linspace(low, high, N_VOLTAGES)


def own_rates(circuit: LinearCircuit, voltage: np.ndarray) -> np.ndarray:
    """(N, P) update of every neuron without messages and input, at voltages that most neurons visit [a.u./s].

    Args:
        circuit: as fitted.
        voltage: (T, N) sample of the recording [a.u.].
    """
    grid = np.repeat(common_voltages(voltage)[:, None], voltage.shape[1], axis=1)
    return (circuit.k * grid + circuit.c + circuit.own(grid)).T


def level_error(circuit: LinearCircuit, wiring: Wiring, standing: np.ndarray) -> np.ndarray:
    """(N,) standard error of the level of what neurons do by themselves: of what is the same at all voltages [a.u./s].

    It is that of the offset, and what inputs may add whose weights are their prior: their messages are constant.

    Args:
        circuit: as fitted.
        wiring: its graph.
        standing: (E,) mean message of every edge, from that at rest [a.u.].
    """
    told = circuit.resolution > 0.5
    usual = float(np.sqrt(np.mean(circuit.theta[told] ** 2))) if told.any() else 0.0
    untold = np.clip(1.0 - circuit.resolution, 0.0, 1.0)
    left = np.where(untold > 0, untold * standing**2, 0.0)
    by_inputs = np.bincount(wiring.post, left, wiring.n_neurons) * usual**2
    return np.sqrt(by_inputs + np.nan_to_num(circuit.c_stderr) ** 2)


def with_levels(rates: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Rates (N, P) with the level of those of most similar shape where the level (N,) is known too badly."""
    unknown = error > UNKNOWN_LEVEL * float(np.sqrt(np.nanmean(rates**2)))
    level = rates.mean(1, keepdims=True)
    shape = rates - level
    if unknown.all():
        return shape
    for i in np.flatnonzero(unknown):
        far = ((shape[~unknown] - shape[i]) ** 2).sum(1)
        level[i] = np.median(level[~unknown][np.argsort(far)[:ALIKE]])
    return shape + level


def type_features(rates: np.ndarray, *messages: np.ndarray) -> np.ndarray:
    """(N, F) what types differ in: own rates (N, P), and message functions (N, P) if neurons have their own.

    Both are stated in units of their usual size; of message functions only the shape counts, not offset and scale.
    """
    parts = [rates / max(float(np.sqrt(np.nanmean(rates**2))), 1e-12)]
    for message in messages:
        centred = message - message.mean(1, keepdims=True)
        size = np.sqrt((centred**2).mean(1, keepdims=True))
        parts.append(centred / np.maximum(size, 1e-2 * np.median(size) + 1e-12))
    return np.concatenate(parts, axis=1)


def find_dynamic_types(features: np.ndarray, n_types: int | None = None) -> CellTypes:
    """Clusters neurons by their curves.

    Args:
        features: (N, F) from `own_rates` or `type_features`.
        n_types: number of clusters, if it is known.
    """
    from sklearn.cluster import KMeans  # scikit-learn takes two seconds to import

    points = directions(features)
    if n_types is None:
        most = min(MOST_TYPES, len(points) // 4)
        fits = [mixture(points, k) for k in range(1, max(most, 1) + 1)]
        n, d = points.shape
        price = max(LEAST_GAIN, np.log(n) / (2 * n) * (1 + d * (d + 3) / 2))  # or the parameters of one more component
        gains = [fit.score(points) - price * k for k, fit in enumerate(fits)]
        n_types = int(np.argmax(gains)) + 1
    plain = KMeans(n_types, n_init=10, random_state=0).fit_predict(points).astype(np.int64)
    labels = mixture(points, n_types).predict(points).astype(np.int64)
    return CellTypes(labels, plain, n_types, float("nan"))


def directions(features: np.ndarray) -> np.ndarray:
    """(N, D) principal components of the features, without those that are noise; total variance 1."""
    centred = np.nan_to_num(features - np.nanmedian(features, axis=0))
    reach = FARTHEST * max(float(np.abs(centred).mean()), 1e-12)
    centred = np.clip(centred, -reach, reach)
    left, size, _ = np.linalg.svd(centred - centred.mean(0), full_matrices=False)
    kept = (size**2 > LEAST_SHARE * (size**2).sum()) & (np.arange(len(size)) < MOST_DIRECTIONS)
    if not kept.any():
        return np.zeros((len(features), 1))
    return left[:, kept] * size[kept] * np.sqrt(len(features) / (size**2).sum())


def mixture(points: np.ndarray, n_types: int) -> "GaussianMixture":
    """A mixture of Gaussians fitted to points (N, D)."""
    from sklearn.mixture import GaussianMixture

    kind = {"covariance_type": "full", "reg_covar": LEAST_VARIANCE, "n_init": 10, "random_state": 0}
    return GaussianMixture(n_types, **kind).fit(points)
