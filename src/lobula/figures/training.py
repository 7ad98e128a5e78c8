"""How the training of the network went: losses, what they are made of, and scores against the truth."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lobula.figures.style import FigureStyle

LOSSES = ("loss", "prediction", "validation")
SCORES = ("connectivity_r2", "tau_r2", "vrest_r2")
_LABELS = {
    "connectivity_r2": "weights W",
    "tau_r2": "time constants",
    "vrest_r2": "resting potentials",
    "loss": "all together",
    "prediction": "prediction error",
    "validation": "held-out error",
}
_HUE = {name: i for names in (LOSSES[1:], SCORES) for i, name in enumerate(names)}
_OTHER = ("epoch", "iteration", "phase")


def loss_terms(metrics: pd.DataFrame, style: FigureStyle) -> tuple[Figure, pd.DataFrame]:
    """Left the error on trained and on held-out frames; right what the loss is made of: prediction and each penalty.

    Args:
        metrics: rows of metrics.csv: iteration, phase, losses and one column per penalty.
        style: the look.

    Returns:
        The figure, and the rows that it shows.
    """
    numbers = _numbers(metrics)
    penalties = [name for name in numbers if name not in (*_OTHER, *LOSSES, *SCORES)]
    groups = [("error", ("prediction", "validation")), ("what the loss is made of", ("loss", "prediction", *penalties))]
    shown = [(title, [n for n in names if n in numbers and numbers[n].notna().any()]) for title, names in groups]
    shown = [group for group in shown if group[1]]
    with style.applied():
        figure, grid = style.panels(style.wide, 0.3 * style.wide, 1, max(len(shown), 1))
        for axes, (title, names) in zip(grid[0], shown, strict=False):
            _phases(axes, metrics, style)
            _lines(axes, numbers, names, style, log=True)
            axes.set(title=title, xlabel="optimiser step", ylabel="value")
        _name_phases(grid[0, 0], metrics, style)
    columns = [name for name in metrics if name in {n for _, names in shown for n in names} or name in _OTHER]
    return figure, metrics[columns]


def r2_trajectories(
    metrics: pd.DataFrame, style: FigureStyle, *, final: Mapping[str, float | None] | None = None
) -> tuple[Figure, pd.DataFrame]:
    """R² of weights, time constants and resting potentials with the truth by step; phases are shaded and named.

    Args:
        metrics: rows of metrics.csv: iteration, phase, connectivity_r2, tau_r2, vrest_r2.
        style: the look.
        final: score of the estimates that were read out at the end, by the same names: a dot at the right edge.

    Returns:
        The figure, and a table: iteration, phase and the scores, the final ones as a last row of phase "read-out".
    """
    with style.applied():
        figure, grid = style.panels(style.half, 0.72 * style.half)
        trajectories_on(grid[0, 0], metrics, style, final=final)
        _name_phases(grid[0, 0], metrics, style)
    columns = [name for name in metrics if name in ("iteration", "phase", *SCORES)]
    table = metrics[columns]
    if final and len(metrics):
        last = {"iteration": metrics["iteration"].iloc[-1], "phase": "read-out"}
        scores = {name: final[name] for name in columns if final.get(name) is not None}
        table = pd.concat([table, pd.DataFrame([last | scores])], ignore_index=True)
    return figure, table


def trajectories_on(
    axes: Axes, metrics: pd.DataFrame, style: FigureStyle, *, final: Mapping[str, float | None] | None = None
) -> None:
    """`r2_trajectories` on a panel of a larger figure; arguments as there."""
    numbers = _numbers(metrics)
    names = [name for name in SCORES if name in numbers and numbers[name].notna().any()]
    _phases(axes, metrics, style)
    _lines(axes, numbers, names, style, log=False)
    for i, name in enumerate(names):
        value = (final or {}).get(name)
        if value is not None:
            axes.plot(
                numbers["iteration"].iloc[-1], np.clip(value, -0.05, 1.05), "o", ms=style.dot, color=style.hues[i],
                mec=style.paper, mew=style.thin, clip_on=False, zorder=4,
            )  # fmt: skip
    axes.set(xlabel="optimiser step", ylabel="R² with the truth")


def losses_on(axes: Axes, metrics: pd.DataFrame, style: FigureStyle) -> None:
    """Losses by step on a panel of a larger figure."""
    numbers = _numbers(metrics)
    _phases(axes, metrics, style)
    _lines(axes, numbers, [name for name in LOSSES if name in numbers], style, log=True)
    axes.set(xlabel="optimiser step", ylabel="loss")


def _numbers(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics.drop(columns=["phase"], errors="ignore").apply(pd.to_numeric, errors="coerce")


def _lines(axes: Axes, numbers: pd.DataFrame, names: Sequence[str], style: FigureStyle, log: bool) -> None:
    for i, name in enumerate(names):
        values = numbers[name].to_numpy(float)
        shown = np.isfinite(values) & (values > 0 if log else True)
        if shown.any():
            place = _HUE.get(name, i + 1)
            hue = style.ink if name == "loss" else style.hues[place % len(style.hues)]
            look = {"lw": style.broad, "alpha": 0.22} if name == "loss" else style.nested(place // len(style.hues))
            steps = numbers["iteration"][shown]
            axes.plot(steps, values[shown], color=hue, label=_LABELS.get(name, name), **look)
    if log and axes.lines:
        axes.set_yscale("log")
    elif axes.lines:
        axes.set_ylim(-0.05, 1.05)
        axes.axhline(1.0, color=style.ink, lw=style.thin, dashes=(5, 3), zorder=0.5)
    if axes.lines:
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
    """Names of the phases above the panel."""
    spans = _spans(metrics)
    for name, low, high in spans:
        text = axes.text((low + high) / 2, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom")
        text.set(fontsize=style.small if len(spans) <= 3 else style.tiny, color=style.muted)
