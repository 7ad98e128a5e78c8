"""How much of the activity a fit leaves unexplained, neuron by neuron, beside the noise that nothing can explain."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lobula.figures.panels import robust_limits
from lobula.figures.style import FigureStyle

_BINS = 60


def residual_spread(
    residual: Mapping[str, np.ndarray],
    spread: np.ndarray,
    style: FigureStyle,
    *,
    expected: np.ndarray | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Spread of the one-step residuals: its histogram over neurons, and against how much each neuron moves.

    Args:
        residual: (N,) standard deviation of what is left of dv/dt by estimator [a.u./s].
        spread: (N,) standard deviation of every neuron's voltage [a.u.].
        style: the look.
        expected: (N,) what the noise of the simulation alone leaves [a.u./s]; None where it is not known.

    Returns:
        The figure, and a table: neuron, spread, expected and one column per estimator.
    """
    with style.applied():
        figure, grid = style.panels(style.wide, 0.38 * style.wide, 1, 2)
        left, right = grid[0]
        known = [values[np.isfinite(values)] for values in residual.values()]
        low, high = robust_limits(*known, *([] if expected is None else [expected]), share=0.99, margin=0.12)
        bins = np.linspace(max(low, 0.0), high, _BINS + 1)
        if expected is not None:
            middle = float(np.median(expected))
            left.axvline(middle, color=style.ink, lw=style.broad, alpha=0.28, label=f"noise alone: {middle:.3g}")
            order = np.argsort(spread)
            right.plot(spread[order], expected[order], color=style.ink, lw=style.broad, alpha=0.28)
        for i, (name, values) in enumerate(residual.items()):
            counts = np.histogram(values[np.isfinite(values)], bins)[0]
            look = style.nested(i)
            left.stairs(counts, bins, baseline=None, color=style.colour(name), lw=look["lw"], ls=look["ls"], label=name)
            right.scatter(
                spread, values, s=style.point_area(len(values)), color=style.colour(name), alpha=0.5, lw=0,
                rasterized=style.flattens(len(values)),
            )  # fmt: skip
        left.set(xlabel="residual of dv/dt, standard deviation [a.u./s]", ylabel="neurons", xlim=(bins[0], bins[-1]))
        right.set(xlabel="voltage, standard deviation [a.u.]", ylabel="residual of dv/dt [a.u./s]")
        right.set(ylim=(bins[0], bins[-1]), xlim=robust_limits(spread, share=0.995))
        left.legend(loc="best")
    table = {"neuron": np.arange(len(spread)), "spread": spread}
    table |= {} if expected is None else {"expected": expected}
    return figure, pd.DataFrame(table | dict(residual))
