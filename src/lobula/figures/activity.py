"""The activity of a whole circuit: neurons by time, and how many patterns it is made of."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lobula.figures.panels import block_ticks, colour_bar, robust_limits
from lobula.figures.style import FigureStyle

_MOST_NAMES = 40
_LEAST = 1e-7  # shares of the variance below are rounding


def kinograph(
    time: np.ndarray,
    panels: Mapping[str, np.ndarray],
    cell_type: np.ndarray,
    names: Sequence[str],
    style: FigureStyle,
) -> tuple[Figure, pd.DataFrame]:
    """Neurons from top to bottom in the order of their types, time from left to right.

    Args:
        time: (S,) time since the start [s].
        panels: (S, M) voltage around each neuron's mean, by title; all share the scale of the first [a.u.].
        cell_type: (M,) type of the neurons, index into `names`; -1 for none.
        names: names of the types.
        style: the look.

    Returns:
        The figure, and a table: panel, row, cell_type, and one column per moment.
    """
    order = np.argsort(cell_type, kind="stable")
    first = next(iter(panels.values()))
    _, top = robust_limits(np.abs(first), share=0.98, margin=0.0)
    step = float(time[1] - time[0]) if len(time) > 1 else 1.0
    extent = (float(time[0]), float(time[-1]) + step, len(order), 0)
    with style.applied():
        figure, grid = style.panels(style.wide, 0.4 + 0.42 * style.wide, 1, len(panels))
        for axes, (title, values) in zip(grid[0], panels.items(), strict=True):
            image = axes.imshow(
                values[:, order].T, norm=Normalize(-top, top), cmap=style.signed_map, extent=extent, aspect="auto",
                interpolation="nearest",
            )  # fmt: skip
            axes.set(xlabel="time [s]", yticks=[])
            axes.set_title(title, color=style.rungs.get(title, style.ink))
        _name_rows(grid[0, 0], cell_type[order], names, style)
        colour_bar(image, grid[0], "voltage around its mean [a.u.]", style)
    written = np.array([*names, ""])[np.where(cell_type < 0, len(names), cell_type)][order]
    moments = [f"{moment:.4g}" for moment in time]
    tables = [
        pd.DataFrame(values[:, order].T, columns=moments).assign(panel=title, row=np.arange(len(order)), type=written)
        for title, values in panels.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    return figure, table[["panel", "row", "type", *moments]].rename(columns={"type": "cell_type"})


def activity_ranks(
    share: Mapping[str, np.ndarray], ranks: Mapping[str, Mapping[float, int]], style: FigureStyle
) -> tuple[Figure, pd.DataFrame]:
    """Share of the variance by principal component, and how many components hold most of it.

    Args:
        share: (K,) share of the variance of every component, largest first, by source ("voltage", "stimulus").
        ranks: effective rank by source and by part of the variance, for example {"voltage": {0.9: 12, 0.99: 57}}.
        style: the look.

    Returns:
        The figure, and a table: source, component, share, cumulative.
    """
    tables = []
    with style.applied():
        figure, grid = style.panels(style.wide, 0.36 * style.wide, 1, 2)
        each, together = grid[0]
        last = 1
        for i, (name, values) in enumerate(share.items()):
            component, summed = np.arange(1, len(values) + 1), np.cumsum(values)
            each.plot(component, np.where(values > 0, values, np.nan), color=style.hues[i], **style.nested(i))
            together.plot(component, summed, color=style.hues[i], label=name, **style.nested(i))
            for part, rank in ranks.get(name, {}).items():
                together.plot([rank, rank], [0, part], color=style.hues[i], lw=style.thin)
                together.plot(rank, part, "o", ms=style.dot, color=style.hues[i], label=f"{part:.0%} in {rank}")
                last = max(last, rank)
            tables.append(pd.DataFrame({"source": name, "component": component, "share": values, "cumulative": summed}))
        low, high = robust_limits(*(np.log10(v[v > _LEAST]) for v in share.values()), share=1.0)
        each.set(xscale="log", yscale="log", ylim=(10**low, 10**high))
        each.set(title="each component", xlabel="component", ylabel="share of the variance")
        together.set(title="the first components together", xlabel="component", ylabel="share of the variance")
        together.set(ylim=(0, 1.03), xlim=(0, 1.3 * last))
        together.legend(loc="lower right")
    return figure, pd.concat(tables, ignore_index=True)


def _name_rows(axes: Axes, ordered: np.ndarray, names: Sequence[str], style: FigureStyle) -> None:
    """Names of the types beside their rows, where there is room."""
    places, labels = block_ticks(ordered, names, most=_MOST_NAMES)
    axes.set(yticks=places, yticklabels=labels)
    axes.tick_params(axis="y", length=0, labelsize=style.tiny)
