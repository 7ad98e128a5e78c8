"""One SVG for light and dark paper: it follows its reader, without a script and without drawing everything twice.

Colours of the light style become variables that have their dark values where dark is preferred. What is a bitmap inside
the SVG (images, clouds of many points) is there in both looks, and one of them is shown.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from lobula.figures.style import DARK, LIGHT, FigureStyle

_PNG = "data:image/png;base64,"
_MOST_COLOURS = 256
_ROLES = {colour: role for role, colour in reversed(LIGHT.palette.items())}
_COMMAND = re.compile(r"\s*([MLQCz])\s*")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_SHIFT = re.compile(r"translate\((\S+) 0\)")


def darken_bitmaps(figure: Figure) -> None:
    """Leave nothing visible of a light figure but what becomes a bitmap, in the dark style's colours.

    Args:
        figure: changed; has been saved before, so that its panels have their places.
    """
    for axes in figure.axes:
        clouds = [part for part in axes.collections if part.get_rasterized()]
        for image in axes.images:
            image.set_cmap(DARK.counterpart(image.get_cmap()))
        for cloud in clouds:
            _darken(cloud)
        for part in axes.get_children():
            part.set_visible(part in (*axes.images, *clouds) and part.get_visible())
    for part in figure.get_children():
        part.set_visible(part in figure.axes and part.get_visible())


def _darken(cloud: Collection) -> None:
    """Exchanges the colour map, and single colours."""
    if cloud.get_array() is not None:
        cloud.set_cmap(DARK.counterpart(cloud.get_cmap()))
    for colours, change in ((cloud.get_facecolor(), cloud.set_facecolor), (cloud.get_edgecolor(), cloud.set_edgecolor)):
        roles = [_ROLES.get(to_hex(colour)) for colour in colours]
        if roles and all(roles):  # others come from the colour map
            change([(DARK.palette[str(role)], colour[3]) for role, colour in zip(roles, colours, strict=True)])


def has_bitmaps(svg: bytes) -> bool:
    """Whether there is a bitmap in an SVG."""
    return b"<image" in svg


def compact_svg(svg: bytes, bitmaps: bytes | None = None) -> str:
    """The same picture in fewer characters; light or dark as its reader prefers, if the dark bitmaps are there.

    Names that nothing refers to go, lengths keep hundredths of a point, bitmaps keep 256 colours.

    Args:
        svg: of a figure, in the light style if it is to follow its reader.
        bitmaps: SVG of the figure after `darken_bitmaps`; empty if it has none; None for an SVG of one look.
    """
    root = _compact(ElementTree.fromstring(svg))
    if bitmaps is not None:
        _follow_reader(root, _compact(ElementTree.fromstring(bitmaps)) if bitmaps else ElementTree.Element("svg"))
    return ElementTree.tostring(root, encoding="unicode")


def _compact(root: ElementTree.Element) -> ElementTree.Element:
    """Shortens every element; the names of the SVG's own language need no prefix."""
    root.remove(root[0])  # metadata
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.text.strip() if element.text else None
        element.tail = None
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if element.tag in ("g", "image"):
            attributes.pop("id", None)
        element.attrib.clear()
        element.attrib.update({key: _shortened(key, value) for key, value in attributes.items()})
        shift = _SHIFT.fullmatch(element.get("transform", "")) if element.tag == "use" else None
        if shift:
            del element.attrib["transform"]
            element.set("x", shift[1])
    root.set("xmlns", "http://www.w3.org/2000/svg")
    return root


def _shortened(key: str, value: str) -> str:
    if value.startswith(_PNG):
        return _PNG + b64encode(_few_colours(b64decode(value[len(_PNG) :]))).decode()
    value = _LONG_NUMBER.sub(_rounded, value).replace("DejaVuSans-", "")
    if key == "d":
        return _COMMAND.sub(r"\1", value).replace("\n", " ").strip()
    return value.replace(": ", ":").replace("; ", ";") if key == "style" else value


def _rounded(number: re.Match[str]) -> str:
    value = float(number[0])
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}".rstrip("0").rstrip(".")


def _few_colours(png: bytes) -> bytes:
    """A bitmap with a palette: its own colours where they are few, else the nearest of an octree."""
    picture = Image.open(BytesIO(png)).convert("RGBA")
    counted = picture.getcolors(_MOST_COLOURS)
    if counted is None:
        picture = picture.quantize(_MOST_COLOURS, method=Image.Quantize.FASTOCTREE)
    else:
        colours = np.sort(np.array([colour for _, colour in counted], np.uint8).view(np.uint32)[:, 0])
        place = np.searchsorted(colours, np.asarray(picture).view(np.uint32)[..., 0])
        picture = Image.fromarray(place.astype(np.uint8), "P")
        picture.putpalette(colours.view(np.uint8).tobytes(), "RGBA")
    content = BytesIO()
    picture.save(content, "png")
    return content.getvalue()


def _follow_reader(root: ElementTree.Element, dark: ElementTree.Element) -> None:
    """Adds the dark bitmaps and the dark colours."""
    pairs = [(parent, image) for parent in root.iter() for image in parent.findall("image")]
    for (parent, image), other in zip(pairs, dark.iter("image"), strict=True):
        image.set("class", "light")
        other.set("class", "dark")
        parent.insert(list(parent).index(image) + 1, other)
    used: dict[str, None] = {}

    def variable(found: re.Match[str]) -> str:
        role = _ROLES.get(found[0])
        if role is None:
            return found[0]
        used[role] = None
        return f"var(--{role})"

    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", _COLOUR.sub(variable, element.attrib["style"]))
    sheet = next(root.iter("style"))
    prefers = f"svg{{{_variables(DARK, used)}}}.light{{display:none}}.dark{{display:inline}}"
    light = f"svg{{{_variables(LIGHT, used)}}}.dark{{display:none}}"
    sheet.text = f"{sheet.text}{light}@media(prefers-color-scheme:dark){{{prefers}}}"


def _variables(style: FigureStyle, roles: Iterable[str]) -> str:
    return ";".join(f"--{role}:{style.palette[role]}" for role in roles)
