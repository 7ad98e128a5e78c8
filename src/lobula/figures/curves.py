"""The functions that were found: message curves and update curves."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lobula.figures.panels import colour_bar, robust_limits
from lobula.figures.style import FigureStyle

_BAND = (0.05, 0.5, 0.95)
_MAX_CURVES = 400

Curve = tuple[np.ndarray, np.ndarray]
"""Voltages (K,) and values (K,) or, one curve per neuron, (K, N)."""


def message_curves(
    curves: Mapping[str, Curve],
    style: FigureStyle,
    *,
    true: Curve | None = None,
    visited: tuple[float, float] | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """What a neuron sends as a function of its voltage, by estimator, over the true function.

    Where every neuron has its own curve, the median is drawn in a band that holds 90 % of them.

    Args:
        curves: of every estimator.
        style: the look.
        true: the true function.
        visited: voltages between which the recording lies; beyond them a curve is a guess.

    Returns:
        The figure, and a long table: curve, voltage, message, low, high.
    """
    rows = []
    with style.applied():
        figure, grid = style.panels(style.half, 0.72 * style.half)
        axes: Axes = grid[0, 0]
        if visited is not None:
            axes.axvspan(*visited, color=style.shade, lw=0, zorder=0, label="visited voltages")
        if true is not None:
            axes.plot(*true, color=style.ink, lw=style.broad, alpha=0.28, label="true", solid_capstyle="round")
            rows.append(_curve_rows("true", *true))
        for i, (name, (voltage, message)) in enumerate(curves.items()):
            low, middle, high = _band(message)
            if message.ndim == 2:
                axes.fill_between(voltage, low, high, color=style.colour(name), alpha=0.18, lw=0)
            axes.plot(voltage, middle, color=style.colour(name), **style.nested(i), label=name)
            rows.append(_curve_rows(name, voltage, middle, low, high))
        table = pd.concat(rows, ignore_index=True)
        if visited is not None:
            pad = 0.15 * (visited[1] - visited[0])
            axes.set_xlim(visited[0] - pad, visited[1] + pad)
            seen = table[table["voltage"].between(visited[0] - pad, visited[1] + pad)]
            axes.set_ylim(robust_limits(seen["message"].to_numpy(), share=1.0))
        axes.axhline(0, color=style.rule, lw=style.thin, zorder=0.5)
        axes.set(xlabel="voltage of the sender [a.u.]", ylabel="message g(v) [a.u.]")
        axes.legend(loc="upper left")
    return figure, table


def update_curves(
    voltage: np.ndarray,
    drift: np.ndarray,
    style: FigureStyle,
    *,
    tau: np.ndarray | None = None,
    estimator: str = "gnn",
) -> tuple[Figure, pd.DataFrame]:
    r"""The learned update of every neuron over the voltages that it visits, messages and input held.

    In the graded circuit every neuron is a straight line of slope -1/tau.

    Args:
        voltage: (K,) shared voltages, or (K, N) each neuron's own [a.u.].
        drift: (K, N) dv/dt, NaN where a neuron never is [a.u./s].
        style: the look.
        tau: (N,) recovered time constants that colour the curves [s].
        estimator: whose curves; decides the colour where there is no tau.

    Returns:
        The figure (at most 400 curves, evenly chosen), and a long table of what is drawn.
    """
    shown = np.unique(np.linspace(0, drift.shape[1] - 1, min(drift.shape[1], _MAX_CURVES)).astype(int))
    x = np.broadcast_to(voltage[:, None] if voltage.ndim == 1 else voltage, drift.shape)[:, shown]
    y = drift[:, shown]
    with style.applied():
        figure, grid = style.panels(style.half, 0.72 * style.half)
        axes: Axes = grid[0, 0]
        lines = LineCollection(list(np.stack([x.T, y.T], axis=-1)), lw=style.thin, alpha=0.6, rasterized=True)
        if tau is None:
            lines.set_color(style.colour(estimator))
        else:
            shades = np.where(np.isfinite(tau[shown]), tau[shown], np.nan)
            lines.set(array=shades, cmap=style.ramp(style.colour(estimator)), norm=Normalize(*robust_limits(shades)))
            colour_bar(lines, axes, "recovered time constant [s]", style, shrink=0.9, pad=0.02)
        axes.add_collection(lines)
        axes.axhline(0, color=style.ink, lw=style.thin, dashes=(5, 3))
        axes.set(xlim=robust_limits(x, share=0.995), ylim=robust_limits(y, share=0.995))
        axes.set(xlabel="voltage [a.u.]", ylabel="dv/dt [a.u./s]")
    table = pd.DataFrame({"neuron": np.repeat(shown, len(x)), "voltage": x.T.ravel(), "dvdt": y.T.ravel()})
    return figure, table.dropna(ignore_index=True)


def _band(message: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if message.ndim == 1:
        return message, message, message
    empty = ~np.isfinite(message).any(axis=1)
    low, middle, high = np.nanquantile(np.where(empty[:, None], 0.0, message), _BAND, axis=1)
    return tuple(np.where(empty, np.nan, part) for part in (low, middle, high))  # type: ignore[return-value]


def _curve_rows(
    name: str, voltage: np.ndarray, message: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> pd.DataFrame:
    ends = {"low": message if low is None else low, "high": message if high is None else high}
    return pd.DataFrame({"curve": name, "voltage": voltage, "message": message, **ends})
