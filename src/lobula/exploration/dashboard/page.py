"""The page as one file of HTML: styles, scripts and, if exported, the data are inside."""

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from lobula.data.atomic import atomic_write_text

SCRIPTS = ("core.js", "tree.js", "charts.js", "tables.js", "main.js")
COLOURS = ("paper", "ink", "muted", "rule", "shade", "known", "unknown")
_MARK = [(0, 0), (15, 0), (7.5, 13), (-7.5, 13), (-15, 0), (-7.5, -13), (7.5, -13)]
_HEXAGON = [(0, 8.2), (7.1, 4.1), (7.1, -4.1), (0, -8.2), (-7.1, -4.1), (-7.1, 4.1)]


def live_page(title: str, can_post: bool = False) -> str:
    """The page that asks its server for data.

    Args:
        title: of the window until the data are there.
        can_post: whether it offers to send notes.
    """
    return _fill(title, "null", "steer" if can_post else "watch", "Live page of a study.")


def static_page(data: Mapping[str, Any]) -> str:
    """The page with its data inside.

    Args:
        data: of `page_data`.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    footer = "Exported by lobula. This page works offline and fetches nothing."
    return _fill(str(data["study"]["name"]), text, "export", footer)


def export_page(data: Mapping[str, Any], path: str | Path) -> Path:
    """Write `static_page` to a file, atomically, and return its path.

    Raises:
        DiskFullError: if the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, static_page(data))
    return path


def _fill(title: str, data: str, mode: str, footer: str) -> str:
    here = files("lobula.exploration.dashboard")
    report = files("lobula") / "report" / "style.css"  # one look for all pages
    sheet = report.read_text(encoding="utf-8") + here.joinpath("style.css").read_text(encoding="utf-8")
    scripts = "\n".join(here.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    return Template(here.joinpath("template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        css=_colours() + sheet,
        mark=_mark(),
        mode=mode,
        footer=escape(footer),
        data=data.replace("<", "\\u003c"),  # a string in the data cannot end the script element
        scripts=scripts,
    )


def _colours() -> str:
    """Colours of the page: those of the figures, light or dark as the reader likes it."""
    from lobula.figures import DARK, LIGHT  # matplotlib takes a second, and a page is made once

    def named(style: Any) -> str:
        colours = {name: getattr(style, name) for name in COLOURS} | {"gnn": style.rungs["gnn"]}
        return " ".join(f"--{name}: {colour};" for name, colour in colours.items())

    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {named(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {named(LIGHT)} }}\n{dark}\n"


def _mark() -> str:
    """Seven columns of the eye as SVG."""
    shapes = []
    for i, (x, y) in enumerate(_MARK):
        points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in _HEXAGON)
        shapes.append(f'<polygon points="{points}" opacity="{1 - 0.11 * i:.2f}"/>')
    return "".join(shapes)
