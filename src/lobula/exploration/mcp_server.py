"""An MCP server over stdio: any agent client reads a study, proposes and takes notes. It never writes the journal."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from lobula.errors import LobulaError, MissingDependencyError, ProposalError
from lobula.exploration import inbox
from lobula.exploration.context import build_context, run_facts, space_table
from lobula.exploration.explain import diff, node_of
from lobula.exploration.explain import why as why_node
from lobula.exploration.proposals import Stop, parse_proposal
from lobula.exploration.proposers.base import Request
from lobula.exploration.records import Snapshot

ReadSnapshot = Callable[[Path], Snapshot]
PROPOSER = "mcp"
_INSTRUCTIONS = (
    "A study of experiments on a model of a neural circuit. get_context says what is sought, what may vary and what "
    "was tried; propose suggests the next experiment and tells whether it was accepted. Single runs are noisy: "
    "replicate before believing."
)


def serve(folder: Path, read_snapshot: ReadSnapshot, wait_s: float = 20.0) -> None:
    """Serve a study over stdin and stdout until the client closes them.

    Args:
        folder: the study's folder.
        read_snapshot: reads what the study knows, with its events; called anew for every request.
        wait_s: how long a request waits for the controller's answer.

    Raises:
        MissingDependencyError: if the MCP library is not installed.
    """
    build_server(folder, read_snapshot, wait_s).run("stdio")


def build_server(folder: Path, read_snapshot: ReadSnapshot, wait_s: float = 20.0) -> Any:
    """The server with its tools; see `serve`.

    Raises:
        MissingDependencyError: if the MCP library is not installed.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as cause:
        raise MissingDependencyError(
            "mcp: the library is not installed, expected it for lobula explore mcp; "
            "python -m pip install 'lobula[agents]'"
        ) from cause
    server = MCPServer(f"lobula study {folder.name}", instructions=_INSTRUCTIONS, log_level="WARNING")
    tools = StudyTools(folder, read_snapshot, wait_s)
    for tool in (
        *(tools.get_context, tools.get_space, tools.propose, tools.get_run),
        *(tools.get_diff, tools.why, tools.note, tools.stop),
    ):
        server.add_tool(_told(tool, ToolError), name=tool.__name__)
    return server


class StudyTools:
    """What an agent client may do with a study. Every method is a tool; its docstring is what the client reads.

    Args:
        folder: the study's folder.
        read_snapshot: reads what the study knows.
        wait_s: how long a request waits for the controller.
    """

    def __init__(self, folder: Path, read_snapshot: ReadSnapshot, wait_s: float) -> None:
        self._folder = folder
        self._read = read_snapshot
        self._wait_s = wait_s

    def get_context(self, parents: list[int] | None = None, strategy: str = "exploit", n: int = 1) -> dict[str, Any]:
        """The whole study: goal, budget, space, tree with scores, best, recent runs, variance, principles, what a
        person asks for, and under `answer` how a proposal looks (JSON schema)."""
        request = Request(self._read(self._folder), tuple(parents or ()), strategy, n, self._folder)
        context = build_context(request)
        context["waiting"] = [{"request": one.id, "kind": one.kind} for one in inbox.pending(self._folder)]
        return context

    def get_space(self) -> dict[str, Any]:
        """The fields that a proposal may set, with range, the base's value, unit and meaning."""
        return {"space": space_table(self._read(self._folder).study)}

    def propose(self, proposal: dict[str, Any]) -> dict[str, Any]:
        """Propose an experiment, in the form of get_context's answer.schema (one item). Tells the verdict: accepted
        (with the node), rejected (with the reason), or waiting if no controller answered; do not send it again then."""
        parsed = parse_proposal(proposal)
        if isinstance(parsed, Stop):
            return self.stop(parsed.reason or parsed.hypothesis)
        content = {"proposer": PROPOSER, "proposal": parsed.model_dump(mode="json")}
        return self._ask(inbox.PROPOSE, content)

    def get_run(self, run: int) -> dict[str, Any]:
        """A run: state, seeds, all its metrics, trajectory and error."""
        snapshot = self._read(self._folder)
        found = next((record for record in snapshot.runs if record.id == run), None)
        if found is None:
            raise ProposalError(f"run {run}: no such run, expected one of 1 to {len(snapshot.runs)}")
        return run_facts(snapshot, found, full=True)

    def get_diff(self, node: int, other: int | None = None) -> dict[str, Any]:
        """The fields, and the code, in which a node differs from another node, or from the base of its block."""
        return diff(self._read(self._folder), node, other)

    def why(self, node: int) -> dict[str, Any]:
        """Why a node is there: hypothesis, prediction and what was found, ancestors, children, runs."""
        return why_node(self._read(self._folder), node)

    def note(self, text: str, node: int | None = None) -> dict[str, Any]:
        """Keep an observation about a node, or without a node a principle for the study's memory."""
        if node is not None:
            node_of(self._read(self._folder), node)
        return self._ask(inbox.NOTE, {"author": PROPOSER, "node": node, "text": text})

    def stop(self, reason: str) -> dict[str, Any]:
        """End the study: what runs is finished and judged, nothing new is started."""
        return self._ask(inbox.STOP, {"author": PROPOSER, "reason": reason})

    def _ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        number = inbox.submit(self._folder, kind, content)
        answer = inbox.wait_for(self._folder, number, self._wait_s)
        return {"request": number, **(answer if answer is not None else {"verdict": "waiting"})}


def _told(tool: Callable[..., dict[str, Any]], failure: type[Exception]) -> Callable[..., dict[str, Any]]:
    """A tool whose errors reach the client as their one line."""

    @wraps(tool)
    def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return tool(*args, **kwargs)
        except LobulaError as error:
            raise failure(str(error)) from None

    return call
