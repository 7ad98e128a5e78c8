"""How cost grows with the circuit."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lobula.figures.style import FigureStyle


def cost_curves(
    edges: Sequence[int], seconds: Mapping[str, Sequence[float]], exponents: Mapping[str, float], style: FigureStyle
) -> tuple[Figure, pd.DataFrame]:
    """Seconds against edges, both logarithmic, with the exponent of every line and a line of exponent 1.

    Args:
        edges: (K,) edges of the circuits.
        seconds: by what was timed, (K,) seconds.
        exponents: of the edges in the seconds, by the same names.
        style: the look.

    Returns:
        The figure, and the numbers that it shows.
    """
    size = np.asarray(edges, dtype=float)
    with style.applied():
        figure, axes = style.panels(style.half, 0.62 * style.half)
        panel = axes[0, 0]
        for index, (name, values) in enumerate(seconds.items()):
            hue, marker = style.category(index)
            times = np.asarray(values, dtype=float)
            panel.plot(
                size, times, color=hue, marker=marker, ms=style.dot, label=f"{name}: edges^{exponents[name]:.2f}"
            )
            panel.plot(size, times[0] * size / size[0], color=hue, lw=style.thin, ls=":")
        panel.set(xscale="log", yscale="log", xlabel="edges", ylabel="seconds", title="Cost against size")
        panel.legend(loc="upper left")
    return figure, pd.DataFrame({"edges": list(edges), **{name: list(values) for name, values in seconds.items()}})
