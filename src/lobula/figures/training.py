"""How the training of the network went: losses, what they are made of, and scores against the truth."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lobula.figures.style import FigureStyle

LOSSES = ("loss", "prediction", "validation")
SCORES = ("connectivity_r2", "tau_r2", "vrest_r2")
PANELS = ("vrest_r2", "connectivity_r2", "tau_r2")
UNIT_RANGE = (-0.05, 1.05)
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


def training_in_phases(
    curves: Mapping[str, pd.DataFrame],
    style: FigureStyle,
    *,
    final: Mapping[str, Mapping[str, float | None]] | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """R² of resting potentials, weights and time constants with the truth by step, a panel each.

    A line is the median over the runs of a training, the band around it their range. The phases of the first training
    are shaded in turn and named above.

    Args:
        curves: by name of the training, the table of `metrics.curves_over_seeds` with one or more of vrest_r2,
            connectivity_r2, tau_r2.
        style: the look.
        final: scores of what was read out at the end, by training and by the same names: dots at the right edge.

    Returns:
        The figure, and a long table: training, quantity, iteration, phase, n, median, low, high; the final scores have
        phase "read-out".
    """
    names = [name for name in PANELS if any((table["quantity"] == name).any() for table in curves.values())]
    colours = {training: style.rungs.get(training, style.hues[i]) for i, training in enumerate(curves)}
    tables = []
    with style.applied():
        figure, grid = style.panels(style.wide, 0.3 * style.wide, 1, len(names))
        for axes, name in zip(grid[0], names, strict=True):
            shown = {training: table[table["quantity"] == name] for training, table in curves.items()}
            shown = {training: table for training, table in shown.items() if len(table)}
            first = next(iter(shown.values()))
            _phases(axes, first, style)
            for training, table in shown.items():
                value = (final or {}).get(training, {}).get(name)
                rows = table if value is None else pd.concat([table, _read_out(table, value)], ignore_index=True)
                tables.append(rows.assign(training=training))
                _course(axes, rows, style, colours[training], training)
            _unit_range(axes, style)
            axes.set_title(_LABELS[name], y=1.0, pad=3 * style.text / 2)
            axes.set(xlabel="optimiser step", ylabel="R² with the truth")
            _name_phases(axes, first, style)
        if len(curves) > 1:
            grid[0, 0].legend(loc="best")
    table = pd.concat(tables, ignore_index=True)
    return figure, table[["training", *table.columns.drop("training")]]


def _read_out(table: pd.DataFrame, value: float) -> pd.DataFrame:
    """A row for the score at the end."""
    last = {"quantity": table["quantity"].iloc[-1], "iteration": table["iteration"].iloc[-1], "phase": "read-out"}
    return pd.DataFrame([last | {"n": 1, "median": value, "low": value, "high": value}])


def _course(axes: Axes, table: pd.DataFrame, style: FigureStyle, colour: str, label: str) -> None:
    """A line with its band, and a dot where something was read out."""
    is_end = table["phase"] == "read-out"
    steps, median, low, high = (table[~is_end][name].to_numpy(float) for name in ("iteration", "median", "low", "high"))
    if (high > low).any():
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, lw=0)
    axes.plot(steps, median, color=colour, label=label)
    for _, row in table[is_end].iterrows():
        axes.plot(
            row["iteration"], np.clip(row["median"], *UNIT_RANGE), "o", ms=style.dot, color=colour, mec=style.paper,
            mew=style.thin, clip_on=False, zorder=4,
        )  # fmt: skip


def trajectories_on(axes: Axes, metrics: pd.DataFrame, style: FigureStyle) -> None:
    """R² of weights, time constants and resting potentials by step, together on a panel of a larger figure."""
    numbers = _numbers(metrics)
    _phases(axes, metrics, style)
    _lines(
        axes, numbers, [name for name in SCORES if name in numbers and numbers[name].notna().any()], style, log=False
    )
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
            steps, dot = numbers["iteration"][shown], "o" if shown.sum() == 1 else ""
            axes.plot(steps, values[shown], color=hue, marker=dot, label=_LABELS.get(name, name), **look)
    if log and axes.lines:
        axes.set_yscale("log")
    elif axes.lines:
        _unit_range(axes, style)
    if axes.lines:
        axes.legend(loc="best")


def _unit_range(axes: Axes, style: FigureStyle) -> None:
    """The range of R², with a line at 1."""
    axes.set_ylim(*UNIT_RANGE)
    axes.axhline(1.0, color=style.ink, lw=style.thin, dashes=(5, 3), zorder=0.5)


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
    """Names of the phases above the panel, which begins at step 0 as they do."""
    spans = _spans(metrics)
    axes.set_xlim(left=min(axes.get_xlim()[0], 0.0))
    width = 72 * axes.bbox.width / axes.figure.dpi / max(spans[-1][2], 1.0) if spans else 0.0
    roomy = all(0.65 * style.small * len(name) < width * (high - low) for name, low, high in spans)
    for name, low, high in spans:
        text = axes.text((low + high) / 2, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom")
        text.set(fontsize=style.small if roomy else style.tiny, color=style.muted)
