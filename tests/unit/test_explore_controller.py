"""The controller on a toy experiment: real journal, policy, proposer, local engine; runs that take no time."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lobula.errors import EngineError, JournalError, ProposerError
from lobula.exploration import inbox
from lobula.exploration.engines.base import Job
from lobula.exploration.engines.local import LocalEngine
from lobula.exploration.folder import StudyFolder
from lobula.exploration.journal import Journal
from lobula.exploration.judge import value_of
from lobula.exploration.proposals import Proposal, parse_proposal
from lobula.exploration.proposers.base import Request
from lobula.exploration.records import RunRecord, RunState, SeedPair
from lobula.exploration.requests import PHASE
from lobula.exploration.study import Objective
from lobula.exploration.summary import certified, explain, status_facts, tree_lines
from support.toy_study import drive_toy, toy_study

KILL_MATRIX = Path(__file__).parents[1] / "support" / "kill_matrix.py"


def test_a_study_spends_its_budget_races_and_certifies(tmp_path: Path) -> None:
    study = toy_study(budget={"n_runs": 12, "run_seconds": 60.0})
    (tmp_path / "mine.txt").write_text("stays")
    snapshot = drive_toy(tmp_path, study)
    assert (tmp_path / "mine.txt").read_text() == "stays"
    assert snapshot.phase == "done"
    searched = [run for run in snapshot.runs if not run.pair.holdout]
    assert len(searched) == 12
    assert {run.pair.index for run in searched} > {0}  # a race over the panel took place
    found = certified(snapshot)[0]
    assert found["n"] == 2
    assert {run.pair.index for run in snapshot.runs if run.pair.holdout} == {0, 1}
    holdout = {run.pair.data for run in snapshot.runs if run.pair.holdout}
    assert not holdout & {run.pair.data for run in searched}
    places = [json.loads((tmp_path / "runs" / f"{run.id:04d}" / "result.json").read_text()) for run in snapshot.runs]
    assert [place["run"] for place in places] == [run.id for run in snapshot.runs]  # replicates, too, have their own
    facts = status_facts(snapshot)
    assert facts["states"]["scored"] == len(snapshot.runs) - facts["states"].get("nan", 0)
    assert json.loads(json.dumps(facts)) == facts


def test_runs_of_configs_that_fail_end_nothing_and_are_observations(tmp_path: Path) -> None:
    space = [{"path": "training.lr", "low": 1e-3, "high": 0.9, "scale": "log"}]  # above .015 the toy diverges
    snapshot = drive_toy(tmp_path, toy_study(space=space, budget={"n_runs": 8, "run_seconds": 60.0}))
    states = Counter(run.state for run in snapshot.runs)
    assert states[RunState.NAN] >= 2
    assert states[RunState.SCORED] >= 2
    assert sum(not run.pair.holdout for run in snapshot.runs) == 8
    failed = next(run for run in snapshot.runs if run.state is RunState.NAN)
    assert explain(snapshot, failed.node)["class"] == "failed"


def test_slots_are_never_oversubscribed_and_the_baseline_comes_first(tmp_path: Path) -> None:
    snapshot = drive_toy(tmp_path, toy_study())
    assert {run.slot for run in snapshot.runs} <= {0, 1}
    assert snapshot.nodes[0].strategy == "baseline"
    assert not snapshot.nodes[0].values
    assert len(tree_lines(snapshot)) == len(snapshot.nodes) + 1


class UnreadyEngine(LocalEngine):
    """Takes the first attempt of no run, as a machine without a scheduler does; counts jobs at work."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.jobs: list[Job] = []
        self.most = 0

    def submit(self, job: Job) -> str:
        if job.name.endswith("-1"):
            raise EngineError("not ready")
        self.jobs.append(job)
        self.most = max(self.most, sum(not other.result.exists() for other in self.jobs))
        return super().submit(job)


def test_what_the_machine_failed_is_tried_again_in_its_own_slot(tmp_path: Path) -> None:
    Journal.create(StudyFolder(tmp_path), toy_study(), "toy").close()
    for k in range(5):  # more at once than there are slots
        change = {"path": "training.lr", "old": 2e-3, "new": (4 + k) * 1e-3}
        inbox.submit(tmp_path, "propose", {"proposer": "me", "proposal": {"kind": "config", "changes": [change]}})
    engine = UnreadyEngine(tmp_path / "engine")
    snapshot = drive_toy(tmp_path, toy_study(), engine=engine)
    assert engine.most <= 2
    assert {run.attempt for run in snapshot.runs} == {2}
    assert all(run.state is RunState.SCORED for run in snapshot.runs)
    assert sum(not run.pair.holdout for run in snapshot.runs) == 6


def test_a_second_controller_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    with Journal.create(folder, toy_study(), "toy"), pytest.raises(JournalError, match=str(os.getpid())):
        Journal.open(folder, writer=True)


