"""A training at a glance: six panels on one sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lobula.figures.cell_types import types_on
from lobula.figures.panels import Scores
from lobula.figures.recovery import scatter_on
from lobula.figures.style import FigureStyle
from lobula.figures.training import losses_on, trajectories_on


@dataclass(frozen=True, eq=False)
class Pair:
    """A true and a recovered quantity with its scores.

    Attributes:
        title: of the panel.
        quantity: name and unit, for the axes.
        true: (M,) true values.
        recovered: (M,) recovered values.
        scores: numbers for the corner.
    """

    title: str
    quantity: str
    true: np.ndarray
    recovered: np.ndarray
    scores: Scores


def training_summary(
    metrics: pd.DataFrame,
    pairs: Sequence[Pair],
    plane: np.ndarray,
    cell_type: np.ndarray,
    names: Sequence[str],
    style: FigureStyle,
    *,
    labels: tuple[str, str],
    estimator: str = "gnn",
    max_points: int = 20_000,
) -> tuple[Figure, pd.DataFrame]:
    """Losses, R² trajectories and embedding above; weights, time constants and resting potentials below.

    Args:
        metrics: rows of metrics.csv.
        pairs: three quantities.
        plane: (N, 2) places of the neurons in the embedding.
        cell_type: (N,) type of every neuron.
        names: names of the types.
        style: the look.
        labels: of the axes of the plane.
        estimator: decides the colour.
        max_points: points drawn before a cloud becomes a density.

    Returns:
        The figure, and a long table of the six panels: panel, x, y (for curves: step and value; for densities bins
        with their count).
    """
    with style.applied():
        figure, grid = style.panels(style.wide, 0.64 * style.wide, 2, 3)
        losses_on(grid[0, 0], metrics, style)
        grid[0, 0].set_title("loss")
        trajectories_on(grid[0, 1], metrics, style)
        grid[0, 1].set_title("R² with the truth")
        types_on(grid[0, 2], plane[:, 0], plane[:, 1], cell_type, names, style, labels=labels)
        grid[0, 2].set_title("embedding")
        tables = [_curves(axes, axes.get_title(loc="left")) for axes in grid[0, :2]]
        tables.append(pd.DataFrame({"panel": "embedding", "x": plane[:, 0], "y": plane[:, 1]}))
        for axes, pair in zip(grid[1], pairs, strict=False):
            shown = scatter_on(
                axes, pair.true, pair.recovered, style,
                quantity=pair.quantity, estimator=estimator, scores=pair.scores, max_points=max_points,
                title=pair.title,
            )  # fmt: skip
            points = shown.rename(columns={"true": "x", "recovered": "y"}).drop(columns="identifiable")
            tables.append(points.assign(panel=pair.title))
        for axes in grid[1, len(pairs) :]:
            axes.set_visible(False)
    return figure, pd.concat(tables, ignore_index=True)


def _curves(axes: Axes, title: str) -> pd.DataFrame:
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    parts = [
        pd.DataFrame({"panel": f"{title}: {a.get_label()}", "x": a.get_xdata(), "y": a.get_ydata()}) for a in lines
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"panel": [], "x": [], "y": []})
