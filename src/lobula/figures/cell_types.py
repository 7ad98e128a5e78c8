"""Cell types in the plane: the learned embedding, or any two recovered properties of the neurons."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lobula.figures.panels import robust_limits, spread_labels
from lobula.figures.style import FigureStyle

_RASTER_POINTS = 500


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
    finite = np.isfinite(x) & np.isfinite(y)
    with style.applied():
        figure, grid = style.panels(style.half, 0.86 * style.half)
        axes = grid[0, 0]
        axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
        axes.set(xlim=robust_limits(x[finite], share=0.998), ylim=robust_limits(y[finite], share=0.998))
        present = [int(kind) for kind in np.unique(cell_type[finite])]
        for kind in present:
            members = finite & (cell_type == kind)
            hue, marker = style.category(kind) if kind >= 0 else (style.muted, style.markers[0])
            axes.scatter(
                x[members], y[members], s=1.6 * style.point_area(len(x)), color=hue, marker=marker, alpha=0.75, lw=0,
                rasterized=len(x) > _RASTER_POINTS,
            )  # fmt: skip
        named = [kind for kind in present if kind >= 0]
        centres = np.array([[np.median(a[finite & (cell_type == k)]) for a in (x, y)] for k in named]).reshape(-1, 2)
        remote = np.argsort(-np.abs(centres - np.median(centres, axis=0)).sum(1)) if len(named) else np.array([], int)
        spread_labels(axes, centres[remote, 0], centres[remote, 1], [names[named[i]] for i in remote], style)
    written = np.array([*names, ""])[np.where(cell_type < 0, len(names), cell_type)]
    return figure, pd.DataFrame({labels[0]: x, labels[1]: y, "cell_type": written})


def principal_plane(embedding: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """(N, 2) view of an embedding (N, D), and the names of its axes.

    Two dimensions are shown as they are, more by their first two principal directions; a single one is spread over
    the plane by the rank of its value.
    """
    n, d = embedding.shape
    if d == 2:
        return embedding, ("embedding 1", "embedding 2")
    if d == 1:
        rank = np.argsort(np.argsort(embedding[:, 0])) / max(n - 1, 1)
        return np.column_stack([embedding[:, 0], rank]), ("embedding", "rank of the neuron")
    centred = np.nan_to_num(embedding - np.nanmean(embedding, axis=0))
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:2].T, (f"principal direction 1 of {d}", "principal direction 2")
