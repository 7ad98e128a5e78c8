"""The dashboard in a real browser: no errors, wide and narrow, by pointer and keyboard, live and exported."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lobula.exploration.dashboard.data import study_data
from lobula.exploration.dashboard.page import static_page
from lobula.exploration.dashboard.server import Dashboard
from lobula.exploration.records import Snapshot
from support.explored import make_snapshot, make_study

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
WATCH = """<script>const wrong = []; addEventListener("error", e => wrong.push(e.message));
addEventListener("securitypolicyviolation", e => wrong.push(e.violatedDirective));</script>"""
PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, count = (query) => document.querySelectorAll(query).length;
  const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, nav, .outline, svg")
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className);
  const result = { inner: innerWidth, scrolled: root.scrollWidth, wide: wide.join(" "), rows: count(".row"),
    progress: count("#progress [role=button]"), runs: count("#run-table tbody tr"), bars: count("#importance rect"),
    background: getComputedStyle(document.body).backgroundColor, form: !document.getElementById("post").hidden,
    title: document.getElementById("name").textContent, chosen: document.querySelector("#why h3")?.textContent };
  const first = document.querySelector(".row");
  if (first) {
    first.focus(); press("ArrowDown"); press("Enter");
    result.byKey = document.querySelector("#why h3").textContent;
    result.kept = document.activeElement.dataset.key;
    document.querySelectorAll("#progress [role=button]")[4].dispatchEvent(new MouseEvent("click", { bubbles: true }));
    result.byClick = document.querySelector("#why h3").textContent;
    const score = () => document.querySelector("#run-table tbody td:nth-child(6)").textContent;
    document.querySelector('[data-key="sort-score"]').click(); result.best = score();
    document.querySelector('[data-key="sort-score"]').click(); result.worst = score();
    const select = document.getElementById("parameter");
    select.selectedIndex = 1; select.dispatchEvent(new Event("change"));
    result.axis = [...document.querySelectorAll("#scatter text")].pop().textContent;
  }
  result.wrong = wrong.join("; ");
  root.dataset.result = JSON.stringify(result);
});</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """Path of a Chromium, or the test is skipped."""
    found = os.environ.get("LOBULA_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no chromium here (apt-get install chromium, or set LOBULA_CHROMIUM)")
    return found


def look(browser: str, address: str, tmp_path: Path, *options: str) -> str:
    """What the browser has on its screen, as HTML."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [browser, *QUIET, *sandbox, f"--user-data-dir={tmp_path / 'profile'}", *options, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return study_data(make_snapshot(40, n_live=3), "- wait for me\n")


def probed(page: str) -> str:
    """A page that watches itself for errors and says what it holds."""
    return page.replace("<head>", "<head>" + WATCH, 1).replace("</body>", PROBE + "</body>")


def result_of(dom: str) -> dict[str, Any]:
    found = re.search(r'data-result="([^"]*)"', dom)
    assert found is not None
    return json.loads(html.unescape(found[1]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("width", [1280, 520])
def test_the_export_draws_and_answers(browser: str, data: dict[str, Any], tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    page.write_text(probed(static_page(data)))
    result = result_of(look(browser, page.as_uri(), tmp_path, f"--window-size={width},1000", "--dump-dom"))
    assert result["wrong"] == ""
    assert result["wide"] == ""
    assert result["scrolled"] <= result["inner"] == width
    assert (result["rows"], result["progress"], result["runs"]) == (36, 36, 40)
    assert result["bars"] == 4
    assert result["title"] == "made-up"
    assert result["form"] is False
    assert result["chosen"] == f"Node {data['intervals'][0]['node']}"
    assert (result["byKey"], result["kept"], result["byClick"]) == ("Node 2", "row-2", "Node 5")
    scores = sorted(run["score"] for run in data["runs"] if run["score"] is not None)
    assert (result["best"], result["worst"]) == (f"{scores[-1]:.4f}", f"{scores[0]:.4f}")
    assert result["axis"] == data["importance"]["rows"][1]["path"]
    assert result["background"] == "rgb(255, 255, 255)"


def test_dark_readers_get_a_dark_page(browser: str, data: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(probed(static_page(data)))
    dom = look(browser, page.as_uri(), tmp_path, "--blink-settings=preferredColorScheme=0", "--dump-dom")
    assert result_of(dom)["background"] == "rgb(22, 28, 36)"


@pytest.mark.parametrize("n_runs", [0, 1])
def test_a_study_that_begins_draws_without_errors(browser: str, tmp_path: Path, n_runs: int) -> None:
    snapshot = make_snapshot(1, n_live=1) if n_runs else Snapshot(make_study())
    page = tmp_path / "page.html"
    text = probed(static_page(study_data(snapshot)))
    page.write_text(text.partition("const first =")[0] + "const first = null;" + text.partition('.row");')[2])
    result = result_of(look(browser, page.as_uri(), tmp_path, "--dump-dom"))
    assert result["wrong"] == ""
    assert (result["rows"], result["runs"]) == (n_runs, n_runs)


def test_blocks_have_a_title_and_trees_of_their_own(browser: str, tmp_path: Path) -> None:
    study = make_study(blocks={"n_iter": 6, "path": "training.time_step", "values": [1, 4]})
    whole = make_snapshot(12, study=study)
    nodes = tuple(replace(node, block=int(node.id > 6)) for node in whole.nodes)  # parents stay in the first block
    page = tmp_path / "page.html"
    page.write_text(static_page(study_data(replace(whole, nodes=nodes, block=1))))
    dom = look(browser, page.as_uri(), tmp_path, "--dump-dom")
    first, _, second = dom.partition("Block 2: training.time_step = 4")
    assert "Block 1: training.time_step = 1" in first
    found = [sorted(int(n) for n in re.findall(r'data-key="row-(\d+)"', part)) for part in (first, second)]
    assert found == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]


@pytest.fixture
def messages() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def live(data: dict[str, Any], messages: list[tuple[str, str]]) -> Iterator[Dashboard]:
    with Dashboard(lambda: data, lambda kind, text: messages.append((kind, text))) as dashboard:
        yield dashboard


def test_the_live_page_fetches_its_data(browser: str, live: Dashboard, tmp_path: Path) -> None:
    dom = look(browser, live.url, tmp_path, "--virtual-time-budget=4000", "--dump-dom")
    assert dom.count('class="row"') == 36
    assert 'data-state="live"' in dom
    assert re.search(r'<form id="post">', dom)
    assert "wait for me" in dom


def test_a_note_is_sent_from_the_page(
    browser: str, live: Dashboard, messages: list[tuple[str, str]], tmp_path: Path
) -> None:
    act = """<script>addEventListener("load", () => setTimeout(() => {
      document.getElementById("text").value = "<b>more</b> seeds"; document.getElementById("post").requestSubmit();
    }, 500));</script></body>"""
    live._page = live.page.replace(b"</body>", act.encode())
    dom = look(browser, live.url, tmp_path, "--virtual-time-budget=6000", "--dump-dom")
    assert messages == [("note", "<b>more</b> seeds")]
    assert ">Sent.<" in dom


def test_a_screenshot_is_not_empty(browser: str, data: dict[str, Any], tmp_path: Path) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    page.write_text(static_page(data))
    look(browser, page.as_uri(), tmp_path, "--window-size=1280,2000", f"--screenshot={shot}")
    assert shot.stat().st_size > 50_000
