"""Scores along the rows of a study."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lobula.figures.style import FigureStyle


def study_curve(
    rows: Sequence[str], scores: Mapping[str, Sequence[Sequence[float]]], title: str, style: FigureStyle
) -> tuple[Figure, pd.DataFrame]:
    """What is missing to a perfect score, 1 - R2, by row: median and range over seeds, logarithmic.

    Args:
        rows: (R,) names of the rows, in order.
        scores: by estimator, R lists of R2, one number per seed; a list may be empty.
        title: of the panel.
        style: the look.

    Returns:
        The figure, and the numbers that it shows.
    """
    place, lines = np.arange(len(rows)), []
    with style.applied():
        figure, axes = style.panels(style.half, 0.62 * style.half)
        panel = axes[0, 0]
        for index, (name, values) in enumerate(scores.items()):
            hue, marker = style.category(index)
            known = [k for k in range(len(rows)) if len(values[k])]
            missing = [np.maximum(1.0 - np.asarray(values[k], dtype=float), 1e-16) for k in known]
            middle = np.array([np.median(m) for m in missing])
            least, most = (np.array([f(m) for m in missing]) for f in (np.min, np.max))
            panel.plot(known, middle, color=hue, marker=marker, ms=style.dot, label=name)
            panel.fill_between(known, least, most, color=hue, alpha=0.2, lw=0)
            lines += [
                {"row": rows[k], "estimator": name, "seeds": len(values[k]), "median": 1 - m, "worst": 1 - w}
                for k, m, w in zip(known, middle, most, strict=True)
            ]
        panel.set(yscale="log", ylabel="1 - fit R² of W", title=title)
        panel.set_xticks(place, list(rows), rotation=30)
        panel.legend(loc="best")
    return figure, pd.DataFrame(lines)


def study_panels(
    settings: Sequence[float],
    scores: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    xlabel: str,
    style: FigureStyle,
) -> tuple[Figure, pd.DataFrame]:
    """Several scores against one setting, a panel per score: median and range over seeds.

    Args:
        settings: (S,) positive values of the setting, in order; the axis is logarithmic.
        scores: by score and series, S lists with one number per seed; a list may be empty.
        xlabel: name of the setting.
        style: the look.

    Returns:
        The figure, and the numbers that it shows.
    """
    lines = []
    with style.applied():
        figure, axes = style.panels(2 * style.half, 0.54 * style.half, 1, len(scores))
        for panel, (name, series) in zip(axes[0], scores.items(), strict=True):
            for index, (label, values) in enumerate(series.items()):
                hue, marker = style.category(index)
                known = [k for k in range(len(settings)) if len(values[k])]
                at = np.array([settings[k] for k in known])
                middle, least, most = (np.array([f(values[k]) for k in known]) for f in (np.median, np.min, np.max))
                panel.plot(at, middle, color=hue, marker=marker, ms=style.dot, label=label)
                panel.fill_between(at, least, most, color=hue, alpha=0.2, lw=0)
                lines += [
                    {"score": name, "series": label, xlabel: x, "median": m, "least": low, "most": high}
                    for x, m, low, high in zip(at, middle, least, most, strict=True)
                ]
            panel.set_xscale("log", base=2)
            panel.set_xticks(list(settings), [f"{x:g}" for x in settings])
            panel.set(xlabel=xlabel, ylabel=name)
        axes[0, 0].legend(loc="best")
    return figure, pd.DataFrame(lines)
