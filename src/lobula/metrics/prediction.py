"""How well recovered dynamics predict activity that was not fitted."""

from collections.abc import Mapping

import numpy as np


def pearson(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N,) correlation over time of (T, N) arrays; NaN for a neuron that does not move."""
    a, b = true - true.mean(0), predicted - predicted.mean(0)
    scale = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 1e-12, (a * b).sum(0) / scale, np.nan)


def explained(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N,) fraction of the variance over time that is explained (FEVE without a noise ceiling); NaN for a constant
    neuron."""
    variance = true.var(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 1e-12, 1 - ((true - predicted) ** 2).mean(0) / variance, np.nan)


def summary(true: np.ndarray, predicted: np.ndarray, prefix: str) -> dict[str, float]:
    """RMSE, median Pearson and median explained variance over neurons that move; (T, N) arrays."""
    return in_one(per_neuron(true, predicted, prefix))


def per_neuron(true: np.ndarray, predicted: np.ndarray, prefix: str) -> dict[str, np.ndarray]:
    """RMSE, Pearson and explained variance of every neuron, each (N,), from (T, N) arrays; NaN as said above."""
    true, predicted = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return {
        f"{prefix}_rmse": np.sqrt(np.mean((true - predicted) ** 2, axis=0)),
        f"{prefix}_pearson": pearson(true, predicted),
        f"{prefix}_fraction_explained": explained(true, predicted),
    }


def in_one(neurons: Mapping[str, np.ndarray]) -> dict[str, float]:
    """One number of each column of `per_neuron`: the RMSE of all values, the median of the others."""
    return {
        name: float(np.sqrt(np.mean(np.square(values)))) if name.endswith("_rmse") else _median(values)
        for name, values in neurons.items()
    }


def _median(values: np.ndarray) -> float:
    """Median of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
