"""A piecewise-linear message function and the placement of its knots."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PiecewiseLinear:
    """g(v), linear between knots and continued with the end slopes.

    Attributes:
        knots: (K,) strictly increasing voltages [a.u.].
        values: (K,) g at the knots [a.u.].
    """

    knots: np.ndarray
    values: np.ndarray

    @classmethod
    def identity(cls, knots: np.ndarray) -> "PiecewiseLinear":
        """g(v) = v: the start that knows nothing of the nonlinearity."""
        return cls(knots, knots.copy())

    def locate(self, voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval (int) and position in it (0..1 inside, beyond outside), so that g = (1-f) g_k + f g_{k+1}."""
        index = np.clip(np.searchsorted(self.knots, voltage, side="right") - 1, 0, len(self.knots) - 2)
        left = self.knots[index]
        return index, (voltage - left) / (self.knots[index + 1] - left)

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages, shape as ``voltage``."""
        index, fraction = self.locate(voltage)
        left = self.values[index]
        return left + fraction * (self.values[index + 1] - left)

    @property
    def slopes(self) -> np.ndarray:
        """(K-1,) slope of each interval."""
        return np.diff(self.values) / np.diff(self.knots)

    def with_values(self, values: np.ndarray) -> "PiecewiseLinear":
        """The same knots with other values."""
        return PiecewiseLinear(self.knots, np.asarray(values, dtype=np.float64))

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


def refined_knots(curve: PiecewiseLinear, n_new: int) -> np.ndarray:
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
