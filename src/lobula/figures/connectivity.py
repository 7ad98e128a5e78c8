"""The whole matrix of weights, true and recovered."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from lobula.figures.panels import block_ticks, colour_bar
from lobula.figures.style import FigureStyle

MAX_CELLS = 260
_MOST_NAMES = 40


def connectivity_matrix(
    pre: np.ndarray,
    post: np.ndarray,
    weights: Mapping[str, np.ndarray],
    cell_type: np.ndarray,
    names: Sequence[str],
    style: FigureStyle,
) -> tuple[Figure, pd.DataFrame]:
    """Every weight at its place, neurons in the order of their types; large circuits are summed in square cells.

    Args:
        pre: (E,) sender of every edge, 0..N-1.
        post: (E,) receiver.
        weights: (E,) weights by panel ("true", "spline", ...) [a.u.]; those not finite do not count.
        cell_type: (N,) type of every neuron; decides the order.
        names: names of the types.
        style: the look.

    Returns:
        The figure, and a long table of the cells that are not zero: from_rank and to_rank (first neuron of the cell in
        that order), and one column per panel.
    """
    n = len(cell_type)
    order = np.argsort(cell_type, kind="stable")
    rank = np.empty(n, int)
    rank[order] = np.arange(n)
    size = -(-n // MAX_CELLS)
    cells = -(-n // size)
    images = {title: _summed(rank[pre] // size, rank[post] // size, w, cells) for title, w in weights.items()}
    first = next(iter(images.values()))
    top = max(float(np.abs(first).max()), 1e-9)
    norm = SymLogNorm(linthresh=top / 100, vmin=-top, vmax=top)
    with style.applied():
        figure, grid = style.panels(style.wide, style.wide / max(len(images), 2) + 0.1, 1, len(images))
        for axes, (title, image) in zip(grid[0], images.items(), strict=True):
            drawn = axes.imshow(
                image, norm=norm, cmap=style.signed_map, interpolation="nearest", extent=(0, n, n, 0), aspect="equal"
            )
            axes.set_title(title, color=style.rungs.get(title, style.ink))
            axes.set(xlabel="from neuron, by cell type", ylabel="to neuron, by cell type")
            _name_blocks(axes, cell_type[order], names, style)
        label = "weight [a.u.]" if size == 1 else f"summed weight of {size} x {size} neurons [a.u.]"
        colour_bar(drawn, grid[0], label, style)
    row, column = np.nonzero(np.any([image != 0 for image in images.values()], axis=0))
    table = {"from_rank": column * size, "to_rank": row * size}
    return figure, pd.DataFrame(table | {title: image[row, column] for title, image in images.items()})


def _summed(column: np.ndarray, row: np.ndarray, weight: np.ndarray, cells: int) -> np.ndarray:
    finite = np.isfinite(weight)
    flat = np.bincount(row[finite] * cells + column[finite], weight[finite], cells * cells)
    return flat.reshape(cells, cells)


def _name_blocks(axes: Axes, ordered: np.ndarray, names: Sequence[str], style: FigureStyle) -> None:
    """Some type names along both axes, at the middle of their blocks and not too close to each other."""
    places, labels = block_ticks(ordered, names, most=_MOST_NAMES)
    axes.set(xticks=places, yticks=places, xticklabels=labels, yticklabels=labels)
    axes.tick_params(length=0, pad=style.gap, labelsize=style.tiny)
    axes.tick_params(axis="x", rotation=90)
    for spine in axes.spines.values():
        spine.set(visible=True, color=style.rule, lw=style.hair)
