"""The report in a real browser: everything loads, nothing overflows, on a laptop and on a phone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lobula.figures import DARK, LIGHT, FigureStyle, compact_svg, darken_bitmaps, types_in_plane
from lobula.report.files import data_uri, svg_uri
from lobula.report.run import make_report
from support.synthetic_run import make_run

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
)  # fmt: skip
FAMILIES = (
    "weights_ridge",
    "weights_gnn",
    "update_curves",
    "raw_and_corrected",
    "slopes",
    "embedding_gnn",
    "training_summary",
)
PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, images = [...document.images];
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".frame, .scroll, nav, pre")
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className);
  for (const image of images.filter(i => !(i.naturalWidth > 0))) console.error("not loaded: " + image.alt);
  root.dataset.result = [innerWidth, root.scrollWidth, images.length, images.filter(i => i.naturalWidth > 0).length,
    getComputedStyle(document.body).backgroundColor, wide.join(" ")].join("|");
});</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """Path of a Chromium, or the test is skipped."""
    found = os.environ.get("LOBULA_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no chromium here (apt-get install chromium, or set LOBULA_CHROMIUM)")
    return found


@pytest.fixture(scope="module")
def page(browser: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of all three estimators, with network, training and read-out, and a probe in it."""
    run = make_run(tmp_path_factory.mktemp("browser") / "run", extent=1)
    page = make_report(run)
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    return page


def look(browser: str, page: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What the browser has on its screen, as HTML on stdout, and what it logs on stderr."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [browser, *QUIET, *sandbox, f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def complaints(seen: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines that the page has written to the console: errors, warnings, images that did not load."""
    return [line for line in seen.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", [1280, 520])
def test_everything_loads_and_nothing_overflows(browser: str, page: Path, tmp_path: Path, width: int) -> None:
    seen = look(browser, page, tmp_path, f"--window-size={width},1000", "--dump-dom")
    assert complaints(seen) == []
    result = re.search(r'data-result="([^"]*)"', seen.stdout)
    assert result is not None
    inner, scrolled, n_images, n_loaded, background, wide = result[1].split("|")
    assert int(inner) == width
    assert int(scrolled) <= width, wide
    assert wide == ""
    assert int(n_images) == int(n_loaded) == len(figures(page)) + 1  # and the opening
    assert background == "rgb(255, 255, 255)"


def test_every_family_of_figures_is_on_the_page(page: Path) -> None:
    assert set(FAMILIES) <= figures(page)


def figures(page: Path) -> set[str]:
    """Names of the figures of a report, which leave a CSV each."""
    return {file.stem for file in (page.parent / "figures").glob("*.csv")}


@pytest.mark.parametrize(
    "fault",
    [
        "<script>console.error('broken')</script>",
        "<script>missing()</script>",
        "<img alt=gone src='figures/none.png'>",
        "<img alt=torn src='data:image/svg+xml,%3Csvg'>",
    ],
)
def test_a_faulty_page_is_seen(browser: str, tmp_path: Path, fault: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<body>{fault}{PROBE}</body>")
    assert len(complaints(look(browser, page, tmp_path, "--dump-dom"))) > 0


def test_dark_readers_get_dark_figures(browser: str, page: Path, tmp_path: Path) -> None:
    dark = look(browser, page, tmp_path, "--blink-settings=preferredColorScheme=0", "--dump-dom").stdout
    assert "rgb(22, 28, 36)" in dark


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=lambda style: style.name)
def test_compact_figures_look_like_those_of_their_style(browser: str, tmp_path: Path, style: FigureStyle) -> None:
    rng, pictures = np.random.default_rng(0), []
    clouds = rng.standard_normal((3, 1_500))
    names = ["L1", "Mi1", "T4a"]
    for drawn in (LIGHT, style):
        figure, _ = types_in_plane(*clouds[:2], np.arange(1_500) % 3, names, drawn, labels=("first", "second"))
        pictures.append((figure, drawn.save(figure, "svg")))
    (figure, light), (_, plain) = pictures
    darken_bitmaps(figure)
    sources = svg_uri(compact_svg(light, DARK.save(figure, "svg"))), data_uri(plain, "image/svg+xml")
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    images = [f'<img src="{uri}" style="position:absolute;top:0;left:{600 * k}px">' for k, uri in enumerate(sources)]
    page.write_text("<meta name=color-scheme content='light dark'>" + "".join(images))
    preference = f"--blink-settings=preferredColorScheme={int(style is LIGHT)}"
    look(browser, page, tmp_path, preference, "--window-size=1400,600", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    width, height = round(96 * style.half), round(0.86 * 96 * style.half)
    first, second = pixels[:height, :width], pixels[:height, 600 : 600 + width]
    assert second.std() > 20
    assert np.abs(first - second).mean() < 1.0


def test_a_screenshot_is_not_empty(browser: str, page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "report.png"
    look(browser, page, tmp_path, "--window-size=1280,2000", f"--screenshot={shot}")
    assert shot.stat().st_size > 50_000
