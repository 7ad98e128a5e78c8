"""The style owns every size, width and colour, and its colours stay apart for every kind of eye."""

import ast
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import Colormap

import lobula.figures as figures
from lobula.figures import DARK, LIGHT, FigureStyle

SOURCE = Path(figures.__file__).parent
DRAWING = [file for file in SOURCE.glob("*.py") if file.name != "style.py"]
ROOMS = [file for room in ("report", "cli", "exploration") for file in (SOURCE.parent / room).rglob("*.py")]
CALLERS = [file for file in ROOMS if "lobula.figures" in file.read_text()]
SIZES = {
    "s", "ms", "markersize", "mew", "markeredgewidth", "lw", "linewidth", "linewidths", "elinewidth", "capsize",
    "capthick", "size", "sizes", "fontsize", "labelsize", "title_fontsize", "length", "figsize", "dpi",
}  # fmt: skip
COLOURS = {
    "c", "color", "colors", "fc", "ec", "mfc", "mec", "facecolor", "facecolors", "edgecolor", "edgecolors",
    "markerfacecolor", "markeredgecolor", "labelcolor", "ecolor", "cmap",
}  # fmt: skip
POINTS = {"tick_params", "set_title"}  # whose pad is in points; elsewhere it is a share
HEX = r"#[0-9a-fA-F]{3,8}\b"
STYLES = pytest.mark.parametrize("style", [LIGHT, DARK], ids=lambda style: style.name)
# full protanopia, deuteranopia and tritanopia in linear RGB: Machado, Oliveira and Fernandes 2009, table 1
EYES = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]])


def own_looks(source: str) -> list[str]:
    """Every size, width or colour that is a value of the code's own, not one (or a multiple) of the style's."""
    found = []
    for name, value in settings(ast.parse(source)):
        if name in COLOURS and isinstance(value, ast.Constant) and value.value not in ("none", None):
            found.append(f"{name}={value.value!r}")
        values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else [value]
        if name in SIZES and any(is_number(each) for each in values):
            found.append(f"{name}={ast.unparse(value)}")
    return found


def settings(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of keywords, dictionary entries and setters; unnamed sizes of panels and formats of lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = zip(node.keys, node.values, strict=True)
            yield from ((key.value, value) for key, value in keys if isinstance(key, ast.Constant))
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for keyword in node.keywords:
            yield "size" if keyword.arg == "pad" and called in POINTS else keyword.arg or "", keyword.value
        if called.startswith("set_") and node.args:
            yield called.removeprefix("set_"), node.args[0]
        if called == "panels":
            yield from (("size", value) for value in node.args[:2])
        if called == "plot":
            formats = [a for a in node.args if isinstance(a, ast.Constant) and re.search("[bgrcmykw]", str(a.value))]
            yield from (("color", value) for value in formats)


def is_number(value: ast.expr) -> bool:
    """Whether it is arithmetic on numbers alone and not 0."""
    names = [node for node in ast.walk(value) if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Constant))]
    numbers = [node.value for node in names if isinstance(node, ast.Constant) and isinstance(node.value, (int, float))]
    return len(numbers) == len(names) > 0 and any(numbers)


