"""The report in a real browser: everything loads, nothing overflows, on a laptop and on a phone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lobula.report.run import make_report
from support.synthetic_run import make_run

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, images = [...document.images];
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".frame, .scroll, nav, pre")
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className);
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
    """A report with a probe in it."""
    run = make_run(tmp_path_factory.mktemp("browser") / "run", extent=1, rungs=("spline",), report={"formats": ["png"]})
    page = make_report(run)
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    return page


def look(browser: str, page: Path, tmp_path: Path, *options: str) -> str:
    """What the browser has on its screen, as HTML."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [browser, *QUIET, *sandbox, f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [1280, 520])
def test_everything_loads_and_nothing_overflows(browser: str, page: Path, tmp_path: Path, width: int) -> None:
    dom = look(browser, page, tmp_path, f"--window-size={width},1000", "--dump-dom")
    result = re.search(r'data-result="([^"]*)"', dom)
    assert result is not None
    inner, scrolled, n_images, n_loaded, background, wide = result[1].split("|")
    assert int(inner) == width
    assert int(scrolled) <= width, wide
    assert wide == ""
    assert int(n_images) == int(n_loaded) == 22
    assert background == "rgb(255, 255, 255)"


def test_dark_readers_get_dark_figures(browser: str, page: Path, tmp_path: Path) -> None:
    dark = look(browser, page, tmp_path, "--blink-settings=preferredColorScheme=0", "--dump-dom")
    assert "rgb(22, 28, 36)" in dark


def test_a_screenshot_is_not_empty(browser: str, page: Path, tmp_path: Path) -> None:
    shot = tmp_path / "report.png"
    look(browser, page, tmp_path, "--window-size=1280,2000", f"--screenshot={shot}")
    assert shot.stat().st_size > 50_000
