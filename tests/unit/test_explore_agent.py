"""Agents are programs: they answer, or they fail in every way that programs do, and a study goes on."""

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lobula.errors import ProposerError
from lobula.exploration.context import MAX_CHARS, build_context
from lobula.exploration.proposals import Replicate, parse_proposal
from lobula.exploration.proposers.agent import AgentProposer
from lobula.exploration.proposers.answers import proposals_in
from lobula.exploration.proposers.base import Request
from lobula.exploration.proposers.presets import AnthropicProposer, claude_answer, claude_words
from lobula.exploration.proposers.random import RandomProposer
from lobula.exploration.proposers.registry import make_proposer
from lobula.exploration.records import RunState
from support.agents import GOOD, program
from support.hand_made_study import HandMade, study

MANGLED = json.dumps(GOOD)[:-9]


def request(n: int = 2, folder: Path | None = None) -> Request:
    """Asks about a study with its base and one more node."""
    made = HandMade()
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.5)
    made.try_out(RandomProposer(0).propose(Request(made.snapshot))[0], lambda _: 0.7, "random")
    return Request(made.snapshot, parents=(2,), n=n, folder=folder)


GOOD_BODIES = {
    "an object": "print(json.dumps(GOOD))",
    "a list": "print(json.dumps([GOOD, GOOD, GOOD], indent=1))",
    "in a fence": "print('I think:\\n```json\\n' + json.dumps([GOOD], indent=2) + '\\n```\\nGood luck.')",
    "after a log": "print('[info] hm\\n{\"level\": \"info\"}\\n' + json.dumps(GOOD)); print('bye', file=sys.stderr)",
    "one bad beside it": "print(json.dumps([GOOD, {'kind': 'config', 'changes': []}]))",
    "wrapped": "print(json.dumps({'thoughts': 'none', 'proposals': [GOOD]}))",
}


@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES)
def test_good_answers_are_understood(tmp_path: Path, body: str) -> None:
    found = AgentProposer(program(tmp_path, body), 30).propose(request())
    assert found[0] == parse_proposal(GOOD)
    assert len(found) == (2 if "GOOD, GOOD" in body else 1), "no more than were wanted"


def test_the_agent_sees_the_study_and_where_it_is(tmp_path: Path) -> None:
    body = (
        "GOOD['hypothesis'] = context['best']['values'] and os.environ['LOBULA_STUDY']\n"
        "GOOD['parents'] = context['request']['parents']\nprint(json.dumps(GOOD))"
    )
    [proposal] = AgentProposer(program(tmp_path, body), 30).propose(request(folder=tmp_path / "study"))
    assert proposal.hypothesis == str(tmp_path / "study")
    assert proposal.parents == (2,)


BAD_BODIES = {
    "exits 1": (
        "print(json.dumps(GOOD)); print('log in', file=sys.stderr); sys.exit(1)",
        "exit status 1: log in",
    ),
    "dies by a signal": ("print(json.dumps(GOOD), flush=True); os.kill(os.getpid(), 9)", "signal 9"),
    "garbage": ("print('I am sorry, I cannot do that.')", "got 'I am sorry"),
    "nothing": ("", "got nothing"),
    "an empty list": ("print('[]')", "empty list"),
    "dies half-way": (f"print({MANGLED!r}, end='')", "expected JSON"),
    "half of a list": ("print('[\\n' + json.dumps(GOOD) + '\\n,' + json.dumps(GOOD)[:20])", "expected JSON"),
    "two answers": ("print(json.dumps(GOOD)); print(json.dumps(GOOD))", "2 JSON documents"),
    "not a number": ("print(json.dumps(GOOD).replace('0.005', 'NaN'))", "expected JSON"),
    "no proposal": ("GOOD['kind'] = 'magic'; print(json.dumps(GOOD))", "magic"),
    "too much": ("for _ in range(200): print('x' * 100_000, flush=True)\ntime.sleep(60)", "printed more"),
}


