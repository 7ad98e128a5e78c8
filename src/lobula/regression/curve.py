"""Message functions given by their values at knots, piecewise linear or cubic, and the placement of the knots."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.interpolate import BSpline, CubicSpline, make_interp_spline
from scipy.sparse import csc_array

from lobula.kernels import hats

FINE = 16_385
"""Points of the table of a smooth curve."""


@dataclass(frozen=True, eq=False)
class Curve(ABC):
    """A function of the voltage that is linear in its values at knots.

    Attributes:
        knots: (K,) strictly increasing voltages [a.u.].
        values: (K,) g at the knots [a.u.].
    """

    knots: np.ndarray
    values: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """(K-1,) mean slope of each interval."""
        return np.diff(self.values) / np.diff(self.knots)

    @abstractmethod
    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages, shape as ``voltage``."""

    def with_values(self, values: np.ndarray) -> Self:
        """The same knots with other values."""
        return replace(self, values=np.asarray(values, dtype=np.float64))

    @abstractmethod
    def resampled(self, knots: np.ndarray) -> Self:
        """The same curve on other knots."""

    @abstractmethod
    def as_linear(self) -> "PiecewiseLinear":
        """The same curve, piecewise linear."""

    @property
    def size(self) -> int:
        """Knots."""
        return len(self.knots)

    def refined(self, n_new: int) -> Self:
        """The same curve on more knots, where its slope changes most."""
        return self.resampled(refined_knots(self, n_new))

    def parts(self, n_neurons: int) -> "list[tuple[Curve, np.ndarray]]":
        """Curves, and the senders that have each: here one for all."""
        return [(self, np.arange(n_neurons))]


