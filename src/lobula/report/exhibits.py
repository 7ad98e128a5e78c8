"""What a report shows: sections, and in them exhibits that know how to draw themselves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from lobula.figures import FigureStyle, Movie
from lobula.report.tables import Table

Draw = Callable[[FigureStyle], tuple[Figure | Movie, pd.DataFrame]]
Width = Literal["third", "half", "full"]


@dataclass(frozen=True)
class Exhibit:
    """One figure.

    Attributes:
        name: of its files.
        caption: one or two sentences.
        draw: from a style to the figure, or the movie, and its table.
        width: share of the page that it takes on a wide screen.
        starts_row: it does not go beside the figure before it.
    """

    name: str
    caption: str
    draw: Draw
    width: Width = "third"
    starts_row: bool = False


@dataclass(frozen=True)
class Detail:
    """A long table that unfolds.

    Attributes:
        title: heading.
        reading: a sentence on what it says, always to be seen.
        table: the rows.
    """

    title: str
    reading: str
    table: Table


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        slug: anchor.
        title: heading.
        text: a sentence or two on what is to be seen.
        exhibits: its figures.
        tables: its tables.
        note: a sentence under the tables.
        details: its long tables.
    """

    slug: str
    title: str
    text: str
    exhibits: list[Exhibit] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    note: str = ""
    details: list[Detail] = field(default_factory=list)
