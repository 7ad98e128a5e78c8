"""An agent beside an optimiser: its share, its credit, its death; and which proposer a study's settings make."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lobula.errors import ConfigError, ProposerError
from lobula.exploration.proposers.agent import AgentProposer
from lobula.exploration.proposers.base import Request
from lobula.exploration.proposers.mixture import REST, Mixture, share
from lobula.exploration.proposers.optuna import OptunaProposer
from lobula.exploration.proposers.random import RandomProposer
from lobula.exploration.proposers.registry import ask, make_proposer
from lobula.exploration.study import AgentSettings
from support.agents import CHANGE, program
from support.hand_made_study import HandMade, study


def mixture(agent: Any, **settings: Any) -> Mixture:
    """An agent beside random draws, named like the optimiser."""
    return Mixture(RandomProposer(0), agent, AgentSettings(**settings))


def go_on(made: HandMade, proposer: Any, n: int, gain: dict[str, float] | None = None) -> None:
    """What the controller does: ask, keep failures and proposals, run, score."""
    score = 0.1
    for _ in range(n):
        answer = ask(proposer, Request(made.snapshot))
        for agent, error in answer.failures:
            made.fail(agent, error)
        for proposal in answer.proposals:
            score += (gain or {}).get(answer.proposer, 0.0)
            made.try_out(proposal, lambda _, value=score: value, answer.proposer)


class Counted:
    """An agent in memory that draws at random, and fails while told to."""

    name = "agent"

    def __init__(self) -> None:
        self.asked, self.dead = 0, False

    def propose(self, asked: Request) -> list[Any]:
        self.asked += 1
        if self.dead:
            raise ProposerError("agent: login expired")
        return RandomProposer(99).propose(asked)


def test_an_agent_gets_its_share() -> None:
    made, agent = HandMade(), Counted()
    go_on(made, mixture(agent, share=0.3, adaptive=False), 40)
    assert [record.proposer for record in made.proposals].count("agent") == 12
    assert made.proposals[0].proposer == "random", "the optimiser begins"


def test_the_optimiser_goes_on_when_the_agent_dies_and_leaves_it_alone_after_some_failures() -> None:
    made, agent = HandMade(), Counted()
    both = mixture(agent, share=0.5, adaptive=False, max_failures=3)
    go_on(made, both, 6)
    agent.dead, asked = True, agent.asked
    go_on(made, both, 6)
    assert len(made.proposals) == 12, "every request got a proposal"
    assert agent.asked - asked == 3
    go_on(made, both, REST - 4)
    assert agent.asked - asked == 3, "at rest"
    go_on(made, both, 5)
    assert agent.asked - asked == 4, "tried once more, still dead, at rest again"
    agent.dead = False
    go_on(made, both, REST + 8)
    assert [record.proposer for record in made.proposals[-6:]].count("agent") >= 2, "back"


def test_the_share_follows_the_gain_per_hour() -> None:
    shares = {}
    for winner in ("agent", "random", "nobody"):
        made = HandMade()
        go_on(made, mixture(Counted(), share=0.3, adaptive=False), 40, {winner: 0.02})
        shares[winner] = share(made.snapshot, "agent", AgentSettings(share=0.3))
    assert 0.1 <= shares["random"] < 0.2 < shares["nobody"] == 0.3 < 0.45 < shares["agent"] <= 0.6
    assert share(made.snapshot, "agent", AgentSettings(share=0.3, adaptive=False)) == 0.3


def test_credit_is_per_hour() -> None:
    made = HandMade()
    go_on(made, mixture(Counted(), share=0.3, adaptive=False), 40, {"agent": 0.02, "random": 0.02})
    even = share(made.snapshot, "agent", AgentSettings())
    slow = {node.id for node in made.nodes if node.proposer == "agent"}
    made.runs = [replace(run, ended=run.started + 36000.0) if run.node in slow else run for run in made.runs]
    assert share(made.snapshot, "agent", AgentSettings()) < even - 0.05


# ---------------------------------------------------------------- registry


def test_settings_make_proposers(tmp_path: Path) -> None:
    for name in ("tpe", "gp", "cmaes", "random", "mutator"):
        assert make_proposer(study(proposer={"name": name}), tmp_path).name == name
    assert make_proposer(study(proposer={"name": "none"}), tmp_path) is None
    mixed = make_proposer(study(proposer={"agent": {"command": ["true"]}}), tmp_path)
    assert (type(mixed), mixed.name) == (Mixture, "tpe+agent")
    (tmp_path / "a.jsonl").write_text(json.dumps({"kind": "config", "changes": [CHANGE]}))
    replay = make_proposer(study(proposer={"name": "replay", "agent": {"replay": "a.jsonl"}}), tmp_path)
    assert replay.propose(Request(HandMade().snapshot))[0].changes[0].new == 0.005
    for bad in ({"name": "agent"}, {"name": "replay"}, {"agent": {"command": ["true"], "preset": "anthropic"}}):
        with pytest.raises(ConfigError, match="expected"):
            make_proposer(study(proposer=bad), tmp_path)


def test_asking_never_raises_for_what_an_agent_does(tmp_path: Path) -> None:
    made = HandMade()
    go_on(made, RandomProposer(0), 3)
    asked = Request(made.snapshot, n=2)
    dead = AgentProposer(program(tmp_path, "sys.exit(3)"), 30)
    answer = ask(dead, asked)
    assert answer.proposals == ()
    assert answer.failures[0][0] == "agent"
    answer = ask(Mixture(OptunaProposer(), dead, AgentSettings(share=1.0)), asked)
    assert answer.proposer == "tpe"
    assert "exit status 3" in answer.failures[0][1]
    assert len(answer.proposals) == 2
    assert ask(dead, Request(HandMade().snapshot, strategy="baseline")).proposals[0].strategy == "baseline"


def test_large_libraries_are_not_imported_before_they_are_needed() -> None:
    code = (
        "import sys, lobula.exploration.proposers.registry, lobula.exploration.mcp_server\n"
        "print([name for name in ('torch', 'optuna', 'cmaes', 'mcp', 'anthropic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
