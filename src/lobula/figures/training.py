"""How the training of the network went."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lobula.figures.style import FigureStyle

LOSSES = ("loss", "prediction", "validation")
SCORES = ("connectivity_r2", "tau_r2", "vrest_r2")
_LABELS = {"connectivity_r2": "weights W", "tau_r2": "time constants", "vrest_r2": "resting potentials"}
_OTHER = ("epoch", "iteration", "phase")


def training_curves(metrics: pd.DataFrame, style: FigureStyle) -> tuple[Figure, pd.DataFrame]:
    """Losses, scores against the truth and penalties by step; phases are shaded and named.

    Args:
        metrics: rows of metrics.csv: iteration, phase, losses, scores and one column per penalty.
        style: the look.

    Returns:
        The figure, and the rows that it shows.
    """
    penalties = [name for name in metrics if name not in (*_OTHER, *LOSSES, *SCORES)]
    groups: list[tuple[str, Sequence[str], bool]] = [("loss", LOSSES, True), ("R² with the truth", SCORES, False)]
    groups.append(("penalties", penalties, True))
    numbers = metrics.drop(columns=["phase"], errors="ignore").apply(pd.to_numeric, errors="coerce")
    groups = [
        (title, [n for n in names if n in numbers and numbers[n].notna().any()], log) for title, names, log in groups
    ]
    groups = [group for group in groups if group[1]]
    with style.applied():
        figure, grid = style.panels(style.wide, 2.9, 1, max(len(groups), 1))
        for axes, (title, names, log) in zip(grid[0], groups, strict=False):
            _phases(axes, metrics, style)
            _lines(axes, numbers, names, style, log)
            axes.set(title=title, xlabel="optimiser step")
        if "iteration" in numbers and groups:
            _name_phases(grid[0, 0], metrics, style)
    return figure, metrics


def _lines(axes: Axes, numbers: pd.DataFrame, names: Sequence[str], style: FigureStyle, log: bool) -> None:
    for i, name in enumerate(names):
        values = numbers[name].to_numpy(float)
        shown = np.isfinite(values) & (values > 0 if log else True)
        if shown.any():
            axes.plot(
                numbers["iteration"][shown],
                values[shown],
                color=style.hues[i % len(style.hues)],
                label=_LABELS.get(name, name),
            )
    if log and axes.lines:
        axes.set_yscale("log")
    elif axes.lines:
        axes.set_ylim(-0.05, 1.05)
        axes.axhline(1.0, color=style.ink, lw=style.thin, dashes=(5, 3), zorder=0.5)
    axes.legend(loc="best")


def _spans(metrics: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Name, first and last step of every phase, in order."""
    if "phase" not in metrics or metrics.empty:
        return []
    names = metrics["phase"].astype(str).to_numpy()
    steps = pd.to_numeric(metrics["iteration"]).to_numpy(float)
    begins = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[begins[1:] - 1, len(names) - 1]
    starts = [0.0, *(float(steps[end]) for end in ends[:-1])]
    return [(names[b], low, float(steps[e])) for b, e, low in zip(begins, ends, starts, strict=True)]


def _phases(axes: Axes, metrics: pd.DataFrame, style: FigureStyle) -> None:
    for i, (_, low, high) in enumerate(_spans(metrics)):
        if i % 2:
            axes.axvspan(low, high, color=style.shade, lw=0, zorder=0)


def _name_phases(axes: Axes, metrics: pd.DataFrame, style: FigureStyle) -> None:
    for name, low, high in _spans(metrics):
        text = axes.text((low + high) / 2, 0.97, name, transform=axes.get_xaxis_transform(), ha="center", va="top")
        text.set(fontsize=style.small, color=style.muted, rotation=90)
