"""The hexagonal eye: what it sees, and how whole sheets of neurons answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from lobula.figures.style import FigureStyle

_SPACING = 2.35  # of moments, half widths of a sheet


@dataclass(frozen=True, eq=False)
class Sheet:
    """Values on a grid of columns at a few moments.

    Attributes:
        name: what is shown.
        positions: (H, 2) x to the right and y down, in any unit.
        values: (F, H) one row per moment.
        signed: drawn around zero in two colours; else from black (lowest) to white (highest).
    """

    name: str
    positions: np.ndarray
    values: np.ndarray
    signed: bool = False


def hexagonal_eye(time: np.ndarray, sheets: Sequence[Sheet], style: FigureStyle) -> tuple[Figure, pd.DataFrame]:
    """Hexagonal grids, time from left to right, one row per sheet.

    Args:
        time: (F,) moments [s].
        sheets: at least one.
        style: the look.

    Returns:
        The figure, and a long table: sheet, time, x, y, value.
    """
    cell = style.wide / max(len(time), 4)
    with style.applied():
        figure, grid = style.panels(style.wide, len(sheets) * 0.97 * cell + 0.25, len(sheets))
        for axes, sheet in zip(grid[:, 0], sheets, strict=True):
            places = _draw(axes, sheet, style)
            axes.set(xticks=places, xticklabels=[], yticks=[], ylabel=sheet.name)
            axes.tick_params(length=0, labeltop=True, labelbottom=False)
        grid[0, 0].set_xticklabels([f"{1000 * (moment - time[0]):.0f} ms" for moment in time])
    return figure, pd.concat([sheet_table(sheet, time) for sheet in sheets], ignore_index=True)


def hexagon_centres(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(H, 2) positions x, y of columns in axial coordinates (H,); neighbours are 1 apart."""
    return np.column_stack([np.sqrt(3) / 2 * v, u + v / 2])


def _draw(axes: Axes, sheet: Sheet, style: FigureStyle) -> np.ndarray:
    """All moments of a sheet side by side, one bitmap; returns the middle of each."""
    angles = np.deg2rad(np.arange(0, 360, 60))
    centres = sheet.positions - (sheet.positions.min(axis=0) + sheet.positions.max(axis=0)) / 2
    pitch = float(np.median(cKDTree(centres).query(centres, k=2)[0][:, 1])) if len(centres) > 1 else 1.0
    corners = np.column_stack([np.cos(angles), np.sin(angles)]) * pitch / np.sqrt(3)
    reach = np.abs(centres).max(axis=0) + 0.7 * pitch
    places = _SPACING * reach[0] * np.arange(len(sheet.values))
    moved = centres + np.stack([places, np.zeros_like(places)], axis=1)[:, None]
    hexagons = PolyCollection(list(moved.reshape(-1, 1, 2) + corners), lw=style.hair, edgecolor=style.rule)
    hexagons.set_rasterized(True)
    hexagons.set(array=sheet.values.ravel(), norm=Normalize(*sheet_limits(sheet)))
    hexagons.set_cmap(style.signed_map if sheet.signed else style.luminance_map)
    axes.add_collection(hexagons)
    axes.set(xlim=(-reach[0], places[-1] + reach[0]), ylim=(reach[1], -reach[1]), aspect="equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return places


def sheet_limits(sheet: Sheet) -> tuple[float, float]:
    """Values at the ends of a sheet's colours."""
    top = float(np.nanmax(np.abs(sheet.values))) if sheet.values.size else 1.0
    low = -top if sheet.signed else float(np.nanmin(sheet.values))
    high = top if sheet.signed else float(np.nanmax(sheet.values))
    return low, high if high > low else low + 1.0


def sheet_table(sheet: Sheet, time: np.ndarray) -> pd.DataFrame:
    """Long table: sheet, time, x, y, value."""
    n_frames, n_columns = sheet.values.shape
    x, y = (np.tile(sheet.positions[:, axis], n_frames) for axis in (0, 1))
    moments = np.repeat(time, n_columns)
    return pd.DataFrame({"sheet": sheet.name, "time": moments, "x": x, "y": y, "value": sheet.values.ravel()})