@pytest.mark.parametrize(("body", "line"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_answers_are_one_line(tmp_path: Path, body: str, line: str) -> None:
    with pytest.raises(ProposerError, match=line) as raised:
        AgentProposer(program(tmp_path, body), 30).propose(request())
    assert "\n" not in str(raised.value)


def test_a_slow_agent_is_killed_with_its_grandchildren(tmp_path: Path) -> None:
    body = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(300)"
    )
    began = time.monotonic()
    with pytest.raises(ProposerError, match="no answer after 3 s"):
        AgentProposer(program(tmp_path, body), 3).propose(request())
    assert time.monotonic() - began < 60
    for pid in (tmp_path / "pid").read_text().split():
        _expect_dead(int(pid))


def test_what_an_agent_leaves_behind_is_killed_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    body = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "print(json.dumps(GOOD))"
    )
    assert AgentProposer(program(tmp_path, body), 60).propose(request()) == [parse_proposal(GOOD)]
    _expect_dead(int((tmp_path / "pid").read_text()))


def _expect_dead(pid: int) -> None:
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":  # dead, and its parent (init) has not looked yet
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} lives")


def test_a_missing_command_is_one_line() -> None:
    with pytest.raises(ProposerError, match="cannot start 'no-such-agent'"):
        AgentProposer(("no-such-agent",)).propose(request())


def test_keys_of_the_environment_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret-1234")
    body = "print('bad key', os.environ['SOME_API_KEY'], file=sys.stderr); sys.exit(2)"
    with pytest.raises(ProposerError, match=r"bad key \*\*\*"):
        AgentProposer(program(tmp_path, body), 30).propose(request())


# ---------------------------------------------------------------- the context


def test_the_context_holds_what_an_agent_needs(tmp_path: Path) -> None:
    (tmp_path / "user_input.md").write_text("Try softplus.")
    (tmp_path / "instructions.md").write_text("# How to explore")
    asked = request(folder=tmp_path)
    context = build_context(asked)
    assert context["user_input"] == "Try softplus."
    assert context["instructions"].startswith("# How")
    assert context["best"]["id"] == 2
    assert context["best"]["scores"]["gnn.W.r2"]["mean"] == 0.7
    rows = {row["path"]: row for row in context["space"]}
    assert rows["training.lr"]["low"] == 1e-5
    assert rows["training.lr"]["base"] == 0.002
    assert rows["training.lr"]["meaning"]
    assert rows["model.activation"]["choices"] == ["relu", "tanh", "softplus"]
    assert "simulation.seed" in context["frozen"]
    assert context["principles"] == ["a high learning rate fails"]
    assert "CodePatch" not in json.dumps(context["answer"]["schema"])


def test_the_context_says_what_was_refused_and_what_failed() -> None:
    made = HandMade()
    made.reject(made.propose(parse_proposal(GOOD), "agent"), "old does not match")
    made.fail("agent", "agent: no answer")
    context = build_context(Request(made.snapshot))
    assert context["refused"] == [{"proposal": made.proposals[0].content, "reason": "old does not match"}]
    assert context["agent_errors"] == ["agent: no answer"]


def test_the_context_hides_scores_on_the_hold_out() -> None:
    made = HandMade()
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.5)
    hidden = made.run(made.nodes[0], 0.123456)
    made.runs[-1] = replace(hidden, pair=replace(hidden.pair, holdout=True), facts={"r2": 0.123456})
    assert "0.12" not in json.dumps(build_context(Request(made.snapshot)))


def test_the_context_of_a_long_study_is_bounded_and_keeps_the_best(tmp_path: Path) -> None:
    (tmp_path / "user_input.md").write_text("old wish\n" * 100_000 + "the last wish")
    (tmp_path / "instructions.md").write_text("first rule\n" * 100_000)
    made = HandMade()
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.5)
    best = RandomProposer(0).propose(Request(made.snapshot))[0]
    made.try_out(best, lambda _: 0.99, "random")
    for proposal in RandomProposer(1).propose(Request(made.snapshot, n=400)):
        made.try_out(proposal, lambda _: 0.6, "random")
    context = build_context(Request(made.snapshot, folder=tmp_path))
    assert len(json.dumps(context)) <= MAX_CHARS
    kept = [node["id"] for node in context["tree"]["nodes"]]
    assert {2, len(made.nodes)} <= set(kept)
    assert len(kept) + context["tree"]["left_out"] == len(made.nodes)
    assert context["user_input"].endswith("the last wish")
    assert context["instructions"].startswith("first rule")


