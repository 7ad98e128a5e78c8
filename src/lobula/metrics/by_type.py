"""Agreement group by group: per cell type, per size of weight, per presynaptic neuron (Dale's law). No loop over
groups."""

from typing import Any

import numpy as np
import pandas as pd


def compare_groups(true: np.ndarray, learned: np.ndarray, group: np.ndarray, n_groups: int) -> pd.DataFrame:
    """`compare` within groups.

    Args:
        true: (K,) true values.
        learned: (K,) recovered values; those that are not finite are counted and left out.
        group: (K,) int, the group of each.
        n_groups: number of groups G; a group may be empty.

    Returns:
        G rows with n, n_nonfinite, true_mean, learned_mean, rmse, slope and fit_r2 (NaN where the values do not vary).
    """
    true, learned = np.asarray(true, dtype=np.float64), np.asarray(learned, dtype=np.float64)
    finite = np.isfinite(learned)
    t, x, g = true[finite], learned[finite], group[finite]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(g, values, n_groups)

    n = np.bincount(g, minlength=n_groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        t_mean, x_mean = total(t) / n, total(x) / n
        a, b = t - t_mean[g], x - x_mean[g]
        aa, bb, ab = total(a * a), total(b * b), total(a * b)
        tiny = 1e-18 * np.maximum(total(t * t), 1e-300)  # rounding in values that are all the same
        vary = (aa > tiny) & (bb > 1e-18 * np.maximum(total(x * x), 1e-300))
        columns = {
            "n": np.bincount(group, minlength=n_groups),
            "n_nonfinite": np.bincount(group[~finite], minlength=n_groups),
            "true_mean": t_mean,
            "learned_mean": x_mean,
            "rmse": np.sqrt(total((x - t) ** 2) / n),
            "slope": np.where(vary, ab / aa, np.nan),
            "fit_r2": np.where(vary, ab**2 / (aa * bb), np.nan),
        }
    return pd.DataFrame(columns)


def group_moments(values: np.ndarray, group: np.ndarray, n_groups: int) -> pd.DataFrame:
    """Mean and standard deviation within groups.

    Args:
        values: (K,) values; those that are not finite do not count.
        group: (K,) int, the group of each; -1 for none.
        n_groups: number of groups G.

    Returns:
        G rows with n, mean and std (NaN for an empty group).
    """
    known = np.isfinite(values) & (group >= 0)
    x, k = values[known], group[known]
    count = np.bincount(k, minlength=n_groups)
    divisor = np.where(count > 0, count, np.nan)
    mean = np.bincount(k, x, n_groups) / divisor
    std = np.sqrt(np.bincount(k, (x - mean[k]) ** 2, n_groups) / divisor)
    return pd.DataFrame({"n": count, "mean": mean, "std": std})


def pair_means(pre: np.ndarray, post: np.ndarray, values: np.ndarray, n_types: int) -> np.ndarray:
    """Mean of a value of edges by pair of cell types.

    Args:
        pre: (E,) type of the sender.
        post: (E,) type of the receiver.
        values: (E,) values; those that are not finite do not count.
        n_types: number of types C.

    Returns:
        (C, C) means by [post, pre], NaN where there is no edge.
    """
    return group_moments(values, post * n_types + pre, n_types**2)["mean"].to_numpy().reshape(n_types, n_types)


def compare_sizes(true: np.ndarray, learned: np.ndarray, n_bins: int = 10) -> pd.DataFrame:
    """Weights by size: bins of equal number by absolute true weight; zeros (null edges) have a bin of their own.

    Args:
        true: (E,) true weights.
        learned: (E,) recovered weights.
        n_bins: bins of the weights that are not 0.

    Returns:
        One row per bin with the smallest and largest absolute true weight, n, rmse, relative error (rmse over the root
        mean square of the true weights) and sign accuracy.
    """
    size, finite = np.abs(np.asarray(true, dtype=np.float64)), np.isfinite(learned)
    present = size > 0
    edges = np.unique(np.quantile(size[present], np.linspace(0, 1, n_bins + 1))) if present.any() else np.zeros(2)
    bins = np.where(present, 1 + np.clip(np.searchsorted(edges, size, side="right") - 1, 0, max(len(edges) - 2, 0)), 0)
    rows = []
    for k in np.unique(bins):
        own = (bins == k) & finite
        error = learned[own] - true[own]
        power = float(np.mean(np.square(true[own]))) if own.any() else np.nan
        agree = np.sign(learned[own]) == np.sign(true[own])
        rows.append(
            {
                "smallest": float(size[bins == k].min()),
                "largest": float(size[bins == k].max()),
                "n": int((bins == k).sum()),
                "n_nonfinite": int(((bins == k) & ~finite).sum()),
                "rmse": float(np.sqrt(np.mean(error**2))) if own.any() else np.nan,
                "relative_error": float(np.sqrt(np.mean(error**2) / power)) if own.any() and power > 0 else np.nan,
                "sign_accuracy": float(agree.mean()) if own.any() and k > 0 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def dale_scores(true: np.ndarray, learned: np.ndarray, pre: np.ndarray, n_neurons: int) -> dict[str, Any]:
    """How far outgoing weights of one neuron have one sign (Dale's law), and whether it is the right one.

    Args:
        true: (E,) true weights.
        learned: (E,) recovered weights.
        pre: (E,) presynaptic neuron.
        n_neurons: N.

    Returns:
        ``minority_share``: mean over neurons with outputs of the share of recovered absolute weight that has the rarer
        sign; ``true_minority_share``: the same for the true weights; ``sign_accuracy``: share of neurons whose summed
        recovered weight has the sign of the true sum; ``n``: neurons with outputs.
    """
    finite = np.isfinite(learned)
    w, j = np.asarray(learned, dtype=np.float64)[finite], pre[finite]
    own = np.bincount(pre, np.abs(true), n_neurons) > 0
    sums = np.bincount(j, w, n_neurons)[own], np.bincount(pre, true, n_neurons)[own]
    return {
        "minority_share": float(np.nanmean(_minority(w, j, n_neurons)[own])) if own.any() else float("nan"),
        "true_minority_share": float(np.nanmean(_minority(true, pre, n_neurons)[own])) if own.any() else float("nan"),
        "sign_accuracy": float(np.mean(np.sign(sums[0]) == np.sign(sums[1]))) if own.any() else float("nan"),
        "n": int(own.sum()),
    }


def _minority(weight: np.ndarray, pre: np.ndarray, n: int) -> np.ndarray:
    positive, total = np.bincount(pre, np.maximum(weight, 0), n), np.bincount(pre, np.abs(weight), n)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = positive / total
    return np.minimum(share, 1 - share)
