"""Figures as files and as pictures inside the page."""

import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lobula.data.atomic import atomic_write_bytes, atomic_write_text
from lobula.figures import DARK, LIGHT, FigureStyle, Movie
from lobula.report.exhibits import Exhibit

logger = logging.getLogger(__name__)

_SVG_BYTES = 280_000  # beyond this a bitmap is smaller
_CSS_PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A figure as the page holds it.

    Attributes:
        exhibit: what it shows.
        sources: data URI by style name, "light" and "dark" or just one of them.
        size: width and height [CSS px].
        files: names of the files beside the page, CSV last.
    """

    exhibit: Exhibit
    sources: dict[str, str]
    size: tuple[int, int]
    files: tuple[str, ...]


def styles(dark: bool) -> tuple[FigureStyle, ...]:
    """Styles of the pictures in the page, that of the files first; `dark` leaves the light one out."""
    return (DARK,) if dark else (LIGHT, DARK)


def make_picture(exhibit: Exhibit, folder: Path, formats: Sequence[str], dark: bool) -> Picture:
    """Draw an exhibit, write its files, and keep it as pictures for the page.

    Args:
        exhibit: what to draw.
        folder: where the files go.
        formats: "png", "pdf", "svg".
        dark: whether files and page are dark; else files are light and the page follows its reader.

    Raises:
        DiskFullError: if there is no room.
    """
    sources: dict[str, str] = {}
    names: list[str] = []
    media = ""
    size = (0, 0)
    for style in styles(dark):
        drawn, table = exhibit.draw(style)
        if isinstance(drawn, Movie):
            kinds, files = ["webp"], {"webp": drawn.content}
            shown, media, width, height = drawn.content, "image/webp", *drawn.size
        else:
            kinds = list(formats)
            is_large = bool(names) and media == "image/png"  # the first was, so will this be
            files = {} if is_large else {"svg": style.save(drawn, "svg")}
            width, height = (round(float(side) * _CSS_PIXELS_PER_INCH) for side in drawn.get_size_inches())
            shown, media = files.get("svg", b""), "image/svg+xml"
            if is_large or len(shown) > _SVG_BYTES:
                shown, media = style.save(drawn, "png"), "image/png"
                files["png"] = shown
            if not names:
                files |= {kind: style.save(drawn, kind) for kind in kinds if kind not in files}
        if not names:
            size = (width, height)
            names = [f"{exhibit.name}.{kind}" for kind in kinds]
            for kind, name in zip(kinds, names, strict=True):
                atomic_write_bytes(folder / name, files[kind])
            names.append(f"{exhibit.name}.csv")
            atomic_write_text(folder / names[-1], table.to_csv(index=False, float_format="%.6g"))
        sources[style.name] = data_uri(shown, media)
    logger.debug("drew %s", exhibit.name)
    return Picture(exhibit, sources, size, tuple(names))


def data_uri(content: bytes, media_type: str) -> str:
    """A file as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
