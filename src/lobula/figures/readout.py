"""What a read-out does to a trained network: weights before and after, slopes of its functions by cell type."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lobula.figures.panels import Scores, corner, robust_limits, score_lines
from lobula.figures.recovery import cloud_on, scatter_on
from lobula.figures.style import FigureStyle
from lobula.figures.type_errors import ByType
from lobula.metrics import group_moments

_GOLDEN = 0.6180339887  # its multiples fill a column evenly, without chance


def raw_and_corrected(
    true: np.ndarray,
    raw: np.ndarray,
    corrected: np.ndarray,
    style: FigureStyle,
    *,
    estimator: str,
    raw_scores: Scores,
    scores: Scores,
    max_points: int = 20_000,
) -> tuple[Figure, pd.DataFrame]:
    """Weights as the network holds them, in a unit of its own, and as the read-out states them.

    Args:
        true: (E,) true weights [a.u.].
        raw: (E,) weights inside the network.
        corrected: (E,) weights after the read-out [a.u.].
        style: the look.
        estimator: decides the colour.
        raw_scores: numbers for the corner of the left panel.
        scores: numbers for that of the right panel.
        max_points: points drawn before a cloud becomes a density.

    Returns:
        The figure, and a table: panel, true, recovered (for densities bins with their count).
    """
    with style.applied():
        figure, grid = style.panels(style.wide, 0.46 * style.wide, 1, 2)
        left, right = grid[0]
        known = np.isfinite(raw) & np.isfinite(true)
        x, y = true[known], raw[known]
        left.set(xlim=robust_limits(x), ylim=robust_limits(y))
        cloud = cloud_on(left, x, y, style, style.colour(estimator), order=1, max_points=max_points)
        tables = [cloud.assign(panel="raw")]
        left.set(xlabel="true weight W [a.u.]", ylabel="weight inside the network [its own unit]")
        left.set_title("before the read-out", color=style.colour(estimator))
        left.set_box_aspect(1)
        corner(left, score_lines(raw_scores), style)
        shown = scatter_on(
            right, true, corrected, style,
            quantity="weight W [a.u.]", estimator=estimator, scores=scores, max_points=max_points,
            title="after the read-out",
        )  # fmt: skip
        tables.append(shown.drop(columns="identifiable").assign(panel="corrected"))
    return figure, pd.concat(tables, ignore_index=True)


def slopes_by_type(
    quantities: Sequence[ByType], names: Sequence[str], style: FigureStyle, *, estimator: str
) -> tuple[Figure, pd.DataFrame]:
    """Slopes of the learned functions, one dot per neuron in the column of its cell type; true ones as short lines.

    Args:
        quantities: one panel each, from top to bottom, one value per neuron.
        names: (C,) names of the types.
        style: the look.
        estimator: decides the colour.

    Returns:
        The figure, and a long table: quantity, neuron, cell_type, recovered, true.
    """
    tables = []
    with style.applied():
        rows = len(quantities)
        figure, grid = style.panels(style.wide, 0.5 + 1.9 * rows, rows, 1, sharex=True)
        for axes, quantity in zip(grid[:, 0], quantities, strict=True):
            tables.append(_slope_panel(axes, quantity, names, style, estimator))
        bottom = grid[-1, 0]
        bottom.set(xticks=np.arange(len(names)), xticklabels=list(names), xlim=(-0.8, len(names) - 0.2))
        bottom.tick_params(axis="x", rotation=90, labelsize=style.tiny if len(names) > 72 else style.small)
        bottom.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure, pd.concat(tables, ignore_index=True)


def _slope_panel(
    axes: Axes, quantity: ByType, names: Sequence[str], style: FigureStyle, estimator: str
) -> pd.DataFrame:
    kind, values, n = quantity.kind, quantity.recovered, len(quantity.kind)
    beside = kind + 0.5 * (np.arange(n) * _GOLDEN % 1 - 0.5)
    axes.scatter(
        beside, values, s=1.3 * style.point_area(n), color=style.colour(estimator), alpha=0.5, lw=0,
        rasterized=style.flattens(n), label=f"{estimator}, one dot per neuron",
    )  # fmt: skip
    axes.set(ylabel=quantity.label, ylim=robust_limits(values, share=0.99))
    true = np.full(n, np.nan) if quantity.true is None else quantity.true
    if quantity.true is not None:
        mean = group_moments(true, kind, len(names))["mean"].to_numpy()
        place = np.arange(len(names))
        ends = np.stack([np.c_[place - 0.42, mean], np.c_[place + 0.42, mean]], axis=1)
        axes.add_collection(LineCollection(list(ends[np.isfinite(mean)]), color=style.ink, lw=style.line, label="true"))
        axes.set_ylim(robust_limits(values, mean, share=0.99))
    axes.axhline(0, color=style.rule, lw=style.thin, zorder=0.5)
    table = {"quantity": quantity.label, "neuron": np.arange(n), "cell_type": np.array([*names, ""])[kind]}
    return pd.DataFrame(table | {"recovered": values, "true": true})
