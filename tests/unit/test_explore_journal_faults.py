"""The journal when things go wrong: kills, second controllers, damage, full disks, other programs."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.explore import LR, add_baseline, add_node, add_scored, make_study, mutation

from lobula.errors import DiskFullError, JournalError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.gate import Gate
from lobula.exploration.journal import Journal
from lobula.exploration.journal_read import event_digest
from lobula.exploration.records import RunState, Snapshot

STUDY = make_study(space=["training.lr", "training.batch_size"], seeds={"panel": 3})
NOBODY = 65534
REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study with a scored baseline and a node."""
    folder = StudyFolder(tmp_path / "study")
    with Journal.create(folder, STUDY) as journal:
        gate = Gate(STUDY)
        add_scored(journal, add_baseline(journal, gate), 0.5)
        add_node(journal, gate, mutation("training.lr", LR, 8.1e-4))
    return folder


@contextlib.contextmanager
def writer(folder: StudyFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that writes into the journal and says what it has committed."""
    command = [sys.executable, "-m", "tests.support.explore", str(folder.path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def check_whole(snapshot: Snapshot) -> None:
    """No half node and no half run: each is there with all that belongs to it."""
    nodes = {node.id: node for node in snapshot.nodes}
    proposals = {proposal.id: proposal for proposal in snapshot.proposals}
    for node in snapshot.nodes:
        assert node.proposal is not None
        assert proposals[node.proposal].node == node.id
    for proposal in snapshot.proposals:
        assert (proposal.verdict == "accepted") == (proposal.node is not None)
    for run in snapshot.runs:
        assert nodes[run.node].config == run.config
        assert (run.state is RunState.SCORED) == bool(run.metrics)
    assert len({(run.config, run.pair) for run in snapshot.runs}) == len(snapshot.runs)


def test_a_kill_in_the_middle_of_many_transactions_loses_and_doubles_nothing(folder: StudyFolder) -> None:
    rng = random.Random(3)
    with Journal.open(folder) as journal:
        n_commits = commits(journal.snapshot(events=True))
    for _ in range(3):
        with writer(folder) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begin\n"
            said = [process.stdout.readline() for _ in range(rng.randrange(5, 25))]
            time.sleep(rng.random() / 30)
            process.send_signal(signal.SIGKILL)
            said += process.stdout.readlines()
        said = [text for text in said if text.endswith("\n")]

        with Journal.open(folder, writer=True) as journal:
            journal.verify()
            snapshot = journal.snapshot(events=True)
        check_whole(snapshot)
        order = list(RunState)
        for what, number, told in map(str.split, said):
            if what == "node":
                assert snapshot.node(int(number)).proposal == int(told)
            elif what == "run":
                state = snapshot.runs[int(number) - 1].state
                assert order.index(state) >= order.index(RunState(told))
            else:
                assert snapshot.proposals[int(number) - 1].id == int(number)
        assert commits(snapshot) - n_commits in (len(said), len(said) + 1)  # the last was perhaps not said any more
        n_commits = commits(snapshot)


def commits(snapshot: Snapshot) -> int:
    """Events but for the second one of an acceptance."""
    return sum(event.kind != "proposal" or event.content["verdict"] == "pending" for event in snapshot.events)


def test_readers_see_whole_moments_while_a_controller_writes(folder: StudyFolder) -> None:
    with writer(folder) as process, Journal.open(folder) as reader:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        n_events = [len(reader.events())]
        while n_events[-1] < n_events[0] + 40:
            assert process.stdout.readline()
            snapshot = reader.snapshot(events=True)
            check_whole(snapshot)
            n_events.append(len(snapshot.events))
            assert reader.verify() >= n_events[-1]
        assert n_events == sorted(n_events)
        with pytest.raises(JournalError, match="open to read only"):
            reader.set_phase("race")


def test_a_second_controller_is_told_who_the_first_is_and_a_killed_one_leaves_no_lock(folder: StudyFolder) -> None:
    with writer(folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        for attempt in (lambda: Journal.open(folder, writer=True), lambda: Journal.create(folder, STUDY)):
            with pytest.raises(JournalError, match=f"driven by process {process.pid}, ") as caught:
                attempt()
            assert "\n" not in str(caught.value)
        process.kill()
        process.wait()
        with Journal.open(folder, writer=True) as journal:
            journal.set_phase("done")


def test_a_study_is_created_once_and_a_creation_that_was_cut_off_is_made_good(folder: StudyFolder) -> None:
    with pytest.raises(JournalError, match="holds a study already"):
        Journal.create(folder, STUDY)
    with Journal.open(folder, writer=True) as journal:  # the refusal gave the lock back
        assert len(journal.snapshot().nodes) == 2

    other = StudyFolder(folder.path / "other")
    with pytest.raises(JournalError, match="no study here"):
        Journal.open(other)
    other.path.mkdir()
    other.journal.touch()
    for as_writer in (True, False):
        with pytest.raises(JournalError, match="start the study again"):
            Journal.open(other, writer=as_writer)
    with Journal.create(other, STUDY) as journal:
        assert journal.verify() == 1


def spoil_head(path: Path) -> None:
    path.write_bytes(b"not a database at all" + path.read_bytes()[21:])


def spoil_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = random.Random(0).randbytes(len(content) - 4096)
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def read_all(folder: StudyFolder, as_writer: bool) -> None:
    with Journal.open(folder, writer=as_writer) as journal:
        journal.snapshot(events=True)
        journal.verify()


@pytest.mark.parametrize("spoil", [spoil_head, spoil_pages, cut_off])
@pytest.mark.parametrize("as_writer", [True, False])
def test_damage_is_said_in_one_line(folder: StudyFolder, spoil: Callable[[Path], None], as_writer: bool) -> None:
    spoil(folder.journal)
    for _ in range(2):  # the first gave the lock back
        with pytest.raises(JournalError, match=r"damaged|not a journal|expected") as caught:
            read_all(folder, as_writer)
        assert "\n" not in str(caught.value)
        assert "driven" not in str(caught.value)


def by_another_program(folder: StudyFolder, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(folder.journal)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_another_version_is_refused(folder: StudyFolder) -> None:
    by_another_program(folder, "PRAGMA user_version = 2")
    with pytest.raises(JournalError, match="got journal version 2, expected 1"):
        Journal.open(folder)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    by_another_program(folder, "CREATE TABLE study (id)")
    with pytest.raises(JournalError, match="without a study"):
        Journal.open(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET content = '{}' WHERE id = 2",
        "DELETE FROM event WHERE id = 2",
        "REPLACE INTO event SELECT id, time, kind, subject, '{}', digest FROM event WHERE id = 2",
    ],
)
def test_events_are_append_only(folder: StudyFolder, statement: str) -> None:
    with Journal.open(folder, writer=True) as journal, pytest.raises(sqlite3.IntegrityError, match="events are not"):
        journal._connection.execute(statement)


TAMPERED = {
    "an event changed": ["UPDATE event SET content = replace(content, '0.00081', '0.00082')"],
    "a number changed by one bit": ["UPDATE event SET time = time + 1e-6 WHERE id = 3"],
    "an event removed": ["DELETE FROM event WHERE id = 4"],
    "the last events removed": ["DELETE FROM event WHERE id > 7"],
    "an event added": ["INSERT INTO event SELECT max(id) + 1, 0, 'note', 'x', '{}', digest FROM event"],
    "a run changed": ["UPDATE run SET state = 'crash'"],
    "a score changed": ["UPDATE metric SET value = 0.9"],
    "a config exchanged": ["UPDATE node SET config = (SELECT config FROM node WHERE id = 1)"],
    "a run removed": ["DELETE FROM metric", "DELETE FROM run"],
    "a node removed": ["DELETE FROM node WHERE id = 2"],
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_another_program_changed_is_found(folder: StudyFolder, what: str) -> None:
    with Journal.open(folder) as journal:
        journal.verify()
    triggers = ("DROP TRIGGER event_is_not_changed", "DROP TRIGGER event_is_not_deleted")
    by_another_program(folder, *triggers, *TAMPERED[what])
    with Journal.open(folder) as journal, pytest.raises(JournalError, match="restore a copy"):
        journal.verify()


def test_an_event_whose_own_digest_was_made_to_fit_breaks_the_chain_after_it(folder: StudyFolder) -> None:
    with Journal.open(folder) as journal:
        first, second = journal.events()[:2]
    forged = event_digest(first.digest, second.id, second.time, second.kind, second.subject, "{}")
    change = f"UPDATE event SET content = '{{}}', digest = '{forged}' WHERE id = 2"
    by_another_program(folder, "DROP TRIGGER event_is_not_changed", change)
    with Journal.open(folder) as journal, pytest.raises(JournalError, match="event 3 was changed"):
        journal.verify()


def test_a_full_disk_keeps_what_was_committed(folder: StudyFolder) -> None:
    with Journal.open(folder, writer=True) as journal:
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to run out of room
        before = journal.snapshot(events=True)
        with pytest.raises(DiskFullError, match="what was committed is kept"):
            journal.event("agent", "agent", {"text": "x" * 100_000})
        assert journal.snapshot(events=True) == before

        journal._connection.execute("PRAGMA max_page_count = 1000000")
        journal.event("agent", "agent", {"text": "x" * 100_000})
        assert journal.verify() == len(before.events) + 1


def test_a_failure_within_a_step_undoes_all_of_it(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(folder, writer=True) as journal:
        before = journal.snapshot(events=True)
        content = mutation("training.batch_size", 8, 4)
        new = Gate(STUDY).check(content, before)
        proposal = journal.propose("x", content)
        before = journal.snapshot(events=True)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("lobula.exploration.journal_read.read_node", interrupted)  # after the rows were written
            with pytest.raises(KeyboardInterrupt):
                journal.accept(proposal, new)
        assert journal.snapshot(events=True) == before
        assert journal.accept(proposal, new).id == 3


def test_a_study_in_a_folder_that_is_not_ours_can_be_read_and_not_driven() -> None:
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        folder = StudyFolder(Path(path) / "study")
        Journal.create(folder, STUDY).close()
        folder.journal.with_suffix(".lock").chmod(0o444)
        folder.path.chmod(0o555)
        child = os.fork()
        if child == 0:  # somebody else
            with contextlib.suppress(BaseException):
                os._exit(reads_but_does_not_drive(folder))
            os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        folder.path.chmod(0o755)


def reads_but_does_not_drive(folder: StudyFolder) -> int:
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    with Journal.open(folder) as journal:
        if journal.verify() != 1:
            return 1
    with pytest.raises(JournalError, match="Permission denied"):
        Journal.open(folder, writer=True)
    return 0


def test_the_journal_starts_without_the_numerical_libraries() -> None:
    code = "import sys, lobula.exploration.journal; print({'torch', 'pandas', 'scipy', 'zarr'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
