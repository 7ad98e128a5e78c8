"""What several figures draw alike: limits, the corner with the numbers, the identity line, labels that stay apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import MaxNLocator

from lobula.figures.style import FigureStyle

Scores = Mapping[str, float | None]
"""Numbers to print on a figure, by label; None where there is none. Figures never compute them."""


def robust_limits(*values: np.ndarray, share: float = 0.999, margin: float = 0.06) -> tuple[float, float]:
    """Limits that hold the middle `share` of every array, with a margin.

    Args:
        values: arrays of any shape; what is not finite does not count.
        share: of the values inside.
        margin: added on both sides, as a part of the range.
    """
    tails = [(1 - share) / 2, (1 + share) / 2]
    ends = [np.quantile(part[np.isfinite(part)], tails) for part in values if np.isfinite(part).any()]
    low, high = (min(end[0] for end in ends), max(end[1] for end in ends)) if ends else (0.0, 1.0)
    pad = margin * (high - low) if high > low else 0.5 * max(abs(low), 1e-3)
    return float(low - pad), float(high + pad)


def square_limits(axes: Axes, low: float, high: float) -> None:
    """The same limits and ticks on both axes of a square panel."""
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_box_aspect(1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def identity_line(axes: Axes, style: FigureStyle) -> None:
    """The line of perfect recovery."""
    axes.axline((0, 0), slope=1, color=style.ink, lw=style.thin, dashes=(5, 3), zorder=3)


def corner(axes: Axes, lines: Sequence[str], style: FigureStyle, *, lower: bool = False) -> None:
    """Lines of text in the upper left or the lower right corner."""
    x, y, across, up = (0.97, 0.04, "right", "bottom") if lower else (0.04, 0.97, "left", "top")
    text = axes.text(x, y, "\n".join(lines), transform=axes.transAxes, ha=across, va=up, linespacing=1.45, zorder=5)
    text.set(fontsize=style.small, color=style.muted if lower else style.ink, bbox=_halo(style))


def score_lines(scores: Scores) -> list[str]:
    """One line per score; "n/a" for one that could not be computed."""
    return [f"{label} {'n/a' if value is None else format(value, '.3f')}" for label, value in scores.items()]


def block_ticks(ordered: np.ndarray, names: Sequence[str], *, most: int) -> tuple[list[float], list[str]]:
    """Middles and names of the blocks of sorted cell types, leaving out those that would stand too close.

    Args:
        ordered: (N,) types in ascending order, index into `names`; -1 has no name.
        names: names of the types.
        most: labels that have room beside each other.
    """
    kinds, starts, counts = np.unique(ordered, return_index=True, return_counts=True)
    places: list[float] = []
    labels: list[str] = []
    for kind, middle in zip(kinds, starts + counts / 2, strict=True):
        if kind >= 0 and (not places or middle - places[-1] >= len(ordered) / most):
            places.append(float(middle))
            labels.append(names[int(kind)])
    return places, labels


def colour_bar(
    image: ScalarMappable,
    axes: Axes | Sequence[Axes],
    label: str,
    style: FigureStyle,
    *,
    shrink: float = 0.6,
    pad: float = 0.01,
) -> None:
    """The scale of an image's colours beside its panels.

    Args:
        image: on one of the panels.
        axes: the panels.
        label: name and unit of the values.
        style: the look.
        shrink: length, as a part of the panels' height.
        pad: distance from the panels, as a part of their width.
    """
    panels = [axes] if isinstance(axes, Axes) else list(axes)
    bar = panels[0].figure.colorbar(image, ax=panels, label=label, shrink=shrink, pad=pad)
    bar.outline.set_visible(False)
    style.tidy(bar.ax)


def _halo(style: FigureStyle) -> dict[str, Any]:
    """The box behind a text that stands on data."""
    return {"boxstyle": "round,pad=0.12", "facecolor": style.paper, "edgecolor": "none", "alpha": 0.72}


def spread_labels(axes: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[str], style: FigureStyle) -> list[bool]:
    """Write labels at points, first come first served; a label that would cover another one is left out.

    Args:
        axes: with their final limits; the layout will only enlarge them, and labels move apart.
        x: (L,) data coordinates.
        y: (L,) data coordinates.
        labels: (L,) texts, the most important first.
        style: of the text.

    Returns:
        Which labels were written.
    """
    figure = axes.get_figure()
    centres = axes.transData.transform(np.column_stack([x, y])) * (72 / figure.dpi)  # type: ignore[union-attr]
    taken: list[tuple[float, float, float, float]] = []
    written = []
    for label, (px, py) in zip(labels, centres, strict=True):
        half, height = 0.33 * style.small * len(label), 0.62 * style.small
        box = (px - half, py - height, px + half, py + height)
        free = all(box[0] > b[2] or box[2] < b[0] or box[1] > b[3] or box[3] < b[1] for b in taken)
        written.append(free)
        if free:
            taken.append(box)
    halo = _halo(style)
    for label, keep, px, py in zip(labels, written, x, y, strict=True):
        if keep:
            text = axes.annotate(
                label, (px, py), (0, 0.8 * style.small), textcoords="offset points", bbox=halo, zorder=6
            )
            text.set(fontsize=style.small, color=style.ink, ha="center", va="center")
            text.set_in_layout(False)  # inside the panel; measuring it is half of the time of a figure
    return written
