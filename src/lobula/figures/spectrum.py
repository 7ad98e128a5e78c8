"""Spectra of the matrix of weights: eigenvalues, singular values, and how well main directions agree."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lobula.figures.panels import colour_bar, robust_limits
from lobula.figures.style import FigureStyle


def weight_spectra(
    eigenvalues: Mapping[str, np.ndarray],
    singular_values: Mapping[str, np.ndarray],
    radii: Mapping[str, float],
    style: FigureStyle,
) -> tuple[Figure, pd.DataFrame]:
    """Eigenvalues in the complex plane with a circle of the true spectral radius, and singular values by rank.

    Args:
        eigenvalues: (K,) complex, by source ("true", "spline", ...).
        singular_values: (M,) largest first, by source.
        radii: spectral radius by source, for the legend.
        style: the look.

    Returns:
        The figure, and a long table: source, kind, rank, real, imaginary (singular values: real).
    """
    with style.applied():
        figure, grid = style.panels(style.wide, 0.45 * style.wide, 1, 2)
        plane, ranks = grid[0]
        turn = np.linspace(0, 2 * np.pi, 200)
        if "true" in radii:
            circle = radii["true"] * np.exp(1j * turn)
            plane.plot(circle.real, circle.imag, color=style.rule, lw=style.thin, dashes=(5, 3), zorder=0.5)
        for i, (name, values) in enumerate(eigenvalues.items()):
            look = _look(name, style)
            plane.scatter(
                values.real, values.imag, s=style.marker_area * (3.0 if name == "true" else 1.0), lw=0, zorder=1 + i,
                label=f"{name}, radius {radii[name]:.3g}", rasterized=style.flattens(len(values)), **look,
            )  # fmt: skip
        for i, (name, values) in enumerate(singular_values.items()):
            line = {"lw": style.broad} if name == "true" else style.nested(i - 1)
            ranks.plot(np.arange(1, len(values) + 1), values, label=name, **line, **_look(name, style))
        reach = max(float(np.abs(values).max(initial=1e-9)) for values in eigenvalues.values())
        plane.set(xlim=(-1.1 * reach, 1.1 * reach), ylim=(-1.1 * reach, 1.1 * reach))
        plane.set_box_aspect(1)
        plane.set(xlabel="real part", ylabel="imaginary part", title="eigenvalues of W")
        _log_ranks(ranks, singular_values)
        ranks.set(xlabel="rank", ylabel="singular value [a.u.]", title="singular values of W")
        plane.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        ranks.legend(loc="best")
    parts = [_rows("eigenvalue", name, values) for name, values in eigenvalues.items()]
    parts += [_rows("singular value", name, values) for name, values in singular_values.items()]
    return figure, pd.concat(parts, ignore_index=True)


def singular_alignment(
    cosines: Mapping[str, np.ndarray], subspace: Mapping[str, np.ndarray], style: FigureStyle, *, estimator: str
) -> tuple[Figure, pd.DataFrame]:
    """Cosines between true and recovered singular vectors, and how far the spaces of the first k agree.

    Args:
        cosines: (M, M) absolute cosines, true by recovered, by side ("senders", "receivers").
        subspace: (M,) agreement of the spans of the first k vectors, by side.
        style: the look.
        estimator: whose vectors; decides the colour.

    Returns:
        The figure, and a long table: side, true, recovered (ranks from 1), cosine, subspace (of the first `true`
        vectors).
    """
    with style.applied():
        figure, grid = style.panels(style.wide, 0.31 * style.wide, 1, len(cosines) + 1)
        for axes, (side, values) in zip(grid[0], cosines.items(), strict=False):
            n = len(values)
            image = axes.imshow(
                values, norm=Normalize(0, 1), cmap=style.density(style.colour(estimator)), origin="lower",
                extent=(0.5, n + 0.5, 0.5, n + 0.5), interpolation="nearest",
            )  # fmt: skip
            axes.set(title=f"directions of {side}", xlabel=f"rank, {estimator}", ylabel="rank, true")
        colour_bar(image, list(grid[0, :-1]), "|cosine|", style, shrink=0.8)
        axes = grid[0, -1]
        for i, (side, values) in enumerate(subspace.items()):
            axes.plot(np.arange(1, len(values) + 1), values, color=style.hues[i], label=side, **style.nested(i))
        axes.axhline(1.0, color=style.ink, lw=style.thin, dashes=(5, 3), zorder=0.5)
        axes.set(title="first k directions together", xlabel="number of directions k")
        axes.set(ylabel="agreement of their spaces", ylim=(0, 1.05))
        axes.legend(loc="lower right")
    return figure, pd.concat([_aligned(side, c, subspace[side]) for side, c in cosines.items()], ignore_index=True)


def _look(name: str, style: FigureStyle) -> dict:
    return {"color": style.ink, "alpha": 0.25} if name == "true" else {"color": style.colour(name), "alpha": 0.85}


def _log_ranks(axes: Axes, values: Mapping[str, np.ndarray]) -> None:
    """A log scale, where values differ much, over the ranks that the first has; the rest is rounding."""
    first = next(iter(values.values()))
    solid = first[first > 1e-6 * first.max(initial=0.0)]
    if len(solid) > 1 and solid[0] > 20 * solid[-1]:
        low, high = robust_limits(np.log10(solid), share=1.0)
        axes.set(yscale="log", ylim=(10**low, 10**high))


def _rows(kind: str, name: str, values: np.ndarray) -> pd.DataFrame:
    rank = np.arange(1, len(values) + 1)
    return pd.DataFrame(
        {"source": name, "kind": kind, "rank": rank, "real": np.real(values), "imaginary": np.imag(values)}
    )


def _aligned(side: str, cosines: np.ndarray, subspace: np.ndarray) -> pd.DataFrame:
    true, recovered = np.indices(cosines.shape).reshape(2, -1)
    table = {"side": side, "true": true + 1, "recovered": recovered + 1, "cosine": cosines.ravel()}
    return pd.DataFrame(table | {"subspace": subspace[true]})
