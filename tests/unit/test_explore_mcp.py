"""The MCP server as an agent client meets it: a process of its own, spoken to over its stdin and stdout."""

import asyncio
import json
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import pytest

from lobula.exploration import inbox
from support.agents import GOOD

mcp = pytest.importorskip("mcp")
SERVER = Path(__file__).parent.parent / "support" / "mcp_study.py"
SOURCE = Path(__file__).parent.parent.parent / "src"

Talk = Callable[[Any], Awaitable[Any]]


def session(folder: Path, talk: Talk, wait_s: float = 60.0) -> Any:
    """What comes of talking to a server process."""
    parameters = mcp.StdioServerParameters(
        command=sys.executable, args=[str(SERVER), str(folder), str(wait_s)], env={"PYTHONPATH": str(SOURCE)}
    )

    async def run() -> Any:
        with (folder / "stderr.log").open("w") as log:
            async with mcp.Client(mcp.stdio_client(parameters, errlog=log)) as client:
                return await asyncio.wait_for(talk(client), 120)

    return asyncio.run(run())


async def call(client: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool's result."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


class Controller(threading.Thread):
    """Answers requests, as the controller of a running study does between its other work."""

    def __init__(self, folder: Path, answers: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.folder, self.answers, self.seen = folder, answers, []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for request in inbox.pending(self.folder):
                self.seen.append((request.kind, dict(request.content)))
                inbox.answer(self.folder, request.id, self.answers[request.kind])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def test_a_client_reads_a_study(tmp_path: Path) -> None:
    async def talk(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"get_context", "get_space", "propose", "get_run", "get_diff", "why", "note", "stop"}
        assert all(tool.description for tool in tools.values())
        context = await call(client, "get_context", parents=[2], strategy="explore", n=2)
        assert context["request"] == {"parents": [2], "strategy": "explore", "n": 2}
        assert context["best"]["id"] == 2
        assert [node["id"] for node in context["tree"]["nodes"]] == [1, 2, 3]
        assert context["waiting"] == []
        space = (await call(client, "get_space"))["space"]
        assert [row["path"] for row in space][:2] == ["training.lr", "training.warmup_fraction"]
        run = await call(client, "get_run", run=4)
        assert (run["node"], run["state"], run["error"]) == (3, "nan", "ended as nan")
        told = await call(client, "why", node=2)
        assert told["hypothesis"] == "smooth"
        assert told["predicted"]["predicted_sign"] == 1
        assert told["found"] == {"pairs": 1, "gnn.W.r2": 0.25}
        assert (told["children"], [one["id"] for one in told["ancestors"]]) == ([3], [1])
        assert len(told["run_list"]) == 2
        changed = (await call(client, "get_diff", node=3))["fields"]
        assert {row["path"]: (row["old"], row["new"]) for row in changed} == {
            "model.activation": ("relu", "tanh"),
            "training.lr": (0.002, 0.1),
        }
        changed = (await call(client, "get_diff", node=3, other=2))["fields"]
        assert changed == [{"path": "training.lr", "old": 0.004, "new": 0.1}]

    session(tmp_path, talk)


def test_a_client_proposes_notes_and_stops(tmp_path: Path) -> None:
    answers = {
        "propose": {"verdict": "rejected", "reason": "old: got 0.002, the parent has 0.004"},
        "note": {"verdict": "done"},
        "stop": {"verdict": "done"},
    }

    async def talk(client: Any) -> None:
        refused = await call(client, "propose", proposal=GOOD)
        assert (refused["verdict"], refused["reason"]) == ("rejected", answers["propose"]["reason"])
        assert (await call(client, "note", node=2, text="smooth is better"))["verdict"] == "done"
        assert (await call(client, "note", text="a principle"))["verdict"] == "done"
        assert (await call(client, "propose", proposal={"kind": "stop", "reason": "enough"}))["verdict"] == "done"

    with Controller(tmp_path, answers) as controller:
        session(tmp_path, talk)
    kinds = [kind for kind, _ in controller.seen]
    assert kinds == ["propose", "note", "note", "stop"]
    assert controller.seen[0][1]["proposer"] == "mcp"
    assert controller.seen[0][1]["proposal"]["changes"] == GOOD["changes"]
    assert controller.seen[1][1]["node"] == 2
    assert controller.seen[3][1]["reason"] == "enough"


def test_without_a_controller_a_request_waits_and_is_not_lost(tmp_path: Path) -> None:
    async def talk(client: Any) -> None:
        waiting = await call(client, "propose", proposal=GOOD)
        assert waiting["verdict"] == "waiting"
        context = await call(client, "get_context")
        assert context["waiting"] == [{"request": waiting["request"], "kind": "propose"}]

    session(tmp_path, talk, wait_s=0.2)
    [request] = inbox.pending(tmp_path)
    assert request.kind == "propose"


def test_mistakes_are_one_line_for_the_client_and_leave_nothing(tmp_path: Path) -> None:
    cases = [
        ("propose", {"proposal": {**GOOD, "changes": []}}, "changes"),
        ("propose", {"proposal": {"kind": "magic"}}, "magic"),
        ("get_run", {"run": 99}, "run 99: no such run, expected one of 1 to 4"),
        ("why", {"node": 99}, "node 99: no such node, expected one of 1 to 3"),
        ("get_diff", {"node": 1, "other": 42}, "node 42: no such node"),
        ("note", {"node": 17, "text": "?"}, "node 17: no such node"),
    ]

    async def talk(client: Any) -> None:
        for tool, arguments, words in cases:
            result = await client.call_tool(tool, arguments)
            assert result.is_error, tool
            assert words in result.content[0].text
            assert "Traceback" not in result.content[0].text

    session(tmp_path, talk)
    assert inbox.pending(tmp_path) == []
