"""Figures as files and as pictures inside the page."""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from lobula.data.atomic import atomic_write_bytes, atomic_write_text
from lobula.figures import DARK, LIGHT, Movie, compact_svg, darken_bitmaps, has_bitmaps
from lobula.report.exhibits import Exhibit

logger = logging.getLogger(__name__)

_KEPT = " '<>=/:;,.()-+{}!*@"  # what browsers read in an address as it is
_CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A figure as the page holds it.

    Attributes:
        exhibit: what it shows.
        sources: data URI by style name, "light" and "dark", or one that serves all readers.
        size: width and height [CSS px].
        files: names of the files beside the page, CSV last.
    """

    exhibit: Exhibit
    sources: dict[str, str]
    size: tuple[int, int]
    files: tuple[str, ...]


def make_picture(exhibit: Exhibit, folder: Path, formats: Sequence[str], dark: bool) -> Picture:
    """Draw an exhibit, write its files, and keep it as a picture for the page.

    Args:
        exhibit: what to draw.
        folder: where the files go: the table as CSV, and the figure in every format.
        formats: "png", "pdf", "svg"; none are needed for the page.
        dark: whether files and page are dark; else files are light and the page follows its reader.

    Raises:
        DiskFullError: if there is no room.
    """
    style = DARK if dark else LIGHT
    drawn, table = exhibit.draw(style)
    if isinstance(drawn, Movie):
        files, size = {"webp": drawn.content}, drawn.size
        movies = [(style.name, drawn)] if dark else [(style.name, drawn), (DARK.name, exhibit.draw(DARK)[0])]
        sources = {name: data_uri(movie.content, "image/webp") for name, movie in movies if isinstance(movie, Movie)}
    else:
        svg = style.save(drawn, "svg")
        files = {kind: svg if kind == "svg" else style.save(drawn, kind) for kind in formats}
        width, height = (round(float(side) * _CSS_PIXELS_PER_INCH) for side in drawn.get_size_inches())
        size = (width, height)
        sources = {style.name: svg_uri(compact_svg(svg, None if dark else _dark_bitmaps(drawn, svg)))}
    for kind, content in files.items():
        atomic_write_bytes(folder / f"{exhibit.name}.{kind}", content)
    atomic_write_text(folder / f"{exhibit.name}.csv", table.to_csv(index=False, float_format="%.6g"))
    logger.debug("drew %s", exhibit.name)
    return Picture(exhibit, sources, size, tuple(f"{exhibit.name}.{kind}" for kind in (*files, "csv")))


def _dark_bitmaps(figure: Figure, svg: bytes) -> bytes:
    """SVG of the dark bitmaps of a light figure, which is changed; empty if it has none."""
    if not has_bitmaps(svg):
        return b""
    darken_bitmaps(figure)
    return DARK.save(figure, "svg")


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def svg_uri(svg: str) -> str:
    """An SVG as an address that holds it, a quarter shorter than in base64; for an attribute in double quotes."""
    return "data:image/svg+xml," + quote(svg.replace('"', "'"), safe=_KEPT)
