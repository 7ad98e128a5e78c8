"""Which clusters hold which cell types."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lobula.figures.panels import colour_bar
from lobula.figures.style import FigureStyle

_MOST_NAMES = 44


def confusion_matrix(
    counts: np.ndarray, labels: np.ndarray, names: Sequence[str], style: FigureStyle, *, estimator: str
) -> tuple[Figure, pd.DataFrame]:
    """Share of every cell type's neurons in every cluster; clusters stand in the order of the types that they match.

    Args:
        counts: (C, K) neurons by type and cluster.
        labels: (K,) label of every cluster.
        names: (C,) names of the types.
        style: the look.
        estimator: whose clusters; decides the colour.

    Returns:
        The figure, and a long table: cell_type, cluster, n, share (of the type).
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with style.applied():
        figure, grid = style.panels(style.half, 0.92 * style.half)
        axes = grid[0, 0]
        image = axes.imshow(
            share, norm=Normalize(0, 1), cmap=style.density(style.colour(estimator)), interpolation="nearest",
            aspect="auto",
        )  # fmt: skip
        axes.set(xlabel="recovered cluster", ylabel="true cell type")
        rows, columns = (-(-n // _MOST_NAMES) for n in share.shape)
        axes.set(yticks=np.arange(len(names))[::rows], yticklabels=list(names)[::rows])
        axes.set(xticks=np.arange(len(labels))[::columns], xticklabels=[str(label) for label in labels[::columns]])
        size = style.tiny if max(share.shape) > 24 else style.small
        axes.tick_params(length=0, pad=style.gap, labelsize=size)
        axes.tick_params(axis="x", rotation=90)
        colour_bar(image, axes, "share of the type's neurons", style, pad=0.02)
    row, column = np.nonzero(counts)
    table = {"cell_type": np.asarray(names)[row], "cluster": labels[column]}
    return figure, pd.DataFrame(table | {"n": counts[row, column], "share": share[row, column]})
