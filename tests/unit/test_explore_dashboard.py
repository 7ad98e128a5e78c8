"""The dashboard's data, its page as one file, and its server: what it says, and whom it refuses."""

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lobula.errors import EngineError, JournalError
from lobula.exploration.dashboard.data import study_data
from lobula.exploration.dashboard.importance import ENOUGH_RUNS
from lobula.exploration.dashboard.page import export_page, live_page, static_page
from lobula.exploration.dashboard.server import Dashboard
from lobula.exploration.records import EventRecord, NodeRecord, RunRecord, RunState, SeedPair, Snapshot
from support.explored import make_snapshot, make_study


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return make_snapshot(40, n_live=3)


@pytest.fixture(scope="module")
def data(snapshot: Snapshot) -> dict[str, Any]:
    return study_data(snapshot, "- be careful\n- [acknowledged 2026-01-01 00:00:00 UTC] hello\n")


def test_the_data_are_json_and_hold_every_node_and_run(snapshot: Snapshot, data: dict[str, Any]) -> None:
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [node["id"] for node in data["nodes"]] == [node.id for node in snapshot.nodes]
    assert [run["id"] for run in data["runs"]] == [run.id for run in snapshot.runs]
    assert data["budget"]["pending"] == 3
    assert data["budget"]["failed"] == 3
    assert data["inbox"]["pending"] == ["be careful"]
    assert len(data["inbox"]["acknowledged"]) == 1
    assert data["proposals"]["agent: rejected"] == 1
    assert study_data(snapshot) == study_data(snapshot)


def test_a_node_says_why_it_was_tried_and_what_came_of_it(data: dict[str, Any]) -> None:
    node = next(node for node in data["nodes"] if node["n"] == 3)
    assert node["hypothesis"]
    assert node["predicted"] == 1
    assert node["changes"][0][1:] == [str(old_new) for old_new in node["changes"][0][1:]]
    assert node["verdict"]["n_runs"] == 3
    assert node["against_parent"]["n"] == 1
    scores = [run["score"] for run in data["runs"] if run["config"] == node["config"]]
    assert node["score"] == pytest.approx(sum(scores) / 3)


def test_the_front_holds_what_nothing_beats_in_both(data: dict[str, Any]) -> None:
    front = [row for row in data["pareto"] if row["front"]]
    assert 0 < len(front) < len(data["pareto"])
    for row in data["pareto"]:
        beaten = any(o["score"] > row["score"] and o["seconds"] < row["seconds"] for o in data["pareto"])
        assert beaten is False or row["front"] is False
        assert row["front"] or any(o["score"] >= row["score"] and o["seconds"] <= row["seconds"] for o in front)


def test_lower_is_better_keeps_its_sign_everywhere() -> None:
    study = make_study(objective={"metric": "gnn.W.rmse", "direction": "lower", "converged": 0.1, "failed": 0.5})
    whole = make_snapshot(3, study=study)
    values = (0.3, 0.05, 0.2)
    runs = tuple(replace(run, metrics={"gnn.W.rmse": v}) for run, v in zip(whole.runs, values, strict=True))
    found = study_data(replace(whole, runs=runs))
    assert [node["score"] for node in found["nodes"]] == list(values)
    assert found["intervals"][0]["node"] == 2
    assert found["intervals"][0]["raw"] == 0.05
    assert all(row["low"] <= row["mean"] <= row["high"] for row in found["intervals"])
    assert {row["value"] for row in found["ucb"]} == set(values)
    assert found["pareto"][1]["front"]


def planted(n: int) -> Snapshot:
    """Scores that follow lr alone; hidden_dim is varied for nothing."""
    study = make_study(space=["training.lr", "model.hidden_dim"])
    nodes, runs = [], []
    for i in range(1, n + 1):
        values = {"training.lr": 1e-4 * 1.2**i, "model.hidden_dim": (16, 32, 64)[i % 3]}
        nodes.append(NodeRecord(i, 0, None, (), f"c{i}", values, (), "random", "random"))
        score = {"gnn.W.r2": 0.03 * i}
        runs.append(RunRecord(i, i, f"c{i}", SeedPair(0, 0, 0), RunState.SCORED, metrics=score, started=0.0, ended=1.0))
    return Snapshot(study, tuple(nodes), tuple(runs))


def test_importance_finds_the_field_that_matters() -> None:
    found = study_data(planted(30))["importance"]
    assert [row["path"] for row in found["rows"]] == ["training.lr", "model.hidden_dim"]
    assert found["rows"][0]["mean"] > 10 * abs(found["rows"][1]["mean"])
    assert found["explained"] > 0.5
    assert found["note"] == ""


def test_importance_says_when_it_cannot_tell() -> None:
    few = study_data(planted(ENOUGH_RUNS - 1))["importance"]
    assert few["rows"] == []
    assert "Too little to tell: 15 scored runs" in few["note"]
    noise = planted(40)
    shuffled = [0.1 * ((7 * i * i) % 11) for i in range(40)]
    runs = tuple(replace(r, metrics={"gnn.W.r2": v}) for r, v in zip(noise.runs, shuffled, strict=True))
    assert "read nothing into it" in study_data(replace(noise, runs=runs))["importance"]["note"]