def test_requests_are_answered_once(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    Journal.create(folder, toy_study(), "toy").close()
    change = {"path": "training.lr", "old": 2e-3, "new": 4e-3}
    proposal = {"kind": "config", "changes": [change]}
    good = inbox.submit(tmp_path, "propose", {"proposer": "me", "proposal": proposal})
    bad = inbox.submit(tmp_path, "propose", {"proposer": "me", "proposal": {"kind": "config", "changes": [{}]}})
    note = inbox.submit(tmp_path, "note", {"text": "larger rates are better"})
    folder.user_input.write_text("# User input\n\n- look at lr_W\n")
    snapshot = drive_toy(tmp_path, toy_study())
    accepted = inbox.answer_to(tmp_path, good)
    assert accepted is not None
    assert accepted["verdict"] == "accepted"
    assert snapshot.node(accepted["node"]).values == {"training.lr": 4e-3}
    assert snapshot.node(accepted["node"]).proposer == "me"
    refused = inbox.answer_to(tmp_path, bad)
    assert refused is not None
    assert refused["verdict"] == "rejected"
    assert refused["reason"]
    assert inbox.answer_to(tmp_path, note) == {"verdict": "done"}
    assert "larger rates are better" in snapshot.principles
    assert "acknowledged" in folder.user_input.read_text()


@pytest.mark.parametrize(("kind", "content"), [("stop", {}), (PHASE, {"phase": "certify"})])
def test_a_person_ends_the_search(tmp_path: Path, kind: str, content: dict) -> None:
    Journal.create(StudyFolder(tmp_path), toy_study(), "toy").close()
    number = inbox.submit(tmp_path, kind, content)
    snapshot = drive_toy(tmp_path, toy_study())
    assert inbox.answer_to(tmp_path, number) == {"verdict": "done"}
    assert snapshot.phase == "done"
    assert sum(not run.pair.holdout for run in snapshot.runs) <= 2


def test_proposals_that_never_fit_end_the_study_with_a_reason(tmp_path: Path) -> None:
    only = [{"path": "training.lr", "choices": [2e-3, 4e-3]}]  # two configs, and a budget of six runs
    with pytest.raises(ProposerError, match="resume goes on"):
        drive_toy(tmp_path, toy_study(space=only, seeds={"panel": 1, "holdout": 0}))


class Slow(LocalEngine):
    """Every job takes a second more: some forty turns of the controller."""

    def submit(self, job: Job) -> str:
        return super().submit(replace(job, command=("sh", "-c", 'sleep 1; exec "$@"', "sh", *job.command)))


class Silent:
    """Has one answer, then none."""

    name = "silent"

    def __init__(self) -> None:
        self.asked = 0

    def propose(self, request: Request) -> list[Proposal]:
        self.asked += 1
        if self.asked > 1:
            raise ProposerError("nothing more to say")
        change = {"path": "training.lr", "old": 2e-3, "new": 4e-3}
        return [parse_proposal({"kind": "config", "changes": [change]})]


def test_a_silent_proposer_is_not_asked_at_every_turn_and_the_last_views_are_written(tmp_path: Path) -> None:
    seen, proposer = [], Silent()
    with pytest.raises(ProposerError, match="nothing more to say"):
        drive_toy(tmp_path, toy_study(), seen.append, Slow(tmp_path / "engine"), proposer)
    assert proposer.asked <= 6  # once per run that ended, then three times with nothing under way
    assert [run.state for run in seen[-1].runs] == [RunState.SCORED] * 2


def test_a_rerun_of_a_study_that_is_done_runs_nothing(tmp_path: Path) -> None:
    first = drive_toy(tmp_path, toy_study())
    second = drive_toy(tmp_path, toy_study())
    assert first == second


def kill_matrix(folder: Path, stride: int) -> dict:
    """Result of tests/support/kill_matrix.py."""
    words = [sys.executable, str(KILL_MATRIX), str(folder), str(stride)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_controller_loses_and_doubles_nothing(tmp_path: Path) -> None:
    found = kill_matrix(tmp_path, stride=13)
    assert len(found["killed"]) >= 3
    assert found["wrong"] == []


@pytest.mark.slow
def test_killed_at_every_commit(tmp_path: Path) -> None:
    found = kill_matrix(tmp_path, stride=1)
    assert len(found["killed"]) >= 25
    assert found["wrong"] == []
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.parametrize(
    ("direction", "floor", "value", "expected"),
    [
        ("higher", 0.0, -12306.4, 0.0),
        ("higher", 0.0, 0.9, 0.9),
        ("higher", None, -7.5, -7.5),
        ("lower", 5.0, 80.0, -5.0),
        ("lower", 5.0, 2.0, -2.0),
    ],
)
def test_a_floor_bounds_what_one_bad_run_can_do(direction, floor, value, expected) -> None:
    objective = Objective(metric="m", direction=direction, floor=floor)
    run = RunRecord(1, 1, "c", SeedPair(0, 0, 0), RunState.SCORED, metrics={"m": value})
    assert value_of(objective, run) == expected
