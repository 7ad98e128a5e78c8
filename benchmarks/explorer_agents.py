"""A real study driven by agents that are killed half-way: recorded answers, and a client of the MCP server.

    python benchmarks/explorer_agents.py replay --out studies/fly-tiny-replay
    python benchmarks/explorer_agents.py mcp --out studies/fly-tiny-mcp

Both start `lobula explore run STUDY` and wait until half of its runs are scored; from then on the agent is killed
with -9 (Linux: processes are found in /proc). The study has to end by itself: searched to its budget by the optimiser,
and certified. Started again with the same --out, a study goes on where it was. What came out is printed as JSON.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from lobula.exploration.folder import StudyFolder
from lobula.exploration.journal import Journal
from lobula.exploration.manage import read
from lobula.exploration.records import RunState

logger = logging.getLogger("benchmark")
ANSWERS = Path(__file__).parent / "explorer" / "replay-fly-tiny.jsonl"
LOBULA = (sys.executable, "-m", "lobula", "explore")
FACTORS = (2.0, 0.5, 3.0, 0.3)
"""What the client tries, field by field: the best node's value times one of these."""
POLL_S = 1.0


def replay(args: argparse.Namespace) -> None:
    """The study with the recorded answers as an agent with a share, beside the optimiser."""
    agent = [sys.executable, str(Path(__file__).resolve()), "answer", str(ANSWERS)]
    sets = (f"proposer.agent.command={json.dumps(agent)}", "proposer.agent.share=0.7")
    report(drive(args, sets, client=None))


def mcp(args: argparse.Namespace) -> None:
    """The study with the optimiser alone, and a client that proposes through `lobula explore mcp`."""
    client = [sys.executable, str(Path(__file__).resolve()), "client", str(args.out)]
    report(drive(args, (), client))


def drive(args: argparse.Namespace, sets: tuple[str, ...], client: list[str] | None) -> dict[str, Any]:
    """Run the study to its end; kill the agent for good when half of its runs are scored."""
    words = [word for value in (*sets, *args.set) for word in ("--set", value)]
    controller = subprocess.Popen([*LOBULA, "run", args.study, "--out", str(args.out), *words])
    agent: subprocess.Popen[bytes] | None = None
    kills = 0
    try:
        while controller.poll() is None:
            time.sleep(POLL_S)
            if not (args.out / "journal.sqlite").exists():
                continue
            snapshot = read(args.out)
            half = sum(run.state is RunState.SCORED for run in snapshot.runs) * 2 >= snapshot.study.budget.n_runs
            if client is not None and agent is None and not half:
                agent = subprocess.Popen(client, start_new_session=True)
            if half:
                kills += kill(agent)
    finally:
        if controller.poll() is None:
            controller.terminate()
        kill(agent)
    if controller.wait() != 0:  # it has said why
        raise SystemExit(controller.returncode)
    return {"agent_processes_killed": kills, **outcome(args.out)}


def kill(agent: subprocess.Popen[bytes] | None) -> int:
    """Kill with -9 the client, whose server ends with it, and whatever answers from the recorded file now; how many."""
    found = [pid for pid, words in command_lines() if __file__.encode() in words and b"answer" in words]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    if agent is None or agent.poll() is not None:
        return len(found)
    os.killpg(agent.pid, signal.SIGKILL)
    agent.wait()
    return len(found) + 1


