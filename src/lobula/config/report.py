"""Config section `report`: figures and the HTML page."""

from typing import Annotated, Literal

from pydantic import Field

from lobula.config.base import Section, param

FigureFormats = Annotated[tuple[Literal["png", "pdf", "svg"], ...], Field(strict=False)]


class ReportConfig(Section):
    """Figures and the HTML page."""

    formats: FigureFormats = param((), "files of every figure beside the page, which needs none")
    max_points: int = param(20_000, "points drawn before a scatter becomes a density", ge=1)
    dark: bool = param(False, "dark figures")
