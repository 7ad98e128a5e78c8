"""The circuit by pairs of cell types, and what of it the recording determines."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure

from lobula.figures.panels import colour_bar
from lobula.figures.style import FigureStyle
from lobula.metrics import pair_means


def weights_by_type(
    pre: np.ndarray, post: np.ndarray, weights: Mapping[str, np.ndarray], names: Sequence[str], style: FigureStyle
) -> tuple[Figure, pd.DataFrame]:
    """Mean weight of every pair of cell types, one panel per source ("true", "spline", ...).

    Args:
        pre: (E,) cell type of the sender.
        post: (E,) cell type of the receiver.
        weights: (E,) weights by panel [a.u.]; those not finite do not count.
        names: (C,) names of the cell types.
        style: the look.

    Returns:
        The figure, and a long table: pre, post, n_edges and one column per panel.
    """
    means = {title: pair_means(pre, post, values, len(names)) for title, values in weights.items()}
    first = next(iter(means.values()))
    top = float(np.nanquantile(np.abs(first), 0.995)) if np.isfinite(first).any() else 1.0
    norm = SymLogNorm(linthresh=max(top, 1e-9) / 30, vmin=-max(top, 1e-9), vmax=max(top, 1e-9))
    with style.applied():
        figure, grid = style.panels(style.wide, style.wide / 2 + 0.1, 1, len(means))
        for axes, (title, values) in zip(grid[0], means.items(), strict=True):
            image = axes.imshow(values, norm=norm, cmap=style.signed_map, interpolation="nearest")
            _name_types(axes, names, style)
            axes.set_title(title, y=1.0, color=style.rungs.get(title, style.ink))
        colour_bar(image, grid[0], "mean weight [a.u.]", style)
    return figure, _pair_table(pre, post, names, means)


def identifiability_map(
    pre: np.ndarray, post: np.ndarray, identifiable: np.ndarray, names: Sequence[str], style: FigureStyle
) -> tuple[Figure, pd.DataFrame]:
    """Share of the edges of every pair of cell types that the recording determines.

    Args:
        pre: (E,) cell type of the sender.
        post: (E,) cell type of the receiver.
        identifiable: (E,) whether the edge is determined.
        names: (C,) names of the cell types.
        style: the look.

    Returns:
        The figure, and a long table: pre, post, n_edges, share.
    """
    share = pair_means(pre, post, np.asarray(identifiable, float), len(names))
    with style.applied():
        figure, grid = style.panels(style.half, 0.9 * style.half)
        axes = grid[0, 0]
        image = axes.imshow(share, norm=Normalize(0, 1), cmap=style.share_map, interpolation="nearest")
        _name_types(axes, names, style)
        colour_bar(image, axes, "share of edges that can be known", style, pad=0.02)
    return figure, _pair_table(pre, post, names, {"share": share})


def resolution_histogram(
    resolution: Mapping[str, np.ndarray], style: FigureStyle, *, shares: Mapping[str, float | None]
) -> tuple[Figure, pd.DataFrame]:
    """How far each weight is decided by the data (1) and not by the prior (0).

    Args:
        resolution: (E,) of every estimator.
        style: the look.
        shares: share of identifiable edges by estimator, for the legend.

    Returns:
        The figure, and edges per bin.
    """
    bins = np.linspace(0, 1, 41)
    counts = {n: np.histogram(np.clip(r[np.isfinite(r)], 0, 1), bins)[0] for n, r in resolution.items()}
    with style.applied():
        figure, grid = style.panels(style.half, 0.86 * style.half)
        axes: Axes = grid[0, 0]
        for name, count in counts.items():
            share = shares.get(name)
            label = name if share is None else f"{name}: {share:.1%} of edges can be known"
            axes.stairs(count, bins, baseline=None, color=style.colour(name), lw=style.line, label=label)
        axes.set(
            xlabel="resolution: decided by the prior (0) or by the data (1)", ylabel="edges", yscale="log", xlim=(0, 1)
        )
        axes.legend(loc="upper center")
    return figure, pd.DataFrame({"low": bins[:-1], "high": bins[1:], **counts})


def _pair_table(
    pre: np.ndarray, post: np.ndarray, names: Sequence[str], means: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    n = len(names)
    count = np.bincount(post * n + pre, minlength=n * n).reshape(n, n)
    row, column = np.nonzero(count)
    written = np.asarray(names)
    table = {"pre": written[column], "post": written[row], "n_edges": count[row, column]}
    return pd.DataFrame({**table, **{title: values[row, column] for title, values in means.items()}})


def _name_types(axes: Axes, names: Sequence[str], style: FigureStyle) -> None:
    """Names at the ticks; the labels sit at fixed places, since to find them from 65 tick labels takes long."""
    places = np.arange(len(names))
    axes.set(xlabel="from", ylabel="to", xticks=places, yticks=places, xticklabels=names, yticklabels=names)
    size = style.tiny if len(names) > 24 else style.small
    axes.tick_params(length=0, pad=style.gap, labelsize=size)
    axes.tick_params(axis="x", rotation=90)
    axes.xaxis.set_label_coords(0.5, -0.1)
    axes.yaxis.set_label_coords(-0.1, 0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
