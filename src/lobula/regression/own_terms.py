r"""What a neuron does by itself, beyond its leak: own terms of its voltage in the linear equation of `gram`.

.. math:: y_i = k_i v_i + c_i + q_i I_i + \sum_m b_{im}\, \phi_m(v_i) + \sum_j \theta_{ij}\, g_j(v_j)

The coefficients b are free, like leak and offset: they are not shrunk.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.interpolate import CubicSpline

N_QUANTILES = 0.5
"""Share of the knots at quantiles of a neuron's voltages; the others are spread evenly over their range."""


class OwnTerms(Protocol):
    """Functions of a neuron's own voltage."""

    @property
    def n_terms(self) -> int:
        """K."""
        ...

    def __call__(self, voltage: np.ndarray, neurons: slice = slice(None)) -> np.ndarray:
        """(K, M, T) values at voltages (M, T) of the neurons of a slice (all of them by default)."""
        ...


@dataclass(frozen=True)
class NoTerms:
    """The leak alone: the fly circuit."""

    n_terms: int = 0

    def __call__(self, voltage: np.ndarray, neurons: slice = slice(None)) -> np.ndarray:
        """(0, M, T)."""
        return np.empty((0, *voltage.shape))


@dataclass(frozen=True)
class TanhTerm:
    """One term tanh(v): the self-excitation of the signal networks."""

    n_terms: int = 1

    def __call__(self, voltage: np.ndarray, neurons: slice = slice(None)) -> np.ndarray:
        """(1, M, T)."""
        return np.tanh(voltage)[None]


@dataclass(frozen=True, eq=False)
class SplineTerms:
    """Any smooth function: natural cubic splines, without the straight lines that leak and offset stand for.

    Attributes:
        knots: (N, K + 2) strictly increasing voltages of every neuron [a.u.]; term m is the spline that is 1 at knot
            m + 1 and 0 at the others, straight beyond the ends.
    """

    knots: np.ndarray

    @property
    def n_terms(self) -> int:
        """K."""
        return self.knots.shape[1] - 2

    @classmethod
    def of(cls, voltage: np.ndarray, n_knots: int) -> "SplineTerms":
        """Knots where the neurons are: half at quantiles of their voltages (T, N), half evenly over the range."""
        n_dense = int(N_QUANTILES * n_knots)
        low, high = voltage.min(0), voltage.max(0)
        width = np.maximum(high - low, 1e-6)
        even = low + width * np.linspace(0.0, 1.0, n_knots - n_dense)[:, None]
        dense = np.quantile(voltage, np.linspace(0.02, 0.98, n_dense), axis=0)
        knots = np.sort(np.concatenate([even, dense]), axis=0)
        least = 0.1 * width / n_knots  # equal knots have no spline
        for row in range(1, n_knots):
            knots[row] = np.maximum(knots[row], knots[row - 1] + least)
        return cls(knots.T.copy())

    def __call__(self, voltage: np.ndarray, neurons: slice = slice(None)) -> np.ndarray:
        """(K, M, T)."""
        unit = np.eye(self.knots.shape[1])[:, 1:-1]
        values = np.empty((self.n_terms, *voltage.shape))
        for row, (knots, v) in enumerate(zip(self.knots[neurons], voltage, strict=True)):
            spline = CubicSpline(knots, unit, bc_type="natural")
            inside = np.clip(v, knots[0], knots[-1])
            slopes = spline(knots[[0, -1]], 1)
            below, above = np.minimum(v - knots[0], 0.0)[:, None], np.maximum(v - knots[-1], 0.0)[:, None]
            beyond = below * slopes[0] + above * slopes[1]
            values[:, row] = (spline(inside) + beyond).T
        return values
