"""A short movie of the hexagonal eye, as an animated picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from PIL import Image
from scipy.spatial import cKDTree

from lobula.figures.eye import Sheet, sheet_limits, sheet_table
from lobula.figures.style import FigureStyle


@dataclass(frozen=True)
class Movie:
    """An animated picture.

    Attributes:
        content: bytes of the WebP file.
        size: width and height [px].
    """

    content: bytes
    size: tuple[int, int]


def eye_movie(
    time: np.ndarray, sheets: Sequence[Sheet], style: FigureStyle, *, slower: float = 1.0
) -> tuple[Movie, pd.DataFrame]:
    """The sheets side by side, one picture per moment; every pixel takes the colour of the column next to it.

    Args:
        time: (F,) moments, evenly spaced [s].
        sheets: at least one, each with F rows of values.
        style: the look.
        slower: times slower than life.

    Returns:
        The movie, and a long table: sheet, time, x, y, value.
    """
    parts = [_colours(sheet, style) for sheet in sheets]
    frames = np.concatenate(parts, axis=2)
    step = float(time[1] - time[0]) if len(time) > 1 else 1.0
    pictures = [Image.fromarray(frame) for frame in frames]
    content = BytesIO()
    shown_ms = max(round(1000 * slower * step), 20)
    pictures[0].save(
        content, format="WEBP", save_all=True, append_images=pictures[1:], duration=shown_ms, loop=0,
        quality=style.movie_quality, method=2,
    )  # fmt: skip
    table = pd.concat([sheet_table(sheet, time) for sheet in sheets], ignore_index=True)
    return Movie(content.getvalue(), (frames.shape[2], frames.shape[1])), table


def _colours(sheet: Sheet, style: FigureStyle) -> np.ndarray:
    """(F, P, P, 3) bytes."""
    side = style.movie_pixels
    low, high = sheet.positions.min(axis=0), sheet.positions.max(axis=0)
    tree = cKDTree(sheet.positions)
    pitch = float(np.median(tree.query(sheet.positions, k=2)[0][:, 1])) if len(sheet.positions) > 1 else 1.0
    reach = (high - low).max() / 2 + 0.8 * pitch
    axis = np.linspace(-reach, reach, side)
    middle = (low + high) / 2
    pixels = np.stack(np.meshgrid(middle[0] + axis, middle[1] + axis), axis=-1)
    distance, nearest = tree.query(pixels)
    inside = (distance <= 0.58 * pitch)[None, :, :, None]
    colours = (style.signed_map if sheet.signed else style.luminance_map)(Normalize(*sheet_limits(sheet))(sheet.values))
    paper = np.array(mpl.colors.to_rgb(style.paper))
    return (255 * np.where(inside, colours[:, nearest, :3], paper)).astype(np.uint8)