def test_an_empty_study_has_a_page() -> None:
    found = study_data(Snapshot(make_study()))
    assert found["nodes"] == found["pareto"] == found["dimensions"] == []
    assert "no field has been varied" in found["importance"]["note"]
    assert "made-up" in static_page(found)


def test_the_exported_page_is_one_file_that_nothing_breaks_out_of(snapshot: Snapshot, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    nodes = (replace(snapshot.nodes[0], hypothesis=evil, note=evil), *snapshot.nodes[1:])
    events = (EventRecord(1, 0.0, "note", "node 1", {"text": evil}, "x"),)
    path = export_page(study_data(replace(snapshot, nodes=nodes, events=events), evil), tmp_path / "new" / "page.html")
    page = path.read_text()
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    embedded = json.loads(re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert embedded["nodes"][0]["hypothesis"] == evil
    assert not re.search(r'(src|href)="(?!#)', page)
    assert not re.findall(r"https?://(?!www\.w3\.org)", page)
    assert "default-src 'none'" in page


@pytest.fixture
def messages() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def served(data: dict[str, Any], messages: list[tuple[str, str]]) -> Iterator[Dashboard]:
    with Dashboard(lambda: data, lambda kind, text: messages.append((kind, text))) as dashboard:
        yield dashboard


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and JSON or text of an answer."""
    content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, content, kind | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, found, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, found, text = error.code, error.headers, error.read().decode()
    return status, found, json.loads(text) if text.startswith("{") else text


def test_the_server_gives_page_and_data_and_says_when_nothing_is_new(served: Dashboard, data: dict[str, Any]) -> None:
    status, headers, page = ask(served.url)
    assert (status, headers["X-Frame-Options"]) == (200, "DENY")
    assert page == live_page("study", can_post=True)
    assert 'data-mode="steer"' in page
    status, headers, found = ask(served.url + "data.json")
    assert (status, found) == (200, data)
    assert ask(served.url + "data.json", **{"If-None-Match": headers["ETag"]})[0] == 304
    assert ask(served.url + "journal.sqlite")[0] == 404
    assert served.url.startswith("http://127.0.0.1:")


def test_notes_and_stop_reach_the_study(served: Dashboard, messages: list[tuple[str, str]]) -> None:
    assert ask(served.url + "inbox", {"kind": "note", "text": "try more"})[0] == 200
    assert ask(served.url + "inbox", {"kind": "stop", "text": ""})[0] == 200
    assert messages == [("note", "try more"), ("stop", "")]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"kind": "note", "text": "x"}, {"Host": "evil.example"}, 403),
        ({"kind": "note", "text": "x"}, {"Origin": "http://evil.example"}, 403),
        ({"kind": "note", "text": "x"}, {"Content-Type": "text/plain"}, 404),
        ({"kind": "delete", "text": "x"}, {}, 400),
        ({"kind": "note", "text": " "}, {}, 400),
        ({"kind": "note", "text": 3}, {}, 400),
        (b"{not json", {}, 400),
        (b'["note"]', {}, 400),
        (b'{"kind": "note", "text": "' + b"x" * 20_000 + b'"}', {}, 413),
    ],
)
def test_other_messages_are_refused(
    served: Dashboard, messages: list[tuple[str, str]], body: Any, headers: dict[str, str], status: int
) -> None:
    found, _, answer = ask(served.url + "inbox", body, **headers)
    assert found == status
    assert answer["error"]
    assert messages == []


def test_other_pages_cannot_read_the_data(served: Dashboard) -> None:
    assert ask(served.url + "data.json", Host="evil.example:80")[0] == 403
    assert ask(served.url + "data.json", Origin="http://evil.example")[0] == 403


def test_a_read_only_page_takes_nothing_and_a_failing_study_is_told() -> None:
    def broken() -> dict[str, Any]:
        raise JournalError("journal.sqlite: damaged")

    with Dashboard(broken) as dashboard:
        assert 'data-mode="watch"' in ask(dashboard.url)[2]
        assert ask(dashboard.url + "inbox", {"kind": "note", "text": "x"})[0] == 405
        status, _, answer = ask(dashboard.url + "data.json")
        assert (status, answer["error"]) == (503, "journal.sqlite: damaged")


def test_the_study_is_not_asked_more_often_than_needed() -> None:
    calls: list[float] = []

    def counted() -> dict[str, Any]:
        calls.append(time.monotonic())
        return {}

    with Dashboard(counted, lambda kind, text: None) as dashboard:
        for _ in range(5):
            ask(dashboard.url + "data.json")
        assert len(calls) <= 2
        before = len(calls)
        ask(dashboard.url + "inbox", {"kind": "note", "text": "x"})
        ask(dashboard.url + "data.json")
        assert len(calls) > before  # a message is seen at once


def test_a_taken_port_is_an_error_and_a_closed_one_is_free() -> None:
    with Dashboard(dict) as dashboard:
        with pytest.raises(EngineError, match="cannot listen"):
            Dashboard(dict, port=dashboard.port)
        port = dashboard.port
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
