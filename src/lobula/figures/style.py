"""One look for every figure: the only place of this package that names a colour, a font or a size."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lobula.errors import ConfigError

_METADATA = MappingProxyType({"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}})


@dataclass(frozen=True)
class FigureStyle:
    """Colours, fonts and sizes of all figures. `LIGHT` and `DARK` are the two there are.

    The rungs and the first six hues are those of Okabe and Ito (shifted for dark paper); a test simulates three kinds
    of colour blindness and sees to it that all eight stay apart. Sizes are in points, widths in inches.

    Attributes:
        name: "light" or "dark".
        paper, ink, muted, rule, shade: background, text and truth, secondary text, axes, shaded ranges.
        rungs: colour of every estimator.
        hues: colours of categories; with `markers` they tell 8 x 9 cell types apart.
        excitatory, inhibitory: ends of the scale of signed values.
        unknown, known: ends of the scale of shares.
    """

    name: str
    paper: str
    ink: str
    muted: str
    rule: str
    shade: str
    rungs: Mapping[str, str]
    hues: tuple[str, ...]
    excitatory: str
    inhibitory: str
    unknown: str
    known: str
    markers: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
    font: str = "DejaVu Sans"
    text: float = 8.5
    small: float = 7.5
    tiny: float = 4.9
    line: float = 1.7
    thin: float = 0.8
    hair: float = 0.28
    broad: float = 4.4
    tick: float = 3.1
    gap: float = 1.5
    marker_area: float = 9.0
    dot: float = 4.5
    narrow: float = 3.5
    half: float = 5.2
    wide: float = 10.6
    dpi: int = 200
    bitmap_dpi: int = 160
    most_points: int = 500
    movie_pixels: int = 216
    movie_quality: int = 45

    @property
    def palette(self) -> dict[str, str]:
        """Every colour by its role; roles that share a colour share it in every style."""
        named = ("paper", "ink", "muted", "rule", "shade", "excitatory", "inhibitory", "unknown", "known")
        hues = {f"hue-{i}": colour for i, colour in enumerate(self.hues)}
        return {name: getattr(self, name) for name in named} | dict(self.rungs) | hues

    def colour(self, estimator: str) -> str:
        """Colour of an estimator; secondary ink for one that has none."""
        return self.rungs.get(estimator, self.muted)

    def category(self, index: int) -> tuple[str, str]:
        """Hue and marker of a category."""
        return self.hues[index % len(self.hues)], self.markers[(index // len(self.hues)) % len(self.markers)]

    def nested(self, index: int, width: float = 1.0) -> dict[str, Any]:
        """Look of the index-th of some lines: thinner and dashed on top, so that lines that coincide all show."""
        dashes = [(0, ()), (0, (4, 2)), (0, (1.2, 1.8))][index % 3]
        return {"lw": width * self.line * max(1.3 - 0.15 * index, 0.7), "ls": dashes, "dash_capstyle": "butt"}

    def flattens(self, n_points: int) -> bool:
        """Whether so many points become a bitmap in a vector file."""
        return n_points > self.most_points

    def point_area(self, n_points: int) -> float:
        """Area of one of many points: they shrink when there are thousands."""
        return self.marker_area * float(np.clip((1_500 / max(n_points, 1)) ** 0.5, 0.3, 1.0))

    def role(self, colour: str) -> str:
        """The first role of a colour of this style.

        Raises:
            KeyError: if it is none of them.
        """
        return {known: role for role, known in reversed(self.palette.items())}[colour]

    def ramp(self, colour: str) -> Colormap:
        """From a tint of a colour, over the colour, to nearly ink: densities."""
        stops = [_mix(self.paper, colour, 0.3), colour, _mix(colour, self.ink, 0.75)]
        return LinearSegmentedColormap.from_list(f"ramp {self.role(colour)}", stops)

    def density(self, colour: str) -> Colormap:
        """From paper at 0 to a colour and nearly ink at 1: shares of which most are 0."""
        stops = [self.paper, _mix(self.paper, colour, 0.6), colour, _mix(colour, self.ink, 0.6)]
        return LinearSegmentedColormap.from_list(f"density {self.role(colour)}", stops)

    def counterpart(self, other: Colormap) -> Colormap:
        """This style's own version of a colour map of any style."""
        kind, _, role = other.name.partition(" ")
        if role:
            return {"ramp": self.ramp, "density": self.density}[kind](self.palette[role])
        return {"signed": self.signed_map, "share": self.share_map, "gray": self.luminance_map}[kind]

    @property
    def signed_map(self) -> Colormap:
        """Signed values: inhibitory, paper at zero, excitatory."""
        return LinearSegmentedColormap.from_list("signed", [self.inhibitory, self.paper, self.excitatory])

    @property
    def share_map(self) -> Colormap:
        """Shares from 0 (unknown) to 1 (known)."""
        return LinearSegmentedColormap.from_list("share", [self.unknown, self.shade, self.known])

    @property
    def luminance_map(self) -> Colormap:
        """Luminance from 0 (black) to 1 (white), on either paper."""
        return mpl.colormaps["gray"]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Matplotlib's settings while a figure is drawn or saved; they are put back afterwards."""
        with mpl.rc_context(self._settings()):
            yield

    def panels(
        self, width: float, height: float, n_rows: int = 1, n_columns: int = 1, **options: Any
    ) -> tuple[Figure, np.ndarray]:
        """A figure of its own (no pyplot state) and its axes, (n_rows, n_columns).

        Args:
            width: of the figure [inch].
            height: of the figure [inch].
            n_rows: rows of panels.
            n_columns: columns of panels.
            options: for `Figure.subplots`, for example width_ratios.
        """
        figure = Figure(figsize=(width, height), dpi=self.dpi, layout="constrained", facecolor=self.paper)
        axes = figure.subplots(n_rows, n_columns, squeeze=False, **options)
        for panel in axes.flat:
            self.tidy(panel)
        return figure, axes

    def tidy(self, axes: Axes) -> None:
        """Fix the look of the ticks, which are made when the figure is saved."""
        axes.tick_params(which="both", labelsize=self.small, colors=self.rule, labelcolor=self.muted)

    def save(self, figure: Figure, kind: str) -> bytes:
        """The file of a figure, the same bytes every time.

        Args:
            figure: drawn in this style.
            kind: "png", "pdf" or "svg".

        Raises:
            ConfigError: for another kind.
        """
        if kind not in _METADATA:
            raise ConfigError(f"figure: got format {kind!r}, expected one of {', '.join(_METADATA)}")
        content = BytesIO()
        with self.applied():
            engine = figure.get_layout_engine()
            if isinstance(engine, ConstrainedLayoutEngine):  # slow, and once is enough
                engine.execute(figure)
                figure.set_layout_engine("none")
            figure.set_dpi(self.bitmap_dpi if kind == "svg" else self.dpi)
            if kind == "svg":
                FigureCanvasSVG(figure).print_svg(content, metadata=dict(_METADATA[kind]))
            elif kind == "pdf":
                FigureCanvasPdf(figure).print_pdf(content, metadata=dict(_METADATA[kind]))
            else:
                FigureCanvasAgg(figure).print_png(content)
        return content.getvalue()

    def _settings(self) -> dict[str, Any]:
        sizes = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize"), self.text)
        sizes |= dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), self.small)
        inks = dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), self.ink)
        papers = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), self.paper)
        rules = dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), self.rule)
        labels = dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor", "legend.labelcolor"), self.muted)
        spines = {f"axes.spines.{side}": side in ("left", "bottom") for side in ("left", "right", "top", "bottom")}
        other = {
            "font.family": self.font,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titley": 1.0,  # measuring what it must not cover takes time, and ticks are below
            "axes.axisbelow": True,
            "axes.linewidth": self.thin,
            "lines.linewidth": self.line,
            "legend.frameon": False,
            "legend.handlelength": 1.6,
            "pdf.fonttype": 42,
            "svg.fonttype": "path",
            "svg.hashsalt": "lobula",
        }
        return {**sizes, **inks, **papers, **rules, **labels, **spines, **other}


