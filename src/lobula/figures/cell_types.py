"""Cell types in the plane: the learned embedding, or any two recovered properties of the neurons."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lobula.figures.panels import robust_limits, spread_labels
from lobula.figures.style import FigureStyle


def types_in_plane(
    x: np.ndarray,
    y: np.ndarray,
    cell_type: np.ndarray,
    names: Sequence[str],
    style: FigureStyle,
    *,
    labels: tuple[str, str],
    title: str = "",
) -> tuple[Figure, pd.DataFrame]:
    """One point per neuron, hue and marker by cell type, a name where it fits.

    Args:
        x: (N,) first property, or first direction of the embedding.
        y: (N,) second property.
        cell_type: (N,) type of every neuron, index into `names`; -1 is drawn in grey.
        names: names of the types.
        style: the look.
        labels: of the two axes.
        title: of the panel.

    Returns:
        The figure, and x, y and cell type of every neuron.
    """
    with style.applied():
        figure, grid = style.panels(style.half, 0.86 * style.half)
        grid[0, 0].set_title(title)
        table = types_on(grid[0, 0], x, y, cell_type, names, style, labels=labels)
    return figure, table


def types_on(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    cell_type: np.ndarray,
    names: Sequence[str],
    style: FigureStyle,
    *,
    labels: tuple[str, str],
) -> pd.DataFrame:
    """`types_in_plane` on a panel of a larger figure; arguments as there."""
    finite = np.isfinite(x) & np.isfinite(y)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set(xlim=robust_limits(x[finite], share=0.998), ylim=robust_limits(y[finite], share=0.998))
    present = [int(kind) for kind in np.unique(cell_type[finite])]
    for kind in present:
        members = finite & (cell_type == kind)
        hue, marker = style.category(kind) if kind >= 0 else (style.muted, style.markers[0])
        axes.scatter(
            x[members], y[members], s=1.6 * style.point_area(len(x)), color=hue, marker=marker, alpha=0.75, lw=0,
            rasterized=style.flattens(len(x)),
        )  # fmt: skip
    named = [kind for kind in present if kind >= 0]
    centres = np.array([[np.median(a[finite & (cell_type == k)]) for a in (x, y)] for k in named]).reshape(-1, 2)
    remote = np.argsort(-np.abs(centres - np.median(centres, axis=0)).sum(1)) if len(named) else np.array([], int)
    spread_labels(axes, centres[remote, 0], centres[remote, 1], [names[named[i]] for i in remote], style)
    written = np.array([*names, ""])[np.where(cell_type < 0, len(names), cell_type)]
    return pd.DataFrame({labels[0]: x, labels[1]: y, "cell_type": written})


def clusters_in_plane(
    plane: np.ndarray,
    cell_type: np.ndarray,
    cluster: np.ndarray,
    names: Sequence[str],
    style: FigureStyle,
    *,
    labels: tuple[str, str],
) -> tuple[Figure, pd.DataFrame]:
    """The same map of the neurons twice: coloured by true cell type, and by the type that their cluster stands for.

    Args:
        plane: (N, 2) places of the neurons.
        cell_type: (N,) true types, index into `names`.
        cluster: (N,) type that each neuron's cluster was matched with, index into `names`; -1 for none, in grey.
        names: names of the types.
        style: the look.
        labels: of the two axes.

    Returns:
        The figure, and a table: both coordinates, cell_type and cluster of every neuron.
    """
    with style.applied():
        figure, grid = style.panels(style.wide, 0.45 * style.wide, 1, 2)
        x, y = plane.T
        tables = []
        for axes, kind, title in zip(
            grid[0], (cell_type, cluster), ("true cell types", "recovered clusters"), strict=True
        ):
            axes.set_title(title)
            tables.append(types_on(axes, x, y, kind, names, style, labels=labels))
    return figure, tables[0].assign(cluster=tables[1]["cell_type"])
