"""One value per neuron, gathered by cell type: true means beside recovered means with their spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lobula.figures.panels import robust_limits
from lobula.figures.style import FigureStyle
from lobula.metrics import group_moments


@dataclass(frozen=True, eq=False)
class ByType:
    """One quantity of neurons (or edges) and the types they belong to.

    Attributes:
        label: name and unit, for the axis.
        recovered: (M,) recovered values; those not finite do not count.
        kind: (M,) cell type, index into the names.
        true: (M,) true values, or None.
    """

    label: str
    recovered: np.ndarray
    kind: np.ndarray
    true: np.ndarray | None = None


def type_errors(
    quantities: Sequence[ByType], names: Sequence[str], style: FigureStyle, *, estimator: str
) -> tuple[Figure, pd.DataFrame]:
    """Mean of every cell type, true as a broad tick, recovered as a dot whose bar is one standard deviation.

    Args:
        quantities: one panel each, from top to bottom.
        names: (C,) names of the types.
        style: the look.
        estimator: who recovered them; decides the colour.

    Returns:
        The figure, and a long table: quantity, cell_type, n, true, mean, std.
    """
    tables = []
    with style.applied():
        rows = len(quantities)
        figure, grid = style.panels(style.wide, 0.5 + 1.75 * rows, rows, 1, sharex=True)
        for axes, quantity in zip(grid[:, 0], quantities, strict=True):
            table = _by_type(quantity, names)
            tables.append(table)
            _draw(axes, table, style, estimator)
            axes.set_ylabel(quantity.label)
        bottom: Axes = grid[-1, 0]
        bottom.set(xticks=np.arange(len(names)), xticklabels=list(names), xlim=(-0.8, len(names) - 0.2))
        bottom.tick_params(axis="x", rotation=90, labelsize=style.tiny if len(names) > 72 else style.small)
        grid[0, 0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)
    return figure, pd.concat(tables, ignore_index=True)


def _by_type(quantity: ByType, names: Sequence[str]) -> pd.DataFrame:
    n = len(names)
    found = group_moments(quantity.recovered, quantity.kind, n)
    truth = np.full(n, np.nan) if quantity.true is None else group_moments(quantity.true, quantity.kind, n)["mean"]
    table = {"quantity": quantity.label, "cell_type": list(names), "n": found["n"], "true": truth}
    return pd.DataFrame(table | {"mean": found["mean"], "std": found["std"]})


def _draw(axes: Axes, table: pd.DataFrame, style: FigureStyle, estimator: str) -> None:
    place = np.arange(len(table))
    true, mean, std = (table[name].to_numpy(float) for name in ("true", "mean", "std"))
    axes.set_ylim(robust_limits(np.r_[mean - std, mean + std, true], share=0.985))
    if np.isfinite(true).any():
        ends = np.stack([np.c_[place - 0.42, true], np.c_[place + 0.42, true]], axis=1)
        axes.add_collection(LineCollection(list(ends), color=style.ink, lw=style.tick, alpha=0.28, label="true mean"))
    colour = style.colour(estimator)
    bars = np.stack([np.c_[place, mean - std], np.c_[place, mean + std]], axis=1)
    axes.add_collection(LineCollection(list(bars[np.isfinite(mean)]), color=colour, lw=style.line))
    axes.plot(place, mean, "o", ms=0.8 * style.dot, color=colour, label=f"{estimator}: mean and standard deviation")
    axes.axhline(0, color=style.rule, lw=style.thin, zorder=0.5)