@pytest.mark.parametrize("file", [*DRAWING, *CALLERS], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_only_the_style_names_sizes_and_colours(file: Path) -> None:
    source = file.read_text()
    assert own_looks(source) == []
    assert re.findall(HEX, source) == []


@pytest.mark.parametrize(
    "line",
    [
        "a.plot(x, y, ms=4)", "a.plot(x, y, markersize=0.5)", "a.plot(x, lw=1 / 2)", "a.plot(x, linewidth=.3)",
        "a.plot(x, mew=1)", "a.scatter(x, y, s=9)", "a.errorbar(x, y, capsize=2)", "a.text(0, 0, 't', fontsize=7)",
        "line.set_linewidth(2)", "line.set(lw=2)", "look = {'lw': 2}", "look = dict(ms=3)", "Figure(figsize=(4, 3))",
        "style.panels(style.half, 3.2)", "a.plot(x, y, color='red')", "a.plot(x, y, c='C0')", "a.plot(x, y, 'ro')",
        "a.scatter(x, y, ec='0.5')", "line.set_color('k')", "a.imshow(x, cmap='viridis')", "a.tick_params(pad=2)",
    ],
)  # fmt: skip
def test_a_look_of_ones_own_is_seen(line: str) -> None:
    assert len(own_looks(line)) == 1


def test_the_looks_of_the_style_are_free() -> None:
    free = "a.plot(x, y, 'o', ms=0.8 * style.dot, lw=0, color=style.ink, mec='none', alpha=0.5, ls=':', **look)"
    assert own_looks(free) == []


def test_nobody_else_has_global_state_or_computes_scores() -> None:
    forbidden = {
        "global state": r"pyplot|rcParams|style\.use",
        "a score": r"polyfit|corrcoef|lstsq|linalg|np\.(nan)?(mean|std|var)\b|\.(mean|std|var)\(",
    }
    for file in DRAWING:
        for what, pattern in forbidden.items():
            found = re.search(pattern, file.read_text())
            assert found is None, f"{file.name} has {what}: {found}"


@pytest.mark.parametrize("file", sorted((SOURCE.parent / "report").glob("*.[ch]*")), ids=lambda file: file.name)
def test_the_page_takes_its_colours_from_the_style(file: Path) -> None:
    assert re.findall(HEX, file.read_text()) == []


@STYLES
def test_text_is_readable_on_paper(style: FigureStyle) -> None:
    assert contrast(style.ink, style.paper) > 10
    assert contrast(style.muted, style.paper) > 4.5
    assert min(contrast(colour, style.paper) for colour in style.rungs.values()) > 3
    assert min(contrast(colour, style.paper) for colour in style.hues) > 2


@STYLES
@pytest.mark.parametrize("eye", EYES)
def test_hues_stay_apart_for_every_eye(style: FigureStyle, eye: str) -> None:
    """Categories use all hues at once; 15 is several times what one just notices (about 2.3) in CIELAB."""
    together = {"hues": style.hues, "rungs": style.rungs.values(), "ends": (style.excitatory, style.inhibitory)}
    for what, colours in together.items():
        apart = {pair: np.linalg.norm(lab(pair[0], eye) - lab(pair[1], eye)) for pair in combinations(colours, 2)}
        nearest = min(apart, key=lambda pair: apart[pair])
        assert apart[nearest] > 15, (what, nearest)


@STYLES
@pytest.mark.parametrize("eye", EYES)
def test_lightness_follows_the_values_of_every_colour_map(style: FigureStyle, eye: str) -> None:
    roles = style.palette.values()
    sequential = [style.luminance_map, *map(style.ramp, style.rungs.values()), *map(style.density, roles)]
    one_way = [lightness(scale, eye) for scale in sequential if scale.name not in ("density paper", "density shade")]
    for signed in (style.signed_map, style.share_map):
        middle = lightness(signed, eye)[128]
        halves = lightness(signed, eye)[:128], lightness(signed, eye)[128:]
        assert np.sign(halves[0][0] - middle) == np.sign(halves[1][-1] - middle), signed.name  # both ends stand out
        one_way += halves
    for values in one_way:
        steps = np.diff(values)
        assert abs(values[-1] - values[0]) > 15
        assert np.all(steps * np.sign(values[-1] - values[0]) > -1e-6)


def linear(colour: str | np.ndarray) -> np.ndarray:
    """Linear RGB of sRGB colours."""
    rgb = mpl.colors.to_rgba_array(colour)[:, :3]
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour: str | np.ndarray, eye: str) -> np.ndarray:
    """CIELAB (D65) of colours as an eye sees them, (..., 3)."""
    seen = np.clip(linear(colour) @ np.transpose(EYES[eye]), 0, 1)
    part = seen @ XYZ.T / XYZ.sum(axis=1)
    x, y, z = np.where(part > 216 / 24389, np.cbrt(part), (24389 / 27 * part + 16) / 116).T
    return np.squeeze(np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1))


def lightness(scale: Colormap, eye: str) -> np.ndarray:
    return lab(scale(np.arange(256)), eye)[:, 0]


def contrast(first: str, second: str) -> float:
    high, low = sorted(((linear(c) @ XYZ[1]).item() for c in (first, second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_are_measured_as_published() -> None:
    assert lab("#ffffff", "normal") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("#ff0000", "normal") == pytest.approx([53.24, 80.09, 67.20], abs=0.02)  # the usual sRGB red in CIELAB
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for eye in EYES:
        assert lab("#808080", eye)[1:] == pytest.approx([0, 0], abs=0.02)  # grey is grey to everyone
