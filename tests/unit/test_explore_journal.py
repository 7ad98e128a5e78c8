"""The journal: nothing lost, nothing doubled, nothing changed behind its back."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.explore import LR, add_baseline, add_node, add_scored, make_study, mutation

from lobula.errors import ConfigError, JournalError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.gate import Gate, with_code
from lobula.exploration.journal import Journal
from lobula.exploration.panel import holdout, panel
from lobula.exploration.records import ENDED, NOT_OBSERVED, TRANSITIONS, RunState, SeedPair

STUDY = make_study(space=["training.lr", "training.batch_size"], seeds={"panel": 3})
REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "study")


@pytest.fixture
def journal(folder: StudyFolder) -> Iterator[Journal]:
    with Journal.create(folder, STUDY, "code") as journal:
        yield journal


@pytest.fixture
def gate(journal: Journal) -> Gate:
    return Gate(STUDY, journal.code, journal.base)


def test_a_study_is_what_it_was_after_it_is_opened_again(folder: StudyFolder) -> None:
    study = make_study(
        blocks={"n_iter": 4, "path": "simulation.process_noise", "values": [0.05, 0.5]}, description="µ\n-8.1e-05"
    )
    with Journal.create(folder, study, "abc") as journal:
        gate = Gate(study, journal.code, journal.base)
        node = add_baseline(journal, gate)
        add_scored(journal, node, -0.25)
        journal.note(node.id, "slow\nstart")
        journal.note(node.id, "then fast")
        journal.principle("lr first")
        journal.principle("lr first")
        journal.set_phase("race")
        journal.event("agent", "agent", {"error": "login expired"})
        assert journal.next_block() == 1
        before = journal.snapshot(events=True)

    with Journal.open(folder) as journal:
        assert journal.snapshot(events=True) == before
        assert journal.study == study
        assert journal.code == "abc"
        assert journal.base(1).simulation.process_noise == 0.5
        assert journal.config(node.config) == journal.base(0)
        assert journal.verify() == len(before.events) == len(journal.events())
        assert journal.events(after=len(before.events) - 2) == list(before.events[-2:])
    assert (before.phase, before.block, before.principles) == ("race", 1, ("lr first",))
    assert before.nodes[0].note == "slow start\nthen fast"
    assert [event.id for event in before.events] == list(range(1, len(before.events) + 1))


def test_what_is_not_there_is_said_in_one_line(journal: Journal, gate: Gate) -> None:
    node = gate.baseline(journal.snapshot())
    pair = panel(STUDY.seeds)[0]
    calls = [
        lambda: journal.accept(1, node),
        lambda: journal.reject(7, "no"),
        lambda: journal.add_run(1, pair),
        lambda: journal.move(1, RunState.OK),
        lambda: journal.score(1, {}),
        lambda: journal.note(1, "x"),
        lambda: journal.config("x"),
        lambda: journal.base(1),
        lambda: journal.set_phase("rest"),
        lambda: journal.event("run", "run 1", {"state": "ok"}),
    ]
    before = journal.snapshot(events=True)
    for call in calls:
        with pytest.raises(JournalError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert journal.snapshot(events=True) == before


def test_after_the_last_block_there_is_none(folder: StudyFolder) -> None:
    study = make_study(blocks={"n_iter": 4, "path": "simulation.process_noise", "values": [0.05]})
    with Journal.create(folder, study) as journal:
        before = journal.snapshot(events=True)
        with pytest.raises(JournalError, match="block 1: got 1 blocks"):
            journal.next_block()
        assert journal.snapshot(events=True) == before


def test_blocks_start_from_what_the_recipe_was_when_the_study_started(folder: StudyFolder, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("training: {lr: 0.004}\n")
    varied = {"n_iter": 4, "path": "simulation.process_noise", "values": [0.05, 0.5]}
    for name, blocks in {"varied": varied, "alike": {"n_iter": 4}}.items():
        with Journal.create(StudyFolder(folder.path / name), make_study(base=str(recipe), blocks=blocks)) as journal:
            recipe.write_text("training: {lr: 0.001}\n")
            assert journal.next_block() == 1
            assert journal.base(1).training.lr == 0.004
            assert journal.base(1).simulation.process_noise == (0.5 if name == "varied" else 0.05)
        recipe.write_text("training: {lr: 0.004}\n")


def test_a_study_that_cannot_come_to_its_last_block_does_not_start(folder: StudyFolder) -> None:
    study = make_study(blocks={"n_iter": 4, "path": "simulation.process_noise", "values": [0.05, -1.0]})
    with pytest.raises(ConfigError, match="process_noise"):
        Journal.create(folder, study)
    assert not folder.path.exists()


def test_a_proposal_becomes_one_node_however_often_it_is_accepted(journal: Journal, gate: Gate) -> None:
    content = mutation("training.lr", LR, 8.1e-4)
    new = gate.check(content, journal.snapshot())
    first = journal.propose("tpe", content)
    node = journal.accept(first, new)
    before = journal.snapshot(events=True)

    assert journal.accept(first, new) == node
    assert journal.snapshot(events=True) == before
    assert before.proposals[0].node == node.id
    assert dict(before.proposals[0].content) == content
    assert (node.proposer, node.proposal, dict(node.values)) == ("tpe", first, {"training.lr": 8.1e-4})
    with pytest.raises(JournalError, match="it is accepted"):
        journal.reject(first, "late")

    second = journal.propose("tpe", content)
    journal.reject(second, "node 1 has\nthis config")
    journal.reject(second, "another reason")
    assert journal.snapshot().proposals[1].reason == "node 1 has this config"
    with pytest.raises(JournalError, match="it is rejected"):
        journal.accept(second, new)


def test_a_patch_is_kept_with_its_commit_and_only_once_it_has_one(folder: StudyFolder) -> None:
    study = make_study(code={"allowed": True, "after": 0})
    content = {"kind": "code", "diff": "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n", "hypothesis": "µ"}
    with Journal.create(folder, study) as journal:
        gate = Gate(study, journal.code, journal.base)
        number = journal.propose("agent", content)
        new = gate.check(content, journal.snapshot())
        before = journal.snapshot(events=True)
        with pytest.raises(JournalError, match="a diff without a commit"):
            journal.accept(number, new)
        assert journal.snapshot(events=True) == before

        node = journal.accept(number, with_code(new, "c0ffee"))
        child = add_node(journal, gate, mutation("training.lr", LR, 8.1e-4, node.id))
        assert (node.code, child.code) == ("c0ffee", "c0ffee")
        assert journal.diff(node.id) == content["diff"]
        assert journal.diff(child.id) is None


def test_a_config_runs_once_on_a_pair_whichever_node_asks(journal: Journal, gate: Gate) -> None:
    node, again = add_baseline(journal, gate), add_baseline(journal, gate)
    pairs = panel(STUDY.seeds)
    run = journal.add_run(node.id, pairs[0])
    before = journal.snapshot(events=True)

    assert journal.add_run(again.id, pairs[0]) == run
    assert journal.snapshot(events=True) == before
    assert journal.add_run(again.id, pairs[1]).id == run.id + 1
    assert journal.add_run(again.id, holdout(STUDY.seeds)[0]).pair.holdout
    with pytest.raises(JournalError, match="a panel does not change"):
        journal.add_run(node.id, SeedPair(0, 99, 99))


def test_scores_are_kept_once_and_to_the_bit(journal: Journal, gate: Gate) -> None:
    run = add_scored(journal, add_baseline(journal, gate), -0.1 - 0.2)
    before = journal.snapshot(events=True)

    assert journal.score(run.id, {"gnn.W.r2": -0.1 - 0.2}) == run
    assert journal.snapshot(events=True) == before
    with pytest.raises(JournalError, match="other scores already"):
        journal.score(run.id, {"gnn.W.r2": -0.3})
    with pytest.raises(JournalError, match="no way from scored to ok, expected one of: none"):
        journal.move(run.id, RunState.OK)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "0.9", True])
def test_a_score_that_is_no_number_is_refused(journal: Journal, gate: Gate, value: object) -> None:
    run = journal.add_run(add_baseline(journal, gate).id, panel(STUDY.seeds)[0])
    journal.move(run.id, RunState.SUBMITTED)
    journal.move(run.id, RunState.OK)
    with pytest.raises(JournalError, match="expected a finite number"):
        journal.score(run.id, {"a": 0.5, "b": value})  # type: ignore[dict-item]
    assert journal.snapshot().runs[0].state is RunState.OK


@settings(max_examples=20)
@given(st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False), max_size=30))
def test_numbers_come_back_to_the_bit(metrics: dict[str, float]) -> None:
    with tempfile.TemporaryDirectory() as path, Journal.create(StudyFolder(Path(path)), STUDY) as journal:
        run = journal.add_run(add_baseline(journal, Gate(STUDY)).id, panel(STUDY.seeds)[0])
        journal.move(run.id, RunState.SUBMITTED, facts={"trajectory": list(metrics.values())})
        journal.move(run.id, RunState.OK)
        journal.score(run.id, metrics)
        (back,) = journal.snapshot().runs
    assert {path: value.hex() for path, value in back.metrics.items()} == {p: v.hex() for p, v in metrics.items()}
    assert [value.hex() for value in back.facts["trajectory"]] == [value.hex() for value in metrics.values()]


def test_another_attempt_starts_clean_and_remembers_the_earlier_one(journal: Journal, gate: Gate) -> None:
    run = journal.add_run(add_baseline(journal, gate).id, panel(STUDY.seeds)[0])
    journal.move(run.id, RunState.SUBMITTED, slot=2, handle="pid 7")
    journal.move(run.id, RunState.RUNNING, started=100.0)
    failed = journal.move(run.id, RunState.LOST, error="node\nrebooted", ended=160.0, facts={"host": "a"})
    assert (failed.slot, failed.handle, failed.seconds, failed.error) == (2, "pid 7", 60.0, "node rebooted")

    again = journal.move(run.id, RunState.ACCEPTED)
    assert (again.attempt, again.slot, again.handle, again.started, again.error) == (2, None, None, None, None)
    assert again.facts == {"earlier": [{"state": "lost", "error": "node rebooted", "seconds": 60.0}]}

    journal.move(run.id, RunState.SUBMITTED)
    begun = time.time()
    journal.move(run.id, RunState.RUNNING)
    ended = journal.move(run.id, RunState.CRASH, error="boom")
    assert ended.attempt == 2
    assert ended.started is not None
    assert begun <= ended.started <= (ended.ended or 0)


class Histories(RuleBasedStateMachine):
    """Any order of calls, against a model that is a few dictionaries."""

    @initialize()
    def create(self) -> None:
        self.stack = contextlib.ExitStack()
        self.folder = StudyFolder(Path(self.stack.enter_context(tempfile.TemporaryDirectory())))
        self.journal = Journal.create(self.folder, STUDY)
        self.gate = Gate(STUDY)
        self.nodes: list[str] = []
        self.runs: dict[int, tuple[RunState, int]] = {}
        self.pairs: dict[tuple[str, int], int] = {}

    @rule(batch=st.integers(1, 5))
    def add_node(self, batch: int) -> None:
        content = mutation("training.batch_size", 8, batch)
        node = self.gate.check(content, self.journal.snapshot()) if batch not in self._tried() else None
        if node is not None:
            self.journal.accept(self.journal.propose("x", content), node)
            self.nodes.append(node.config)

    def _tried(self) -> set[int]:
        return {node.values["training.batch_size"] for node in self.journal.snapshot().nodes}

    @precondition(lambda self: self.nodes)
    @rule(data=st.data(), pair=st.sampled_from(panel(STUDY.seeds)))
    def add_run(self, data: st.DataObject, pair: SeedPair) -> None:
        number = data.draw(st.integers(1, len(self.nodes)))
        run = self.journal.add_run(number, pair)
        known = self.pairs.setdefault((self.nodes[number - 1], pair.index), run.id)
        assert known == run.id
        self.runs.setdefault(run.id, (RunState.ACCEPTED, 1))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), legal=st.booleans())
    def move(self, data: st.DataObject, legal: bool) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        old, attempt = self.runs[run]
        state = data.draw(st.sampled_from((TRANSITIONS[old] if legal else ()) or tuple(RunState)))
        if state not in TRANSITIONS[old] or state is RunState.SCORED:
            with pytest.raises(JournalError):
                self.journal.move(run, state)
            return
        again = old in NOT_OBSERVED
        self.journal.move(run, state)
        self.runs[run] = (state, attempt + 1 if again else attempt)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def score(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.runs)))
        state, attempt = self.runs[run]
        if state in (RunState.OK, RunState.SCORED):
            self.journal.score(run, {"r2": -run / 3})
            self.runs[run] = (RunState.SCORED, attempt)
        else:
            with pytest.raises(JournalError):
                self.journal.score(run, {"r2": 0.5})

    @rule()
    def open_again(self) -> None:
        self.journal.close()
        self.journal = Journal.open(self.folder, writer=True)

    @invariant()
    def is_what_the_model_says(self) -> None:
        snapshot = self.journal.snapshot()
        assert [node.config for node in snapshot.nodes] == self.nodes
        assert {run.id: (run.state, run.attempt) for run in snapshot.runs} == self.runs
        for run in snapshot.runs:
            assert dict(run.metrics) == ({"r2": -run.id / 3} if run.state is RunState.SCORED else {})
            assert (run.ended is not None) == (run.state in (*ENDED, RunState.SCORED))
        self.journal.verify()

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.stack.close()


def test_any_history_is_kept_as_it_was() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=12, stateful_step_count=30, deadline=None))
