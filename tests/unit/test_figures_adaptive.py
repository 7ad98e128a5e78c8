"""One SVG for both looks: in the dark it is what would have been drawn in the dark style, and it is small."""

import re
from base64 import b64decode, b64encode
from dataclasses import replace
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lobula.figures import DARK, LIGHT, compact_svg, darken_bitmaps, has_bitmaps
from support.gallery import draw_all

FLAT = [replace(style, most_points=0, bitmap_dpi=40) for style in (LIGHT, DARK)]  # every cloud is a bitmap


def as_seen(svg: str, look: str) -> list[tuple]:
    """Every element that a reader with that preference sees: its name and attributes, bitmaps as pixels."""
    root = ElementTree.fromstring(svg)
    sheet = next(root.iter("{http://www.w3.org/2000/svg}style")).text or ""
    light, _, dark = sheet.partition("@media(prefers-color-scheme:dark)")
    colours = dict(re.findall(r"--([\w-]+):(#\w+)", dark if look == "dark" else light))
    seen: list[tuple] = []
    for element in root.iter():
        facts = {key: value for key, value in element.attrib.items() if key not in ("id", "clip-path", "class")}
        if element.tag.endswith("style") or element.get("class", look) != look:
            continue
        if element.tag.endswith("image"):
            picture = Image.open(BytesIO(b64decode(facts.pop("href").partition(",")[2]))).convert("RGBA")
            facts["href"] = np.asarray(picture).tobytes().hex()
        elif facts.get("href", "").startswith("#m"):  # markers are named after their colours
            del facts["href"]
        if "style" in facts:
            facts["style"] = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], facts["style"])
        seen.append((element.tag, tuple(sorted(facts.items()))))
    return seen


def test_in_the_dark_it_is_the_figure_of_the_dark_style() -> None:
    light, dark = FLAT
    light_figures, dark_figures = (draw_all(style, np.random.default_rng(3)) for style in FLAT)
    bitmaps = 0
    for name, (figure, _) in light_figures.items():
        other_figure, _ = dark_figures[name]
        for each in (figure, other_figure):
            each.set_layout_engine("none")  # takes half of the time
        svg = light.save(figure, "svg")
        darken_bitmaps(figure)
        followed = compact_svg(svg, dark.save(figure, "svg") if has_bitmaps(svg) else b"")
        other = dark.save(other_figure, "svg")
        assert as_seen(followed, "light") == as_seen(compact_svg(svg), "light"), name
        assert as_seen(followed, "dark") == as_seen(compact_svg(other), "dark"), name
        assert re.findall(r"(?<!:)#[0-9a-f]{6}", followed) == [], f"{name} has a colour that cannot change"
        assert len(followed) < len(svg) + len(other)
        bitmaps += followed.count('class="dark"')
    assert bitmaps > 20


def test_a_role_of_two_names_is_one_colour_in_each_style() -> None:
    assert list(LIGHT.palette) == list(DARK.palette)
    for colour in set(LIGHT.palette.values()):
        roles = [role for role, known in LIGHT.palette.items() if known == colour]
        assert len({DARK.palette[role] for role in roles}) == 1, roles
    for style in (LIGHT, DARK):
        for cmap in (LIGHT.ramp(LIGHT.hues[0]), LIGHT.density(LIGHT.muted), LIGHT.signed_map, LIGHT.share_map):
            own = style.counterpart(cmap)
            assert own.name == cmap.name
            assert style is DARK or np.array_equal(own(np.linspace(0, 1, 9)), cmap(np.linspace(0, 1, 9)))


def picture_svg(pixels: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, "png")
    href = f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names}><metadata/><g id="unused">\n <image xlink:href="{href}" x="1.23456"/>\n</g></svg>'.encode()


@pytest.mark.parametrize("n_colours", [1, 200, 5_000])
def test_bitmaps_keep_their_colours(n_colours: int, rng: np.random.Generator) -> None:
    palette = rng.integers(0, 256, (n_colours, 4)).astype(np.uint8)
    pixels = palette[rng.integers(0, n_colours, (60, 90))]
    small = compact_svg(picture_svg(pixels))
    assert 'id="unused"' not in small
    assert 'x="1.23"' in small
    data = re.search(r"base64,([^\"]*)", small)
    assert data is not None
    picture = Image.open(BytesIO(b64decode(data[1])))
    assert picture.mode == "P"
    error = np.abs(np.asarray(picture.convert("RGBA")).astype(int) - pixels)
    assert error.max() == 0 if n_colours <= 256 else error.mean() < 25
