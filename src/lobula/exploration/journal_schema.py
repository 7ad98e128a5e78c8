"""The journal's database: its tables, how it is opened, and who may write."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from lobula.errors import DiskFullError, JournalError

VERSION = 1
APPLICATION = 0x6C6F6275  # "lobu"
BUSY_SECONDS = 30.0

_TABLES = """
CREATE TABLE study (
    id INTEGER PRIMARY KEY CHECK (id = 1), created REAL NOT NULL, definition TEXT NOT NULL, code TEXT NOT NULL,
    phase TEXT NOT NULL, block INTEGER NOT NULL REFERENCES block
);
CREATE TABLE block (number INTEGER PRIMARY KEY, base TEXT NOT NULL, started REAL);
CREATE TABLE config (id TEXT PRIMARY KEY, document TEXT NOT NULL, code TEXT) WITHOUT ROWID;
CREATE TABLE proposal (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, proposer TEXT NOT NULL, content TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('pending', 'accepted', 'rejected')), reason TEXT NOT NULL DEFAULT ''
);
CREATE TABLE node (
    id INTEGER PRIMARY KEY, block INTEGER NOT NULL REFERENCES block, parent INTEGER REFERENCES node,
    other_parents TEXT NOT NULL, config TEXT NOT NULL REFERENCES config, "values" TEXT NOT NULL, changes TEXT NOT NULL,
    proposer TEXT NOT NULL, strategy TEXT NOT NULL, hypothesis TEXT NOT NULL,
    proposal INTEGER NOT NULL UNIQUE REFERENCES proposal, code TEXT, note TEXT NOT NULL DEFAULT ''
);
CREATE TABLE patch (node INTEGER PRIMARY KEY REFERENCES node, diff TEXT NOT NULL, code TEXT NOT NULL);
CREATE TABLE run (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node, config TEXT NOT NULL REFERENCES config,
    pair INTEGER NOT NULL, holdout INTEGER NOT NULL, data INTEGER NOT NULL, init INTEGER NOT NULL,
    state TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 1, slot INTEGER, handle TEXT,
    created REAL NOT NULL, started REAL, ended REAL, error TEXT, facts TEXT NOT NULL DEFAULT '{}',
    UNIQUE (config, holdout, pair)
);
CREATE TABLE metric (
    run INTEGER NOT NULL REFERENCES run, path TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (run, path)
) WITHOUT ROWID;
CREATE TABLE principle (id INTEGER PRIMARY KEY, time REAL NOT NULL, text TEXT NOT NULL UNIQUE);
CREATE TABLE event (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, content TEXT NOT NULL,
    digest TEXT NOT NULL
);
CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are not changed'); END;
CREATE TRIGGER event_is_not_deleted BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are not deleted'); END;
"""


@contextmanager
def opened(path: Path, writer: bool) -> "Iterator[tuple[sqlite3.Connection, WriterLock | None]]":
    """The database, and the lock of a writer. They stay open, but for an error in the body, which gives both back."""
    lock = WriterLock(path.with_suffix(".lock")) if writer else None
    connection = None
    try:
        with clear_errors(path):
            connection = _connect_to_write(path) if writer else _connect_to_read(path)
            yield connection, lock
    except BaseException:
        if connection is not None:
            connection.close()
        if lock is not None:
            lock.release()
        raise


def create_tables(connection: sqlite3.Connection) -> None:
    """All tables, within the transaction that is open."""
    for statement in _statements(_TABLES):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there is no table yet: a journal whose creation was cut off."""
    return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises JournalError for what is no journal, or one of another version."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise JournalError(f"{path}: a database without a study, expected a study's journal; start the study again")
    if version != VERSION:
        raise JournalError(
            f"{path}: got journal version {version}, expected {VERSION}; open it with the lobula that wrote it, or "
            "start a new study"
        )


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite raises into one clear line.

    Raises:
        JournalError: if the database is damaged, busy, or not to be written.
        DiskFullError: if there is no room; what was committed is intact.
    """
    try:
        yield
    except sqlite3.Error as cause:
        name = getattr(cause, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_FULL"):
            raise DiskFullError(
                f"{path}: the disk is full; what was committed is kept; free space and resume"
            ) from cause
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise JournalError(f"{path}: held by another program, expected a free journal; close it there") from cause
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            raise JournalError(f"{path}: {cause}; check that the folder may be read and written") from cause
        raise JournalError(
            f"{path}: damaged or not a journal ({cause}), expected a study's journal; restore a copy, or start a new "
            "study"
        ) from cause


class WriterLock:
    """The one writer's lock: held by a process, given back when it ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO | None = None
        try:
            file = path.open("a+")
        except OSError as cause:
            raise JournalError(f"{path}: {cause.strerror}, expected a folder to write in; choose another") from cause
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise JournalError(
                f"{path.parent}: driven by process {owner}, expected a study that no other controller drives; "
                "stop it, or only look (lobula explore status)"
            ) from cause
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Gives the lock back; twice is fine."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()  # closing gives the flock back
            self._file = None


def _connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection that writes: what it has committed survives a kill and a power cut."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        connection.close()
        raise JournalError(f"{path}: got journal mode {mode}, expected WAL; put the study on a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")  # so that a REPLACE is a deletion, too
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads; it works while a controller writes, and in a folder that is not ours."""
    foreign = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    options = "immutable=1" if foreign else "mode=ro"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _statements(script: str) -> Iterator[str]:
    """Statements of a script; unlike `executescript`, running them one by one leaves the transaction open."""
    statement = ""
    for part in script.strip().splitlines(keepends=True):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