def command_lines() -> list[tuple[int, list[bytes]]]:
    """Processes of this machine with the words that they were started with (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")))
        except OSError:  # it has ended
            continue
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """Who proposed what, how runs ended, and whether anything was done twice."""
    snapshot = read(folder)
    accepted = [record for record in snapshot.proposals if record.verdict == "accepted"]
    places = Counter((run.config, run.pair) for run in snapshot.runs)
    with Journal.open(StudyFolder(folder)) as journal:
        failures = [event for event in journal.events() if event.kind == "agent" and "error" in event.content]
    return {
        "phase": snapshot.phase,
        "runs": Counter(str(run.state) for run in snapshot.runs),
        "nodes_by_proposer": Counter(record.proposer for record in accepted),
        "rejected": Counter(record.proposer for record in snapshot.proposals if record.verdict == "rejected"),
        "runs_done_twice": sum(n - 1 for n in places.values()),
        "agent_failures": len(failures),
    }


def report(found: dict[str, Any]) -> None:
    """Print what came out."""
    print(json.dumps(found, indent=2))


def answer(args: argparse.Namespace) -> None:
    """The scripted agent: the study on stdin, the next recorded answer on stdout."""
    context = json.load(sys.stdin)
    time.sleep(args.think_s)  # an agent thinks, and can be killed meanwhile
    lines = [json.loads(line) for line in args.file.read_text().splitlines()]
    tried = [node["values"] for node in context["tree"]["nodes"]]
    new = [line for line in lines if values(line) not in tried]
    print(json.dumps(new[:1] or [{"kind": "replicate", "parents": [context["best"]["id"]]}]))


def values(line: dict[str, Any]) -> dict[str, Any]:
    """Fields in which an answer's config differs from the base."""
    return {change["path"]: change["new"] for change in line["changes"]}


def client(args: argparse.Namespace) -> None:
    """A client of the MCP server: one field of the best node at a time, up or down, until it is killed."""
    asyncio.run(climb(args.out))


async def climb(folder: Path) -> None:
    """Propose changes of the best node, one after the other, through `lobula explore mcp`."""
    import mcp as protocol

    words = ["-m", "lobula", "explore", "mcp", str(folder)]
    server = protocol.stdio_client(protocol.StdioServerParameters(command=sys.executable, args=words))
    async with protocol.Client(server) as session:
        n = 0
        while True:
            context = await call(session, "get_context")
            best = context["best"] or {"id": 1, "values": {}}
            row = context["space"][n % len(context["space"])]
            old = best["values"].get(row["path"], row["base"])
            new = scaled(row, old, FACTORS[n // len(context["space"]) % len(FACTORS)])
            n += 1
            if new == old:
                continue
            change = {"path": row["path"], "old": old, "new": new}
            proposal = {"kind": "config", "parents": [best["id"]], "changes": [change]}
            verdict = await call(session, "propose", proposal=proposal | {"hypothesis": f"{row['path']} from {old}"})
            logger.info("%s: %s -> %s: %s", row["path"], old, new, verdict)
            while is_pending(await call(session, "get_context"), verdict.get("node")):
                await asyncio.sleep(POLL_S)


def is_pending(context: dict[str, Any], node: int | None) -> bool:
    """Whether a request waits for its answer, or a node for its first score."""
    own = [found for found in context["tree"]["nodes"] if found["id"] == node]
    return bool(context["waiting"]) or any(found["pending"] or not found["runs"] for found in own)


async def call(session: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool of the server answers."""
    result = await session.call_tool(tool, arguments)
    if result.is_error:
        raise SystemExit(f"{tool}: {result.content}")
    answered: dict[str, Any] = json.loads(result.content[0].text)
    return answered


def scaled(row: dict[str, Any], old: float, factor: float) -> float:
    """A field's value times a factor (from zero: plus one), within its range."""
    new = old * factor if old else 1.0
    new = min(max(new, row["low"]), row["high"])
    return round(new) if row["kind"] == "int" else float(f"{new:.4g}")


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, action in (("replay", replay), ("mcp", mcp)):
        command = commands.add_parser(name, help=(action.__doc__ or "").splitlines()[0])
        command.add_argument("--out", type=Path, required=True, help="folder of the study")
        command.add_argument("--study", default="fly-tiny")
        command.add_argument("--set", action="append", default=[], help="a field of the study, as for explore run")
        command.set_defaults(action=action)
    command = commands.add_parser("answer", help="the scripted agent (started by the study)")
    command.add_argument("file", type=Path)
    command.add_argument("--think-s", type=float, default=3.0)
    command.set_defaults(action=answer)
    command = commands.add_parser("client", help="the MCP client (started by `mcp`)")
    command.add_argument("out", type=Path)
    command.set_defaults(action=client)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.action(args)


if __name__ == "__main__":
    main()
