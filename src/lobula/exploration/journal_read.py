"""Rows of the journal as records, and the check of its history."""

import hashlib
import json
import sqlite3
from typing import Any

from lobula.config import ExperimentConfig
from lobula.errors import ConfigError, JournalError
from lobula.exploration.plain import canonical
from lobula.exploration.records import (
    EventRecord,
    NodeRecord,
    ProposalRecord,
    RunRecord,
    RunState,
    SeedPair,
    Snapshot,
)
from lobula.exploration.study import Study

START = "0" * 64
"""What the first event's digest continues."""

_PROPOSALS = "SELECT p.*, n.id AS node FROM proposal p LEFT JOIN node n ON n.proposal = p.id"


def read_study(connection: sqlite3.Connection) -> Study:
    """The study's definition.

    Raises:
        JournalError: if this version of lobula does not understand it.
    """
    row = _row(connection, "SELECT definition FROM study")
    try:
        return Study.from_dict(json.loads(row["definition"]))
    except ConfigError as cause:
        raise JournalError(
            f"journal: {cause}; expected a study that this lobula knows; open it with the lobula that started it"
        ) from cause


def read_config(connection: sqlite3.Connection, query: str, key: str | int) -> ExperimentConfig:
    """The experiment in the one column that a query finds.

    Raises:
        JournalError: if there is none, or this version of lobula does not understand it.
    """
    row = _row(connection, query, key, what=f"config of {key}")
    try:
        return ExperimentConfig.from_dict(json.loads(row[0]))
    except ConfigError as cause:
        raise JournalError(
            f"journal: {cause}; expected a config that this lobula knows; open it with the lobula that wrote it"
        ) from cause


def read_snapshot(connection: sqlite3.Connection, study: Study, with_events: bool) -> Snapshot:
    """All that the study knows; within a transaction it is of one moment."""
    state = _row(connection, "SELECT phase, block FROM study")
    return Snapshot(
        study=study,
        nodes=tuple(map(_node, _rows(connection, "SELECT * FROM node ORDER BY id"))),
        runs=tuple(read_runs(connection)),
        proposals=tuple(map(_proposal, _rows(connection, f"{_PROPOSALS} ORDER BY p.id"))),
        events=tuple(read_events(connection)) if with_events else (),
        principles=tuple(row["text"] for row in _rows(connection, "SELECT text FROM principle ORDER BY id")),
        phase=state["phase"],
        block=state["block"],
    )


def read_node(connection: sqlite3.Connection, number: int) -> NodeRecord:
    """A node.

    Raises:
        JournalError: if there is none.
    """
    return _node(_row(connection, "SELECT * FROM node WHERE id = ?", number, what=f"node {number}"))


def read_run(connection: sqlite3.Connection, number: int) -> RunRecord:
    """A run.

    Raises:
        JournalError: if there is none.
    """
    row = _row(connection, "SELECT * FROM run WHERE id = ?", number, what=f"run {number}")
    metrics = _rows(connection, "SELECT path, value FROM metric WHERE run = ?", number)
    return _run(row, {metric["path"]: metric["value"] for metric in metrics})


def read_runs(connection: sqlite3.Connection) -> list[RunRecord]:
    """All runs in order of id."""
    metrics: dict[int, dict[str, float]] = {}
    for row in _rows(connection, "SELECT run, path, value FROM metric"):
        metrics.setdefault(row["run"], {})[row["path"]] = row["value"]
    return [_run(row, metrics.get(row["id"], {})) for row in _rows(connection, "SELECT * FROM run ORDER BY id")]


def read_proposal(connection: sqlite3.Connection, number: int) -> ProposalRecord:
    """A proposal.

    Raises:
        JournalError: if there is none.
    """
    return _proposal(_row(connection, f"{_PROPOSALS} WHERE p.id = ?", number, what=f"proposal {number}"))


def find_request(connection: sqlite3.Connection, request: str) -> int | None:
    """Number of the proposal that came by a request; None if there is none."""
    query = "SELECT content FROM event WHERE kind = 'request' AND subject = ?"
    row = connection.execute(query, (request,)).fetchone()
    return None if row is None else int(json.loads(row["content"])["proposal"])


