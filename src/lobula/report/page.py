"""The HTML of a report: small pieces that escape their text, put into `template.html`."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from lobula.figures import DARK, LIGHT, FigureStyle
from lobula.report.exhibits import Detail
from lobula.report.files import Picture
from lobula.report.summary import Fact
from lobula.report.tables import Row, Table

FIGURES = "figures"
TABLES = "tables"


def fill_page(parts: Mapping[str, str], dark: bool) -> str:
    """The whole page.

    Args:
        parts: HTML of every place of the template.
        dark: always dark; else the page follows its reader.
    """
    here = files("lobula.report")
    sheet = here.joinpath("style.css").read_text(encoding="utf-8")
    template = Template(here.joinpath("template.html").read_text(encoding="utf-8"))
    return template.substitute(parts, css=_variables(dark) + sheet)


def paragraphs(texts: Iterable[str]) -> str:
    """One paragraph per text."""
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def bullet_list(texts: Sequence[str], name: str) -> str:
    """A list in a box, nothing for no texts."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{escape(name)}">{items}</ul>' if texts else ""


def fact_cards(facts: Sequence[Fact]) -> str:
    """The large numbers at the top, each with a bar and the tick of what it is compared with."""
    return "\n".join(_card(fact) for fact in facts)


def navigation(slugs: Sequence[str]) -> str:
    """Links to the sections."""
    return "".join(f'<a href="#{escape(s)}">{escape(s.replace("-", " ").capitalize())}</a>' for s in slugs)


def section(slug: str, title: str, text: str, body: str) -> str:
    """A section with its heading."""
    lead = f'<p class="lead">{escape(text)}</p>' if text else ""
    return f'<section id="{escape(slug)}"><h2>{escape(title)}</h2>{lead}\n{body}\n</section>'


def gallery(blocks: Sequence[str]) -> str:
    """Figures and tables side by side where there is room."""
    return '<div class="gallery">\n' + "\n".join(blocks) + "\n</div>" if blocks else ""


def table(content: Table, note: str = "") -> list[str]:
    """Blocks of a gallery: one per part of the table, with the meaning of its rows to unfold and a link to its CSV."""
    parts: list[list[Row]] = []
    for row in content.rows:
        if not row.cells or not parts:
            parts.append([])
        parts[-1].append(row)
    link = f'<a href="{TABLES}/{escape(content.name)}.csv" download>csv</a>'
    tail = f'<p class="note">{escape(note)} {link}</p>{_meanings(content)}'
    blocks = [_table_part(part, content.columns) for part in parts]
    if len(blocks) == 1:
        return [f'<div class="half scores">{blocks[0]}{tail}</div>']
    return [*(f'<div class="half scores">{block}</div>' for block in blocks), f'<div class="full">{tail}</div>']


def detail(content: Detail) -> str:
    """A block of a gallery: heading, reading, and the table to unfold."""
    link = f'<a href="{TABLES}/{escape(content.table.name)}.csv" download>csv</a>'
    title = f"{len(content.table.rows) - 1} rows"
    body = f'<div class="tall">{_table_part(content.table.rows, content.table.columns)}</div>'
    return (
        f'<div class="full detail"><h3>{escape(content.title)}</h3><p class="note">{escape(content.reading)} {link}</p>'
        f"{folded(title, body)}</div>"
    )


def properties(values: Mapping[str, Any]) -> str:
    """Names and values in two columns."""
    rows = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in values.items())
    return f'<dl class="properties">{rows}</dl>'


def folded(title: str, body: str) -> str:
    """Something to unfold."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def code(text: str) -> str:
    """Preformatted text."""
    return f"<pre><code>{escape(text)}</code></pre>"


def _card(fact: Fact) -> str:
    bar = ""
    if fact.share is not None:
        tick = "" if fact.mark is None else f'<b style="left:{100 * fact.mark:.1f}%"></b>'
        bar = f'<div class="bar"><i style="width:{100 * fact.share:.1f}%"></i>{tick}</div>'
    return (
        f'<div class="fact"><div class="label">{escape(fact.label)}</div><div class="value">{escape(fact.value)}</div>'
        f'{bar}<div class="detail">{escape(fact.detail)}</div></div>'
    )


def figure(picture: Picture) -> str:
    """A figure with its caption and the links to its files."""
    exhibit = picture.exhibit
    place = f"{exhibit.width} first" if exhibit.starts_row else exhibit.width
    links = " ".join(f'<a href="{FIGURES}/{escape(n)}">{escape(n.rpartition(".")[2])}</a>' for n in picture.files)
    return (
        f'<figure id="{escape(exhibit.name)}" class="{place}"><div class="frame">{image(picture)}</div>'
        f'<figcaption>{escape(exhibit.caption)} <span class="files">{links}</span></figcaption></figure>'
    )


def image(picture: Picture) -> str:
    """A figure alone, light or dark as the reader likes it."""
    width, height = picture.size
    first, *others = picture.sources.values()
    shown = f'<img src="{first}" width="{width}" height="{height}" alt="{escape(picture.exhibit.caption)}">'
    dark = "".join(f'<source media="(prefers-color-scheme: dark)" srcset="{other}">' for other in others)
    return f"<picture>{dark}{shown}</picture>"


def _table_part(rows: Sequence[Row], columns: Sequence[str]) -> str:
    title = rows[0].label if not rows[0].cells else ""
    head = "".join(f'<th scope="col" class="{escape(name.split()[0])}">{escape(name)}</th>' for name in columns)
    body = []
    for row in rows:
        if row.cells:
            tag = ['<td class="near">' if cell.near_ceiling else "<td>" for cell in row.cells]
            cells = "".join(f"{start}{escape(cell.text)}</td>" for start, cell in zip(tag, row.cells, strict=True))
            body.append(f'<tr><th scope="row" title="{escape(row.meaning)}">{escape(row.label)}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><thead><tr><th scope="col">{escape(title)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _meanings(content: Table) -> str:
    known = {row.label: row.meaning for row in content.rows if row.meaning}
    return folded("What the rows mean", properties(known)) if known else ""


def _variables(dark: bool) -> str:
    """Colours of the page: those of the figures."""
    if dark:
        return f":root {{ color-scheme: dark; {_colours(DARK)} }}\n"
    other = f"@media (prefers-color-scheme: dark) {{ :root {{ {_colours(DARK)} }} }}"
    return f":root {{ color-scheme: light dark; {_colours(LIGHT)} }}\n{other}\n"


def _colours(style: FigureStyle) -> str:
    named = {name: getattr(style, name) for name in ("paper", "ink", "muted", "rule", "shade", "known", "unknown")}
    return " ".join(f"--{name}: {colour};" for name, colour in (named | dict(style.rungs)).items())
