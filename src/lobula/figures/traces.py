"""Voltage in time: true against rolled out, and how the error grows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lobula.figures.style import FigureStyle

_GAP = 1.25


def rollout_traces(
    time: np.ndarray,
    true: np.ndarray,
    rolled: Mapping[str, np.ndarray],
    names: Sequence[str],
    style: FigureStyle,
) -> tuple[Figure, pd.DataFrame]:
    """Recorded voltage over the rollouts of the estimators, one row per neuron.

    Every row is scaled to the range of its true trace, which is written at its end.

    Args:
        time: (S,) time since the start of the rollout [s].
        true: (S, M) recorded voltage [a.u.].
        rolled: (S, M) rolled-out voltage of every estimator [a.u.].
        names: (M,) names of the neurons.
        style: the look.

    Returns:
        The figure, and a long table: time, neuron, true and one column per estimator.
    """
    n = true.shape[1]
    low, span = true.min(axis=0), np.maximum(np.ptp(true, axis=0), 1e-6)
    base = _GAP * np.arange(n)[::-1]
    with style.applied():
        figure, grid = style.panels(style.wide, 0.55 + 0.46 * n)
        axes: Axes = grid[0, 0]
        truth = axes.plot(time, (true - low) / span + base, color=style.ink, lw=style.broad, alpha=0.22)
        truth[0].set_label("true")
        for i, (estimator, voltage) in enumerate(rolled.items()):
            inside = np.where(np.isfinite(voltage), np.clip((voltage - low) / span, -0.25, 1.25), np.nan)
            lines = axes.plot(time, inside + base, color=style.colour(estimator), **style.nested(i, 0.8))
            lines[0].set_label(estimator)
        axes.set(xlabel="time since the start of the rollout [s]", xlim=(time[0], time[-1]))
        axes.set(ylim=(-0.35, base[0] + 1.35), yticks=base + 0.5, yticklabels=list(names))
        axes.tick_params(axis="y", length=0, labelcolor=style.ink)
        axes.spines["left"].set_visible(False)
        for height, width in zip(base, span, strict=True):
            text = axes.text(1.006, height + 0.5, f"range {width:.2g}", transform=axes.get_yaxis_transform())
            text.set(fontsize=style.small, color=style.muted, va="center")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    long = {"time": np.tile(time, n), "neuron": np.repeat(np.asarray(names), len(time)), "true": true.T.ravel()}
    return figure, pd.DataFrame({**long, **{name: voltage.T.ravel() for name, voltage in rolled.items()}})


def rollout_error(
    time: np.ndarray, errors: Mapping[str, np.ndarray], style: FigureStyle
) -> tuple[Figure, pd.DataFrame]:
    """Root-mean-square error over neurons by horizon.

    Args:
        time: (S,) horizon [s].
        errors: (S,) error of every estimator [a.u.].
        style: the look.

    Returns:
        The figure, and time with one column per estimator.
    """
    with style.applied():
        figure, grid = style.panels(style.half, 0.72 * style.half)
        axes: Axes = grid[0, 0]
        for i, (estimator, error) in enumerate(errors.items()):
            axes.plot(time, error, color=style.colour(estimator), **style.nested(i), label=estimator)
        axes.set(xlabel="horizon [s]", ylabel="RMSE over neurons [a.u.]", xlim=(time[0], time[-1]))
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
    return figure, pd.DataFrame({"time": time, **errors})