@dataclass(frozen=True, eq=False)
class PiecewiseLinear(Curve):
    """g(v), linear between knots and continued with the end slopes.

    Attributes:
        knots: (K,) strictly increasing voltages [a.u.].
        values: (K,) g at the knots [a.u.].
    """

    @classmethod
    def identity(cls, knots: np.ndarray) -> "PiecewiseLinear":
        """g(v) = v: the start that knows nothing of the nonlinearity."""
        return cls(knots, knots.copy())

    def locate(self, voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval (int) and position in it (0..1 inside, beyond outside), so that g = (1-f) g_k + f g_{k+1}."""
        return hats.locate(self.knots, voltage)

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages, shape as ``voltage``."""
        return hats.piecewise(self.knots, self.values, voltage)

    def simplified(self, most: int) -> "PiecewiseLinear":
        """At most ``most`` knots: those go first without which the curve changes least."""
        knots, values = self.knots, self.values
        while len(knots) > max(most, 2):
            line = values[:-2] + (knots[1:-1] - knots[:-2]) / (knots[2:] - knots[:-2]) * (values[2:] - values[:-2])
            least = 1 + int(np.argmin(np.abs(values[1:-1] - line)))
            knots, values = np.delete(knots, least), np.delete(values, least)
        return PiecewiseLinear(knots, values)

    def resampled(self, knots: np.ndarray) -> "PiecewiseLinear":
        """The same curve on other knots."""
        return PiecewiseLinear(knots, self(knots))

    def as_linear(self) -> "PiecewiseLinear":
        """This curve."""
        return self


@dataclass(frozen=True, eq=False)
class SmoothCurve(Curve):
    """g(v), a natural cubic spline through its values, straight beyond the ends: for functions without a kink.

    Attributes:
        knots: (K,) strictly increasing voltages [a.u.].
        values: (K,) g at the knots [a.u.].
    """

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        grid = np.linspace(self.knots[0], self.knots[-1], FINE)
        return grid, CubicSpline(self.knots, self.values, bc_type="natural")(grid)

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages, shape as ``voltage``."""
        grid, table = self._table
        position = (np.asarray(voltage) - grid[0]) / (grid[1] - grid[0])
        index = np.clip(position.astype(np.int64), 0, FINE - 2)
        left = table[index]
        return left + (position - index) * (table[index + 1] - left)

    def resampled(self, knots: np.ndarray) -> "SmoothCurve":
        """The same curve on other knots."""
        return SmoothCurve(knots, CubicSpline(self.knots, self.values, bc_type="natural")(knots))

    def as_linear(self) -> PiecewiseLinear:
        """The same curve with many knots."""
        grid, table = self._table
        return PiecewiseLinear(grid, table)


def basis_of(curve: Curve) -> "Basis":
    """What a unit of each value adds to the curve."""
    unit, degree = np.eye(len(curve.knots)), 3 if isinstance(curve, SmoothCurve) else 1
    spline = make_interp_spline(curve.knots, unit, k=degree, bc_type="natural" if degree == 3 else None)
    grid = np.linspace(curve.knots[0], curve.knots[-1], FINE)
    local = BSpline.design_matrix(grid, spline.t, degree)
    slopes = spline.derivative()(grid[[0, -1]])
    shape = (FINE, degree + 1)
    return Basis(grid, local.indices.reshape(shape), local.data.reshape(shape), spline.c, slopes)


@dataclass(frozen=True, eq=False)
class Basis:
    """K functions, straight beyond the ends of a grid: combinations of B-splines, of which few act at a voltage.

    Attributes:
        grid: (M,) even voltages [a.u.].
        local: (M, D) which B-splines are not 0 there.
        values: (M, D) their values.
        combinations: (B, K) the functions as combinations of all B-splines.
        slopes: (2, K) of the functions beyond the first and the last point.
    """

    grid: np.ndarray
    local: np.ndarray
    values: np.ndarray
    combinations: np.ndarray
    slopes: np.ndarray

    def __len__(self) -> int:
        """K."""
        return self.combinations.shape[1]

    def summed(self, voltage: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """(T, Q, K) every function at voltages (T, N), summed over the neurons with coefficients (N, Q).

        At the nearest point of the grid: good for a Gauss-Newton step, whose fixed point does not depend on it.
        """
        (n_frames, n_neurons), n_local = voltage.shape, self.local.shape[1]
        nearest = self._nearest(voltage)
        local = np.take(self.local, nearest, axis=0, mode="clip").reshape(n_frames, -1)
        values = np.take(self.values, nearest, axis=0, mode="clip").reshape(n_frames, -1)
        starts = np.arange(n_neurons + 1, dtype=local.dtype) * n_local
        shape = (len(self.combinations), n_neurons)
        splines = np.empty((n_frames, len(self.combinations), coefficients.shape[1]))
        for t in range(n_frames):
            splines[t] = csc_array((values[t], local[t], starts), shape=shape) @ coefficients
        found = splines.transpose(0, 2, 1) @ self.combinations
        for beyond, slopes in self._beyond(voltage):
            found += (beyond @ coefficients)[:, :, None] * slopes
        return found

    def total(self, voltage: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(K,) every function at voltages (T, N), summed over all with weights (T, N); as exact as `summed`."""
        at_grid = np.bincount(self._nearest(voltage).ravel(), weights.ravel(), len(self.grid))
        splines = np.bincount(self.local.ravel(), (self.values * at_grid[:, None]).ravel(), len(self.combinations))
        return splines @ self.combinations + sum((beyond * weights).sum() * s for beyond, s in self._beyond(voltage))

    def _nearest(self, voltage: np.ndarray) -> np.ndarray:
        width = self.grid[1] - self.grid[0]
        return np.clip(np.rint((voltage - self.grid[0]) / width), 0, len(self.grid) - 1).astype(np.intp)

    def _beyond(self, voltage: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """How far voltages lie beyond the ends, where they do, and the slopes (K,) there."""
        below, above = np.minimum(voltage - self.grid[0], 0.0), np.maximum(voltage - self.grid[-1], 0.0)
        return [(out, slopes) for out, slopes in zip((below, above), self.slopes, strict=True) if out.any()]


def rectifier_slope(voltage: np.ndarray, messages: np.ndarray) -> float:
    """Slope of the rectifier that is most like these messages: the unit in which weights are stated.

    The scale of a message function is a convention; this one is 1 for max(v, 0), and hardly moves when noise rounds
    its kink, where a slope over some range of voltages does (W by .4 % on fly-small at sigma .5).

    Args:
        voltage: visited voltages [a.u.], any shape.
        messages: g there, same shape.
    """
    v, g = np.ravel(voltage), np.ravel(messages)
    rectified = np.maximum(v, 0.0) if (v > 0).sum() > 100 else v
    rectified = rectified - rectified.mean()
    return float(rectified @ g) / max(float(rectified @ rectified), 1e-30)


def initial_knots(voltage: np.ndarray, n_knots: int) -> np.ndarray:
    """Half of the knots at quantiles of the voltages, half evenly over their range.

    Args:
        voltage: sample of voltages, any shape [a.u.].
        n_knots: number of knots (fewer when quantiles coincide).
    """
    low, high = np.quantile(voltage, [1e-4, 1 - 1e-4])
    quantiles = np.quantile(voltage, np.linspace(0.002, 0.998, n_knots // 2))
    return merge_close(np.concatenate([quantiles, np.linspace(low, high, n_knots - len(quantiles))]))


def merge_close(knots: np.ndarray, share: float = 2e-4) -> np.ndarray:
    """Sorted knots without those closer to their left neighbour than a share of the range."""
    knots = np.sort(knots)
    gap = share * (knots[-1] - knots[0])
    kept = [knots[0]]
    for knot in knots[1:]:
        if knot - kept[-1] > gap:
            kept.append(knot)
    return np.array(kept)


def refined_knots(curve: Curve, n_new: int) -> np.ndarray:
    """Halves the intervals beside the knots where the slope changes most, and keeps the others."""
    bend = np.abs(np.diff(curve.slopes))
    gaps = np.diff(curve.knots)
    span = curve.knots[-1] - curve.knots[0]
    error = np.zeros(len(gaps))
    error[:-1] += bend * gaps[:-1]
    error[1:] += bend * gaps[1:]
    error[gaps < 1e-3 * span] = 0.0
    worst = np.argsort(error)[::-1][:n_new]
    worst = worst[error[worst] > 0]
    middles = (curve.knots[worst] + curve.knots[worst + 1]) / 2
    return merge_close(np.concatenate([curve.knots, middles]))
