"""True against recovered: weights, time constants, resting potentials."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lobula.figures.panels import Scores, corner, identity_line, robust_limits, score_lines, square_limits
from lobula.figures.style import FigureStyle

N_BINS = 110


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
    with style.applied():
        figure, grid = style.panels(style.narrow, style.narrow)
        table = scatter_on(
            grid[0, 0], true, recovered, style,
            quantity=quantity, estimator=estimator, scores=scores, identifiable=identifiable, max_points=max_points,
        )  # fmt: skip
    return figure, table


def scatter_on(
    axes: Axes,
    true: np.ndarray,
    recovered: np.ndarray,
    style: FigureStyle,
    *,
    quantity: str,
    estimator: str,
    scores: Scores,
    identifiable: np.ndarray | None = None,
    max_points: int = 20_000,
    title: str | None = None,
) -> pd.DataFrame:
    """`recovery_scatter` on a panel of a larger figure; arguments as there, and another title than the estimator."""
    known = np.ones(len(true), bool) if identifiable is None else np.asarray(identifiable, bool)
    finite = np.isfinite(true) & np.isfinite(recovered)
    low, high = robust_limits(true[finite], _plausible(true, recovered)[finite])
    inside = finite & (recovered >= low) & (recovered <= high) & (true >= low) & (true <= high)
    square_limits(axes, low, high)
    axes.set(xlabel=f"true {quantity}", ylabel=f"recovered {quantity}", title=title or estimator)
    axes.title.set_color(style.colour(estimator))
    parts = [(~known, style.muted, 1, False), (known, style.colour(estimator), 2, True)]
    limit = len(true) if len(true) <= max_points else -1  # both clouds alike
    tables = [
        cloud_on(
            axes, true[inside & part], recovered[inside & part], style, colour, order=order, max_points=limit
        ).assign(identifiable=flag)
        for part, colour, order, flag in parts
    ]
    identity_line(axes, style)
    corner(axes, score_lines(scores), style)
    corner(axes, _missing(finite, inside, known), style, lower=True)
    return pd.concat(tables, ignore_index=True)


def _plausible(true: np.ndarray, recovered: np.ndarray) -> np.ndarray:
    """Recovered values cut to three times the true range, so that runaways do not squeeze the cloud."""
    low, high = robust_limits(true, share=1.0, margin=1.0)
    return np.clip(recovered, low, high)


def cloud_on(
    axes: Axes, x: np.ndarray, y: np.ndarray, style: FigureStyle, colour: str, *, order: int, max_points: int
) -> pd.DataFrame:
    """Points, or their density where there are more than `max_points`, on axes with their final limits.

    Args:
        axes: where to draw.
        x: (M,) true values.
        y: (M,) recovered values.
        style: the look.
        colour: of the cloud.
        order: what lies above what.
        max_points: points drawn one by one.

    Returns:
        The points, or the bins with their count.
    """
    return (_density if len(x) > max_points else _points)(axes, x, y, style, colour, order)


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, style: FigureStyle, colour: str, order: int) -> pd.DataFrame:
    alpha = float(np.clip(40 / np.sqrt(max(len(x), 1)), 0.25, 0.9))
    flat = style.flattens(len(x))
    axes.scatter(x, y, s=style.point_area(len(x)), color=colour, alpha=alpha, lw=0, zorder=order, rasterized=flat)
    return pd.DataFrame({"true": x, "recovered": y})


def _density(axes: Axes, x: np.ndarray, y: np.ndarray, style: FigureStyle, colour: str, order: int) -> pd.DataFrame:
    limits = axes.get_xlim(), axes.get_ylim()
    counts, columns, rows = np.histogram2d(x, y, bins=N_BINS, range=limits)
    if len(x):
        norm = LogNorm(1, max(float(counts.max()), 2.0))
        image = np.ma.masked_equal(counts.T, 0)
        extent = (*limits[0], *limits[1])
        axes.imshow(
            image, norm=norm, cmap=style.ramp(colour), origin="lower", extent=extent, aspect="auto", zorder=order,
            interpolation="nearest",
        )  # fmt: skip
    i, j = np.nonzero(counts)
    true, recovered = ((edges[1:] + edges[:-1]) / 2 for edges in (columns, rows))
    return pd.DataFrame({"true": true[i], "recovered": recovered[j], "count": counts[i, j].astype(int)})


def _missing(finite: np.ndarray, inside: np.ndarray, known: np.ndarray) -> list[str]:
    lines = [f"n = {len(finite):,}"]
    counts = {"undetermined (grey)": ~known, "not finite": ~finite, "outside the view": finite & ~inside}
    return lines + [f"{int(which.sum()):,} {name}" for name, which in counts.items() if which.any()]
