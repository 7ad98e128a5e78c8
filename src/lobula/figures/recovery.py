"""True against recovered: weights, time constants, resting potentials."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lobula.figures.panels import Scores, corner, identity_line, robust_limits, score_lines, square_limits
from lobula.figures.style import FigureStyle

N_BINS = 110
_RASTER_POINTS = 500


def recovery_scatter(
    true: np.ndarray,
    recovered: np.ndarray,
    style: FigureStyle,
    *,
    quantity: str,
    estimator: str,
    scores: Scores,
    identifiable: np.ndarray | None = None,
    max_points: int = 20_000,
) -> tuple[Figure, pd.DataFrame]:
    """Recovered against true values, a cloud of points or, for many, its density.

    Values that the recording determines are in the estimator's colour, the others grey and below. What is not
    finite or lies outside the view is not drawn; its number is written in the corner.

    Args:
        true: (M,) true values.
        recovered: (M,) recovered values.
        style: the look.
        quantity: name and unit of the values, for the axes.
        estimator: who recovered them; decides the colour.
        scores: numbers for the corner.
        identifiable: (M,) whether the recording determines the value; None for all.
        max_points: points drawn before the cloud becomes a density.

    Returns:
        The figure, and the points or the counts per bin.
    """
    known = np.ones(len(true), bool) if identifiable is None else np.asarray(identifiable, bool)
    finite = np.isfinite(true) & np.isfinite(recovered)
    low, high = robust_limits(true[finite], _plausible(true, recovered)[finite])
    inside = finite & (recovered >= low) & (recovered <= high) & (true >= low) & (true <= high)
    with style.applied():
        figure, grid = style.panels(style.narrow, style.narrow)
        axes: Axes = grid[0, 0]
        square_limits(axes, low, high)
        axes.set(xlabel=f"true {quantity}", ylabel=f"recovered {quantity}", title=estimator)
        axes.title.set_color(style.colour(estimator))
        parts = [(~known, style.muted, 1, False), (known, style.colour(estimator), 2, True)]
        draw = _density if len(true) > max_points else _points
        tables = [
            draw(axes, true[inside & part], recovered[inside & part], style, colour, order).assign(identifiable=flag)
            for part, colour, order, flag in parts
        ]
        identity_line(axes, style)
        corner(axes, score_lines(scores), style)
        corner(axes, _missing(finite, inside, known), style, lower=True)
    return figure, pd.concat(tables, ignore_index=True)


def _plausible(true: np.ndarray, recovered: np.ndarray) -> np.ndarray:
    """Recovered values cut to three times the true range, so that runaways do not squeeze the cloud."""
    low, high = robust_limits(true, share=1.0, margin=1.0)
    return np.clip(recovered, low, high)


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, style: FigureStyle, colour: str, order: int) -> pd.DataFrame:
    alpha = float(np.clip(40 / np.sqrt(max(len(x), 1)), 0.25, 0.9))
    many = len(x) > _RASTER_POINTS
    axes.scatter(x, y, s=style.point_area(len(x)), color=colour, alpha=alpha, lw=0, zorder=order, rasterized=many)
    return pd.DataFrame({"true": x, "recovered": y})


def _density(axes: Axes, x: np.ndarray, y: np.ndarray, style: FigureStyle, colour: str, order: int) -> pd.DataFrame:
    low, high = axes.get_xlim()
    counts, edges, _ = np.histogram2d(x, y, bins=N_BINS, range=[(low, high), (low, high)])
    if len(x):
        norm = LogNorm(1, max(float(counts.max()), 2.0))
        image = np.ma.masked_equal(counts.T, 0)
        extent = (low, high, low, high)
        axes.imshow(
            image, norm=norm, cmap=style.ramp(colour), origin="lower", extent=extent, aspect="auto", zorder=order,
            interpolation="nearest",
        )  # fmt: skip
    column, row = np.nonzero(counts)
    middles = (edges[1:] + edges[:-1]) / 2
    return pd.DataFrame({"true": middles[column], "recovered": middles[row], "count": counts[column, row].astype(int)})


def _missing(finite: np.ndarray, inside: np.ndarray, known: np.ndarray) -> list[str]:
    lines = [f"n = {len(finite):,}"]
    counts = {"undetermined (grey)": ~known, "not finite": ~finite, "outside the view": finite & ~inside}
    return lines + [f"{int(which.sum()):,} {name}" for name, which in counts.items() if which.any()]
