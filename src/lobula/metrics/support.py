"""How well the connections that exist are told from those that do not."""

import numpy as np


def support_scores(true: np.ndarray, strength: np.ndarray, present: np.ndarray) -> dict[str, float | int]:
    """Agreement of a recovered graph with the true one, over all candidates.

    Args:
        true: (E,) bool, candidates that exist.
        strength: (E,) what orders the candidates, for example absolute z-scores; larger is more certain.
        present: (E,) bool, candidates that are called present.

    Returns:
        auc (area under the ROC curve of the order; 0.5 by chance, NaN where all candidates exist or none does), f1,
        precision, recall, n_candidates, n_true, n_found.
    """
    true, present = np.asarray(true, dtype=bool), np.asarray(present, dtype=bool)
    hits, n_true, n_found = int((true & present).sum()), int(true.sum()), int(present.sum())
    return {
        "auc": _area(true, np.asarray(strength, dtype=np.float64)),
        "f1": 2 * hits / (n_true + n_found) if n_true + n_found else float("nan"),
        "precision": hits / n_found if n_found else float("nan"),
        "recall": hits / n_true if n_true else float("nan"),
        "n_candidates": int(true.size),
        "n_true": n_true,
        "n_found": n_found,
    }


def _area(true: np.ndarray, strength: np.ndarray) -> float:
    """Probability that a true candidate is stronger than a false one, ties counted half (Mann & Whitney 1947)."""
    n_true, n_false = int(true.sum()), int((~true).sum())
    if not n_true or not n_false:
        return float("nan")
    _, place, count = np.unique(strength, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2.0
    return float((middle[place][true].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))
