"""How well recovered dynamics predict activity that was not fitted."""

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
    true, predicted = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return {
        f"{prefix}_rmse": float(np.sqrt(np.mean((true - predicted) ** 2))),
        f"{prefix}_pearson": _median(pearson(true, predicted)),
        f"{prefix}_fraction_explained": _median(explained(true, predicted)),
    }


def _median(values: np.ndarray) -> float:
    """Median of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
