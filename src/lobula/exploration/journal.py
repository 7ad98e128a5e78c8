"""The journal: the SQLite database that is the truth about a study. One process writes, any number read."""

import math
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lobula.config import ExperimentConfig
from lobula.errors import JournalError
from lobula.exploration import journal_read, journal_schema, journal_write
from lobula.exploration.folder import StudyFolder
from lobula.exploration.gate import NewNode
from lobula.exploration.plain import line
from lobula.exploration.records import TRANSITIONS, EventRecord, NodeRecord, RunRecord, RunState, SeedPair, Snapshot
from lobula.exploration.study import Study

PHASES = ("search", "race", "certify", "done")


class Journal:
    """A study's journal. Every method that writes is one transaction, with its event in it.

    From `Journal.create` or `Journal.open`; a context manager that closes it. What a method has returned from is on
    disk and survives a kill of the process and of the machine. For the thread that made it.

    Attributes:
        path: the database.
        study: definition of the study.
        code: id of the frozen code.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: journal_schema.WriterLock | None) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        with journal_schema.clear_errors(path):
            self.study: Study = journal_read.read_study(connection)
            self.code: str = connection.execute("SELECT code FROM study").fetchone()[0]

    @classmethod
    def create(cls, folder: StudyFolder, study: Study, code: str = "") -> Self:
        """A new journal, open to write; the study is frozen from here on.

        Args:
            folder: the study's folder, made if need be.
            study: its definition.
            code: id of the frozen code, from `identity.code_id`.

        Raises:
            JournalError: if there is one already, or another controller is at work.
            ConfigError: if the base experiment of a block is not valid.
        """
        for number in range(study.n_blocks or 1):
            study.base_config(number)  # an error comes before any file
        folder.path.mkdir(parents=True, exist_ok=True)
        with journal_schema.opened(folder.journal, writer=True) as (connection, lock):
            if not journal_schema.is_empty(connection):
                raise JournalError(f"{folder.path}: holds a study already; go on with `lobula explore resume`")
            connection.execute("BEGIN IMMEDIATE")
            journal_schema.create_tables(connection)
            journal_write.insert_study(connection, study, code)
            connection.execute("COMMIT")
            return cls(folder.journal, connection, lock)

    @classmethod
    def open(cls, folder: StudyFolder, writer: bool = False) -> Self:
        """A journal that is there.

        Args:
            folder: the study's folder.
            writer: True for the controller, of which there is one; False only reads, also while a controller writes.

        Raises:
            JournalError: if there is none, if it is damaged or of another version, or if another controller is at work.
        """
        if not folder.journal.is_file():
            raise JournalError(f"{folder.path}: no study here; start one with `lobula explore run`")
        with journal_schema.opened(folder.journal, writer) as (connection, lock):
            journal_schema.check_version(connection, folder.journal)
            return cls(folder.journal, connection, lock)

    def close(self) -> None:
        """Close the database and give the writer's lock back; twice is fine."""
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def snapshot(self, events: bool = False) -> Snapshot:
        """All that the study knows at one moment.

        Args:
            events: with the history.
        """
        with self._reading() as connection:
            return journal_read.read_snapshot(connection, self.study, events)

    @property
    def n_events(self) -> int:
        """Length of the history; it grows with every change."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])

    def events(self, after: int = 0) -> list[EventRecord]:
        """The history from an event on, that one excluded."""
        with self._reading() as connection:
            return journal_read.read_events(connection, after)

    def config(self, config: str) -> ExperimentConfig:
        """The resolved config of an id; its seeds are the base's, see `panel.with_pair`.

        Raises:
            JournalError: if there is none.
        """
        with self._reading() as connection:
            return journal_read.read_config(connection, "SELECT document FROM config WHERE id = ?", config)

    def base(self, block: int) -> ExperimentConfig:
        """The resolved experiment that a block starts from, as it was when the study started.

        Raises:
            JournalError: if there is no such block.
        """
        with self._reading() as connection:
            return journal_read.read_config(connection, "SELECT base FROM block WHERE number = ?", block)

    def diff(self, node_id: int) -> str | None:
        """The patch of a node that changed code itself, as a unified diff; None for others."""
        with self._reading() as connection:
            row = connection.execute("SELECT diff FROM patch WHERE node = ?", (node_id,)).fetchone()
        return None if row is None else row[0]

    def verify(self) -> int:
        """Check the database, the chain of events, and that nodes and runs are what the events say.

        Returns:
            Number of events.

        Raises:
            JournalError: at the first place that does not fit.
        """
        with self._reading() as connection:
            return journal_read.check_history(connection)

    def propose(self, proposer: str, content: Mapping[str, Any], request: str | None = None) -> int:
        """Keep what somebody proposed, whatever it is, until it is accepted or rejected.

        Args:
            proposer: who.
            content: the proposal.
            request: id of the request that it came by; the same request a second time is the same proposal.

        Returns:
            Id of the proposal.
        """
        with self._writing() as connection:
            known = None if request is None else journal_read.find_request(connection, request)
            if known is not None:
                return known
            number = journal_write.insert_proposal(connection, proposer, content)
            if request is not None:
                journal_write.add_event(connection, "request", request, {"proposal": number})
            return number

    def reject(self, proposal_id: int, reason: str) -> None:
        """Note that a proposal is not allowed, and why; it costs nothing. A second time is fine.

        Raises:
            JournalError: if there is no such proposal, or it was accepted.
        """
        with self._writing() as connection:
            verdict = journal_read.read_proposal(connection, proposal_id).verdict
            if verdict == "accepted":
                raise JournalError(f"proposal {proposal_id}: got a rejection, but it is accepted")
            if verdict == "pending":
                journal_write.reject_proposal(connection, proposal_id, reason)

    def accept(self, proposal_id: int, node: NewNode) -> NodeRecord:
        """Make a node of a proposal; a proposal that has one already gives that one.

        Raises:
            JournalError: if there is no such proposal, or it was rejected.
        """
        with self._writing() as connection:
            proposal = journal_read.read_proposal(connection, proposal_id)
            if proposal.verdict == "rejected":
                raise JournalError(f"proposal {proposal_id}: got an acceptance, but it is rejected")
            number = proposal.node
            if number is None:
                number = journal_write.insert_node(connection, proposal_id, proposal.proposer, node)
            return journal_read.read_node(connection, number)

    def accept_stop(self, proposal_id: int) -> None:
        """Note that a proposal to stop is granted; it makes no node.

        Raises:
            JournalError: if there is no such proposal.
        """
        with self._writing() as connection:
            journal_read.read_proposal(connection, proposal_id)
            connection.execute("UPDATE proposal SET verdict = 'accepted' WHERE id = ?", (proposal_id,))
            journal_write.add_event(connection, "proposal", f"proposal {proposal_id}", {"verdict": "accepted"})

    def note(self, node_id: int, text: str) -> None:
        """Add an observation to a node.

        Raises:
            JournalError: if there is no such node.
        """
        with self._writing() as connection:
            old, text = journal_read.read_node(connection, node_id).note, line(text)
            note = f"{old}\n{text}" if old else text
            connection.execute("UPDATE node SET note = ? WHERE id = ?", (note, node_id))
            journal_write.add_event(connection, "note", f"node {node_id}", {"text": text})

    def add_run(self, node_id: int, pair: SeedPair) -> RunRecord:
        """A run of a node's config on a pair of seeds, accepted; the one that is there if the config has had that pair.

        Raises:
            JournalError: if there is no such node, or the pair of that number had other seeds before.
        """
        with self._writing() as connection:
            config = journal_read.read_node(connection, node_id).config
            run = journal_read.find_run(connection, config, pair)
            if run is not None and run.pair != pair:
                raise JournalError(f"run {run.id}: got pair {pair}, but it has {run.pair}; a panel does not change")
            return run or journal_write.insert_run(connection, node_id, config, pair)

    def move(
        self,
        run_id: int,
        state: RunState,
        *,
        slot: int | None = None,
        handle: str | None = None,
        error: str | None = None,
        facts: Mapping[str, Any] | None = None,
        started: float | None = None,
        ended: float | None = None,
    ) -> RunRecord:
        """Bring a run to another state; from where the machine failed back to accepted is another attempt.

        Args:
            run_id: the run.
            state: where it is now; scored only by `score`.
            slot: slot that it has; None: as before.
            handle: how the engine finds it; None: as before.
            error: one line, where it failed; None: as before.
            facts: further facts, added to those that are there.
            started: when it began, seconds since 1970; default: now, if it runs now.
            ended: when it ended; default: now, if it has ended now.

        Raises:
            JournalError: if there is no such run, or no way from its state to that one.
        """
        with self._writing() as connection:
            old = journal_read.read_run(connection, run_id)
            ways = [way for way in TRANSITIONS[old.state] if way is not RunState.SCORED]
            if state not in ways:
                raise JournalError(
                    f"run {run_id}: no way from {old.state} to {state}, expected one of: {', '.join(ways) or 'none'}"
                )
            change = journal_write.RunChange(state, slot, handle, error, facts or {}, started, ended)
            return journal_write.update_run(connection, old, change)

    def score(self, run_id: int, metrics: Mapping[str, float], facts: Mapping[str, Any] | None = None) -> RunRecord:
        """Keep the scores of a run that ended well; the same scores a second time are fine.

        Args:
            run_id: the run.
            metrics: finite numbers by path, such as "gnn.W.r2".
            facts: further facts, added to those that are there.

        Raises:
            JournalError: if the run did not end well, if it has other scores, or if a number is not finite.
        """
        wrong = [path for path, value in metrics.items() if not _is_number(value)]
        if wrong:
            raise JournalError(
                f"run {run_id}: {wrong[0]}: got {metrics[wrong[0]]!r}, expected a finite number; leave it out"
            )
        with self._writing() as connection:
            old = journal_read.read_run(connection, run_id)
            if old.state is RunState.SCORED and dict(old.metrics) == dict(metrics):
                return old
            if old.state is RunState.SCORED:
                raise JournalError(f"run {run_id}: has other scores already; a run is scored once")
            if old.state is not RunState.OK:
                raise JournalError(f"run {run_id}: got scores, but it is {old.state}, expected {RunState.OK}")
            change = journal_write.RunChange(RunState.SCORED, facts=facts or {}, metrics=metrics)
            return journal_write.update_run(connection, old, change)

    def set_phase(self, phase: str) -> None:
        """Go on to another phase.

        Raises:
            JournalError: if there is no such phase.
        """
        if phase not in PHASES:
            raise JournalError(f"phase: got {phase!r}, expected one of: {', '.join(PHASES)}")
        with self._writing() as connection:
            connection.execute("UPDATE study SET phase = ?", (phase,))
            journal_write.add_event(connection, "phase", phase, {})

    def next_block(self) -> int:
        """Begin the next block.

        Returns:
            Its number.

        Raises:
            JournalError: if the study has no further block.
        """
        with self._writing() as connection:
            return journal_write.begin_block(connection, self.study)

    def principle(self, text: str) -> None:
        """Keep a statement for the memory; the same one is kept once."""
        with self._writing() as connection:
            text = line(text)
            if connection.execute("SELECT 1 FROM principle WHERE text = ?", (text,)).fetchone() is None:
                connection.execute("INSERT INTO principle (time, text) VALUES (?, ?)", (time.time(), text))
                journal_write.add_event(connection, "principle", "study", {"text": text})

    def event(self, kind: str, subject: str, content: Mapping[str, Any]) -> None:
        """Add a line to the history, for what the other methods do not tell ("agent", "engine", ...).

        Raises:
            JournalError: for the kinds "run" and "node": those tell of themselves.
        """
        if kind in ("run", "node"):
            raise JournalError(f"event: got kind {kind!r}, expected another one: runs and nodes tell of themselves")
        with self._writing() as connection:
            journal_write.add_event(connection, line(kind), line(subject), content)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """All of one moment, also while somebody writes."""
        with journal_schema.clear_errors(self.path):
            try:
                self._connection.execute("BEGIN")
                yield self._connection
            finally:
                if self._connection.in_transaction:  # some errors have undone it already
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on disk when it is left."""
        if self._lock is None:
            raise JournalError(f"{self.path}: open to read only, expected the controller's; open it with writer=True")
        with journal_schema.clear_errors(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # some errors have undone it already
                    self._connection.execute("ROLLBACK")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