def _mix(first: str, second: str, share: float) -> str:
    """Colour between two, `share` of the second."""
    a, b = np.array(mpl.colors.to_rgb(first)), np.array(mpl.colors.to_rgb(second))
    return mpl.colors.to_hex(a + share * (b - a))


LIGHT = FigureStyle(
    name="light",
    paper="#ffffff",
    ink="#16202c",
    muted="#5b6776",
    rule="#b9c2cd",
    shade="#eef1f5",
    rungs=MappingProxyType({"ridge": "#0072b2", "spline": "#d55e00", "gnn": "#009e73"}),
    hues=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b2a9d", "#555f6b"),
    excitatory="#c8461b",
    inhibitory="#1f5fa8",
    unknown="#d55e00",
    known="#0b5c94",
)
DARK = FigureStyle(
    name="dark",
    paper="#161c24",
    ink="#e8edf3",
    muted="#9aa7b6",
    rule="#465362",
    shade="#232c37",
    rungs=MappingProxyType({"ridge": "#58a6ff", "spline": "#f5853f", "gnn": "#3fe08a"}),
    hues=("#58a6ff", "#f5853f", "#3fe08a", "#d48ac8", "#f7cf2e", "#c4ecff", "#8355c8", "#a3a89a"),
    excitatory="#ff8a5c",
    inhibitory="#6cb2f5",
    unknown="#f5853f",
    known="#4fa9e6",
)
