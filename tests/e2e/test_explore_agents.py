"""Studies driven by agents: a program that is killed half-way, recorded answers, a real MCP client."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lobula.exploration.folder import StudyFolder
from lobula.exploration.journal import Journal
from lobula.exploration.manage import read
from lobula.exploration.records import RunState
from support.toy_study import drive_toy, toy_study

TOY = Path(__file__).parents[1] / "support" / "toy_study.py"
AGENT = """
import json, os, pathlib, signal, sys
context = json.load(sys.stdin)
count = pathlib.Path({count!r})
n = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(n))
if n > 2:
    os.kill(os.getpid(), signal.SIGKILL)
best = context["best"]
change = {{"path": "training.lr_W", "old": best["values"].get("training.lr_W", 0.002), "new": 0.004 + 0.001 * n}}
print(json.dumps({{"kind": "config", "parents": [best["id"]], "changes": [change], "hypothesis": "larger"}}))
"""


def lr(value: float, old: float = 2e-3, **more: Any) -> dict[str, Any]:
    """A proposal of another learning rate."""
    return {"kind": "config", "changes": [{"path": "training.lr", "old": old, "new": value}], **more}


def test_an_agent_that_is_killed_half_way_leaves_the_study_to_the_optimiser(tmp_path: Path) -> None:
    script = tmp_path / "agent.py"
    script.write_text(AGENT.format(count=str(tmp_path / "count")))
    agent = {"command": [sys.executable, str(script)], "share": 0.6, "adaptive": False, "max_failures": 2}
    sections = {"proposer": {"name": "random", "agent": agent}, "budget": {"n_runs": 14, "run_seconds": 60.0}}
    snapshot = drive_toy(tmp_path / "study", toy_study(**sections))
    by = [record.proposer for record in snapshot.proposals if record.verdict == "accepted"]
    assert by.count("agent") == 2
    assert by.count("random") >= 5
    assert snapshot.phase == "done"
    with Journal.open(StudyFolder(tmp_path / "study")) as journal:
        failures = [event for event in journal.events() if event.kind == "agent"]
    assert len(failures) == 2
    assert all("agent" in event.subject for event in failures)


def test_recorded_answers_drive_a_study(tmp_path: Path) -> None:
    answers = [
        lr(4e-3, hypothesis="larger steps"),
        lr(1e-3, strategy="explore"),
        lr(9.0),  # out of range: costs nothing
        {"kind": "replicate", "parents": [2]},
        {"kind": "stop", "reason": "seen enough"},
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    agent = {"replay": str(tmp_path / "answers.jsonl")}
    study = toy_study(proposer={"name": "replay", "agent": agent}, budget={"n_runs": 20, "run_seconds": 60.0})
    snapshot = drive_toy(tmp_path / "study", study)
    assert [record.verdict for record in snapshot.proposals][1:] == ["accepted", "accepted", "rejected"] + [
        "accepted"
    ] * 2
    assert snapshot.node(2).hypothesis == "larger steps"
    replicates = [run.pair.index for run in snapshot.runs_of(snapshot.node(2).config)]
    assert replicates[:2] == [0, 1]
    assert snapshot.phase == "done"


def test_a_study_is_driven_through_mcp(tmp_path: Path) -> None:
    mcp = pytest.importorskip("mcp")
    folder = tmp_path / "study"
    sections = {"proposer": {"name": "none"}, "policy": {"certify": False}, "seeds": {"panel": 2, "holdout": 0}}
    controller = subprocess.Popen([sys.executable, str(TOY), str(folder), json.dumps(sections)])
    server = mcp.StdioServerParameters(command=sys.executable, args=["-m", "lobula", "explore", "mcp", str(folder)])

    async def call(client: Any, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return json.loads(result.content[0].text)

    async def drive() -> None:
        with (tmp_path / "stderr.log").open("w") as log:
            async with mcp.Client(mcp.stdio_client(server, errlog=log)) as client:
                for value in (4e-3, 3e-3):
                    answer = await call(client, "propose", proposal=lr(value))
                    assert answer["verdict"] == "accepted", answer
                answer = await call(client, "propose", proposal=lr(7.0))
                assert answer["verdict"] == "rejected"
                why = await call(client, "why", node=2)
                assert why
                await call(client, "note", text="4e-3 is near the top")
                await call(client, "stop", reason="enough")

    try:
        while not (folder / "journal.sqlite").exists():
            assert controller.poll() is None
        asyncio.run(asyncio.wait_for(drive(), 240))
        assert controller.wait(120) == 0
    finally:
        controller.kill()
    snapshot = read(folder)
    assert [node.values.get("training.lr") for node in snapshot.nodes] == [None, 4e-3, 3e-3]
    assert all(run.state is RunState.SCORED for run in snapshot.runs)
    assert "4e-3 is near the top" in snapshot.principles