def test_variance_of_replicates_is_in_the_context() -> None:
    made = HandMade()
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.5)
    made.run(made.nodes[0], 0.7, pair=1)
    made.run(made.nodes[0], state=RunState.NAN, pair=2)
    [row] = build_context(Request(made.snapshot))["variance"]
    assert (row["runs"], row["mean"]) == (2, 0.6)
    assert row["sd"] == pytest.approx(0.1414, abs=1e-4)


# ---------------------------------------------------------------- presets


def test_the_claude_client_is_told_what_to_do_and_has_no_tools() -> None:
    words = claude_words("opus")
    assert words[:2] == ["claude", "-p"]
    assert words[words.index("--output-format") + 1] == "json"
    assert words[words.index("--tools") + 1] == ""
    assert words[-2:] == ["--model", "opus"]
    assert "--model" not in claude_words()


def test_the_claude_envelope_is_opened() -> None:
    result = {"type": "result", "subtype": "success", "is_error": False, "result": f"```json\n{json.dumps(GOOD)}\n```"}
    assert proposals_in(claude_answer(json.dumps(result)), "claude-cli", 1) == [parse_proposal(GOOD)]
    listed = [{"type": "system"}, result]
    assert claude_answer(json.dumps(listed)) == result["result"]
    expired = {"type": "result", "subtype": "success", "is_error": True, "result": "Please run /login"}
    with pytest.raises(ValueError, match="run /login"):
        claude_answer(json.dumps(expired))
    for text in ("", "Please log in", "[]", '{"type": "result", "subtype": "error_max_turns"}'):
        with pytest.raises(ValueError, match=r"envelope|error_max_turns"):
            claude_answer(text)


def test_the_preset_runs_the_client_that_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the client's place: it checks its words and answers in its envelope."""
    client = tmp_path / "claude"
    client.write_text(
        "#!/usr/bin/env python3\nimport json, sys\ncontext = json.load(sys.stdin)\n"
        f"good = json.loads({json.dumps(GOOD)!r})\n"
        "good['hypothesis'] = sys.argv[sys.argv.index('--model') + 1]\n"
        "print(json.dumps({'type': 'result', 'is_error': False, 'result': json.dumps([good])}))\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    settings = {"name": "agent", "agent": {"preset": "claude-cli", "model": "haiku"}}
    agent = make_proposer(study(proposer=settings), tmp_path)
    [proposal] = agent.propose(request(folder=tmp_path))
    assert (agent.name, proposal.hypothesis) == ("claude-cli", "haiku")


class _Api(http.server.BaseHTTPRequestHandler):
    """Answers like the API: a message with the proposal, or the status that is set."""

    status: ClassVar[int] = 200
    seen: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["x-api-key"] or self.headers["authorization"].removeprefix("Bearer ")
        _Api.seen.append({"key": key, **body})
        message = {
            **{"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]},
            **{"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}},
            "content": [{"type": "text", "text": json.dumps([GOOD])}],
        }
        error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
        answer = json.dumps(message if self.status == 200 else error).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Not into the tests' output."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Api]]:
    """The SDK speaks to a server here."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test-12345678")
    _Api.status, _Api.seen[:] = 200, []
    yield _Api
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_sdk_asks_and_its_answer_is_understood(api: type[_Api]) -> None:
    pytest.importorskip("anthropic")
    [proposal] = AnthropicProposer("claude-haiku-4-5", timeout_s=60).propose(request(n=1))
    assert proposal == parse_proposal(GOOD)
    [seen] = api.seen
    assert (seen["key"], seen["model"]) == ("sk-test-12345678", "claude-haiku-4-5")
    assert json.loads(seen["messages"][0]["content"])["request"]["n"] == 1


def test_the_sdk_refused_or_without_a_key_is_one_line(api: type[_Api], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anthropic")
    api.status = 401
    with pytest.raises(ProposerError, match=r"anthropic: AuthenticationError.*invalid x-api-key") as raised:
        AnthropicProposer(timeout_s=60).propose(request())
    assert "sk-test" not in str(raised.value)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with pytest.raises(ProposerError, match="got no key"):
        AnthropicProposer(timeout_s=60).propose(request())
