"""How close recovered values are to true ones. Higher is better for every R2; nothing non-finite is turned into 0."""

from typing import Any

import numpy as np


def compare(true: np.ndarray, learned: np.ndarray, outlier_threshold: float = 5.0) -> dict[str, Any]:
    """Agreement of two arrays of values.

    ``r2`` is measured against y = x; ``fit_r2`` against the best line learned ~ true (blind to scale and sign, as
    published tables report), so it always comes with ``slope``. Non-finite values and outliers (absolute error above
    the threshold) are counted; outliers are kept in r2, rmse and slope, and left out of ``fit_r2_no_outliers`` only.
    ``relative_error`` is |learned - true| / |true| (Euclidean norms); NaN where all true values are 0.
    """
    true, learned = np.asarray(true, dtype=np.float64), np.asarray(learned, dtype=np.float64)
    finite = np.isfinite(learned)
    t, x = true[finite], learned[finite]
    outlier = np.abs(x - t) > outlier_threshold
    slope, fit_r2 = line_fit(t, x)
    spread = float(((t - t.mean()) ** 2).sum()) if len(t) else 0.0
    size = float(np.linalg.norm(t))
    return {
        "fit_r2": fit_r2,
        "r2": 1.0 - float(((x - t) ** 2).sum()) / spread if spread > 0 else float("nan"),
        "slope": slope,
        "rmse": float(np.sqrt(np.mean((x - t) ** 2))) if len(t) else float("nan"),
        "relative_error": float(np.linalg.norm(x - t)) / size if size > 0 else float("nan"),
        "fit_r2_no_outliers": line_fit(t[~outlier], x[~outlier])[1],
        "n": int(true.size),
        "n_nonfinite": int((~finite).sum()),
        "n_outliers": int(outlier.sum()),
    }


def line_fit(true: np.ndarray, learned: np.ndarray) -> tuple[float, float]:
    """Slope and R2 of the least-squares line learned ~ true; NaN where either is constant."""
    if len(true) < 2:
        return float("nan"), float("nan")
    a, b = true - true.mean(), learned - learned.mean()
    aa, bb, ab = float(a @ a), float(b @ b), float(a @ b)
    if aa <= 0 or bb <= 0:
        return float("nan"), float("nan")
    return ab / aa, ab * ab / (aa * bb)


def compare_weights(
    true: np.ndarray, learned: np.ndarray, identifiable: np.ndarray, outlier_threshold: float = 5.0
) -> dict[str, Any]:
    """`compare` for all edges and for the identifiable ones, with sign accuracy.

    Args:
        true: (E,) true weights.
        learned: (E,) recovered weights.
        identifiable: (E,) bool, edges that the data determine.
        outlier_threshold: absolute error above which a weight counts as an outlier.
    """
    scores = compare(true, learned, outlier_threshold) | {"sign_accuracy": sign_accuracy(true, learned)}
    part = compare(true[identifiable], learned[identifiable], outlier_threshold)
    part |= {"sign_accuracy": sign_accuracy(true[identifiable], learned[identifiable])}
    share = float(np.mean(identifiable)) if len(identifiable) else float("nan")
    return scores | {"identifiable": part | {"share": share}}


def sign_accuracy(true: np.ndarray, learned: np.ndarray) -> float:
    """Share of the non-zero true values whose sign was found."""
    present = (true != 0) & np.isfinite(learned)
    return float(np.mean(np.sign(learned[present]) == np.sign(true[present]))) if present.any() else float("nan")