def find_run(connection: sqlite3.Connection, config: str, pair: SeedPair) -> RunRecord | None:
    """The run of a config on the pair of that number, or None."""
    query = "SELECT id FROM run WHERE config = ? AND holdout = ? AND pair = ?"
    row = connection.execute(query, (config, pair.holdout, pair.index)).fetchone()
    return None if row is None else read_run(connection, row[0])


def read_events(connection: sqlite3.Connection, after: int = 0) -> list[EventRecord]:
    """Events in order, those with a higher number than `after`."""
    found = _rows(connection, "SELECT * FROM event WHERE id > ? ORDER BY id", after)
    return [_event(row) for row in found]


def event_digest(before: str, number: int, time: float, kind: str, subject: str, content: str) -> str:
    """Digest of an event, which continues the digest of the event before it."""
    return hashlib.sha256(canonical([before, number, time, kind, subject, content]).encode()).hexdigest()


def check_history(connection: sqlite3.Connection) -> int:
    """Check the database, the chain of events, and that nodes and runs are what the events say.

    Returns:
        Number of events.

    Raises:
        JournalError: at the first place that does not fit.
    """
    finding = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if finding != "ok":
        raise JournalError(f"journal: {finding}; expected an intact database; restore a copy")
    before, number = START, 0
    told: dict[str, Any] = {}
    for number, row in enumerate(_rows(connection, "SELECT * FROM event ORDER BY id"), 1):
        fields = (row["id"], row["time"], row["kind"], row["subject"], row["content"])
        if row["id"] != number or row["digest"] != event_digest(before, *fields):
            raise JournalError(
                f"journal: event {number} was changed, added or removed by another program; expected an unbroken "
                "chain; restore a copy"
            )
        before = row["digest"]
        if row["kind"] in ("run", "node"):
            content = json.loads(row["content"])
            told[row["subject"]] = content["config"] if row["kind"] == "node" else _fate(content)
    found: dict[str, Any] = {f"node {row['id']}": row["config"] for row in _rows(connection, "SELECT * FROM node")}
    found |= {f"run {run.id}": (run.state, dict(run.metrics)) for run in read_runs(connection)}
    wrong = sorted(subject for subject in {*found, *told} if found.get(subject) != told.get(subject))
    if wrong:
        raise JournalError(
            f"journal: {wrong[0]} is not what its events say; changed by another program; restore a copy"
        )
    return number


def _fate(content: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """State and scores that a run's event tells."""
    return content["state"], content.get("metrics", {})


def _rows(connection: sqlite3.Connection, query: str, *values: Any) -> sqlite3.Cursor:
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(query, values)


def _row(connection: sqlite3.Connection, query: str, *values: Any, what: str = "study") -> sqlite3.Row:
    row = _rows(connection, query, *values).fetchone()
    if row is None:
        raise JournalError(f"{what}: not in the journal; expected one that is (lobula explore status)")
    return row


def _node(row: sqlite3.Row) -> NodeRecord:
    return NodeRecord(
        id=row["id"],
        block=row["block"],
        parent=row["parent"],
        other_parents=tuple(json.loads(row["other_parents"])),
        config=row["config"],
        values=json.loads(row["values"]),
        changes=tuple((path, old, new) for path, old, new in json.loads(row["changes"])),
        proposer=row["proposer"],
        strategy=row["strategy"],
        hypothesis=row["hypothesis"],
        proposal=row["proposal"],
        code=row["code"],
        note=row["note"],
    )


def _run(row: sqlite3.Row, metrics: dict[str, float]) -> RunRecord:
    return RunRecord(
        id=row["id"],
        node=row["node"],
        config=row["config"],
        pair=SeedPair(row["pair"], row["data"], row["init"], bool(row["holdout"])),
        state=RunState(row["state"]),
        attempt=row["attempt"],
        slot=row["slot"],
        handle=row["handle"],
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        error=row["error"],
        metrics=metrics,
        facts=json.loads(row["facts"]),
    )


def _proposal(row: sqlite3.Row) -> ProposalRecord:
    return ProposalRecord(
        id=row["id"],
        proposer=row["proposer"],
        content=json.loads(row["content"]),
        verdict=row["verdict"],
        reason=row["reason"],
        node=row["node"],
        time=row["time"],
    )


def _event(row: sqlite3.Row) -> EventRecord:
    return EventRecord(row["id"], row["time"], row["kind"], row["subject"], json.loads(row["content"]), row["digest"])
