"""Cell types from what neurons do by themselves: their update as a function of their own voltage.

Networks whose partners are random have types that differ in their dynamics alone. Every neuron's update is read at the
same voltages; neurons with the same curve are of one type. Their number is where one more cluster lowers the summed
squared distances to the centres most: types that are equal up to errors of estimation are far apart, and a cluster that
is split without need gains a factor of three at most (two halves of a normal distribution in one dimension).
"""

import numpy as np

from lobula.recovery.cell_types import CellTypes
from lobula.regression.ridge import LinearCircuit

N_VOLTAGES = 15
MOST_TYPES = 12
LEAST_DROP = 4.0
"""Factor by which the right number of clusters lowers the squared distances; else there is one type."""
FARTHEST = 20.0
"""Mean deviations beyond which a neuron is as far as that: one odd neuron is no type."""


def own_rates(circuit: LinearCircuit, voltage: np.ndarray) -> np.ndarray:
    """(N, P) update of every neuron without messages and input, at voltages that most neurons visit [a.u./s].

    Args:
        circuit: as fitted.
        voltage: (T, N) sample of the recording [a.u.].
    """
    low, high = np.median(np.quantile(voltage, 0.05, axis=0)), np.median(np.quantile(voltage, 0.95, axis=0))
    grid = np.repeat(np.linspace(low, high, N_VOLTAGES)[:, None], voltage.shape[1], axis=1)
    return (circuit.k * grid + circuit.c + circuit.own(grid)).T


def find_dynamic_types(rates: np.ndarray, n_types: int | None = None) -> CellTypes:
    """Clusters neurons by their curves.

    Args:
        rates: (N, P) from `own_rates`.
        n_types: number of clusters, if it is known.
    """
    from sklearn.cluster import KMeans  # scikit-learn takes two seconds to import
    from sklearn.mixture import GaussianMixture

    centred = np.nan_to_num(rates - np.nanmedian(rates, axis=0))
    features = np.clip(centred / max(float(np.abs(centred).mean()), 1e-12), -FARTHEST, FARTHEST)
    if n_types is None:
        most = min(MOST_TYPES, len(features) // 2)
        inertia = [KMeans(k, n_init=10, random_state=0).fit(features).inertia_ for k in range(1, most + 1)]
        drops = np.array(inertia[:-1]) / np.maximum(inertia[1:], 1e-9 * inertia[0])
        n_types = int(drops.argmax()) + 2 if len(drops) and drops.max() > LEAST_DROP else 1
    plain = KMeans(n_types, n_init=10, random_state=0).fit_predict(features).astype(np.int64)
    mixture = GaussianMixture(n_types, covariance_type="diag", reg_covar=1e-4, n_init=3, random_state=0)
    return CellTypes(mixture.fit_predict(features).astype(np.int64), plain, n_types, float("nan"))
