"""What the journal writes within a transaction: rows, and the event that tells of them."""

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lobula.errors import JournalError
from lobula.exploration.gate import NewNode
from lobula.exploration.journal_read import START, event_digest, read_run
from lobula.exploration.plain import canonical, line
from lobula.exploration.records import ENDED, NOT_OBSERVED, RunRecord, RunState, SeedPair
from lobula.exploration.study import Study


def add_event(connection: sqlite3.Connection, kind: str, subject: str, content: Mapping[str, Any]) -> None:
    """The next event, whose digest continues that of the last."""
    last = connection.execute("SELECT id, digest FROM event ORDER BY id DESC LIMIT 1").fetchone()
    number, before = (last[0] + 1, last[1]) if last else (1, START)
    now, text = time.time(), canonical(content)
    digest = event_digest(before, number, now, kind, subject, text)
    connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", (number, now, kind, subject, text, digest))


def insert_study(connection: sqlite3.Connection, study: Study, code: str) -> None:
    """The study, and the experiments that its blocks start from: recipes may change later, the study does not."""
    now = time.time()
    for number in range(study.n_blocks or 1):
        base = canonical(study.base_config(number).to_dict())
        connection.execute("INSERT INTO block VALUES (?, ?, ?)", (number, base, now if number == 0 else None))
    connection.execute("INSERT INTO study VALUES (1, ?, ?, ?, 'search', 0)", (now, canonical(study.to_dict()), code))
    add_event(connection, "study", study.name, {"definition": study.to_dict(), "code": code})


def begin_block(connection: sqlite3.Connection, study: Study) -> int:
    """The next block; returns its number."""
    number = connection.execute("SELECT block FROM study").fetchone()[0] + 1
    if study.n_blocks is None:  # blocks without end, all alike
        connection.execute("INSERT INTO block SELECT ?, base, NULL FROM block WHERE number = 0", (number,))
    elif number >= study.n_blocks:
        raise JournalError(f"block {number}: got {study.n_blocks} blocks in the study, expected a block of it")
    connection.execute("UPDATE block SET started = ? WHERE number = ?", (time.time(), number))
    connection.execute("UPDATE study SET block = ?", (number,))
    add_event(connection, "block", f"block {number}", {})
    return number


def insert_proposal(connection: sqlite3.Connection, proposer: str, content: Mapping[str, Any]) -> int:
    """A pending proposal; returns its id."""
    proposer = line(proposer)
    number = _insert(
        connection,
        "INSERT INTO proposal (time, proposer, content, verdict) VALUES (?, ?, ?, 'pending')",
        (time.time(), proposer, canonical(content)),
    )
    told = {"verdict": "pending", "proposer": proposer, "content": content}
    add_event(connection, "proposal", f"proposal {number}", told)
    return number


def insert_node(connection: sqlite3.Connection, proposal: int, proposer: str, node: NewNode) -> int:
    """The node of a proposal, its config and its patch; returns its id."""
    if node.diff is not None and node.code is None:
        raise JournalError(f"proposal {proposal}: got a diff without a commit; apply it first (gate.with_code)")
    document = canonical(node.resolved.to_dict())
    connection.execute("INSERT OR IGNORE INTO config VALUES (?, ?, ?)", (node.config, document, node.code))
    columns = "block, parent, other_parents, config, [values], changes, proposer, strategy, hypothesis, proposal, code"
    values = (node.block, node.parent, canonical(node.other_parents), node.config, canonical(node.values))
    words = (canonical(node.changes), proposer, line(node.strategy), line(node.hypothesis), proposal, node.code)
    marks = ", ".join("?" * 11)
    number = _insert(connection, f"INSERT INTO node ({columns}) VALUES ({marks})", (*values, *words))
    if node.diff is not None:
        connection.execute("INSERT INTO patch VALUES (?, ?, ?)", (number, node.diff, node.code))
    connection.execute("UPDATE proposal SET verdict = 'accepted' WHERE id = ?", (proposal,))
    add_event(connection, "proposal", f"proposal {proposal}", {"verdict": "accepted", "node": number})
    told = {"config": node.config, "block": node.block, "parent": node.parent, "values": node.values}
    told |= {"changes": node.changes, "strategy": node.strategy, "code": node.code}
    add_event(connection, "node", f"node {number}", told)
    return number


def reject_proposal(connection: sqlite3.Connection, proposal: int, reason: str) -> None:
    """A proposal that is not allowed, with the reason."""
    reason = line(reason)
    connection.execute("UPDATE proposal SET verdict = 'rejected', reason = ? WHERE id = ?", (reason, proposal))
    add_event(connection, "proposal", f"proposal {proposal}", {"verdict": "rejected", "reason": reason})


def insert_run(connection: sqlite3.Connection, node: int, config: str, pair: SeedPair) -> RunRecord:
    """An accepted run."""
    number = _insert(
        connection,
        "INSERT INTO run (node, config, pair, holdout, data, init, state, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (node, config, pair.index, pair.holdout, pair.data, pair.init, RunState.ACCEPTED, time.time()),
    )
    told = {"state": RunState.ACCEPTED, "node": node, "config": config, "attempt": 1}
    told |= {"pair": pair.index, "data": pair.data, "init": pair.init, "holdout": pair.holdout}
    add_event(connection, "run", f"run {number}", told)
    return read_run(connection, number)


@dataclass(frozen=True)
class RunChange:
    """A run's new state, and what else is new of it; None: as before. Fields as in `RunRecord`."""

    state: RunState
    slot: int | None = None
    handle: str | None = None
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    started: float | None = None
    ended: float | None = None
    metrics: Mapping[str, float] | None = None


def update_run(connection: sqlite3.Connection, old: RunRecord, change: RunChange) -> RunRecord:
    """A run in another state; another attempt keeps of the earlier ones only what became of them."""
    now, facts = time.time(), {**old.facts, **change.facts}
    new: dict[str, Any] = {name: getattr(change, name) for name in ("slot", "handle", "error", "started", "ended")}
    if change.state is RunState.ACCEPTED and old.state in NOT_OBSERVED:
        earlier = {"state": old.state, "error": old.error, "seconds": old.seconds}
        facts = {"earlier": [*old.facts.get("earlier", []), earlier], **change.facts}
        new["attempt"] = old.attempt + 1
    else:
        new = {name: getattr(old, name) if value is None else value for name, value in new.items()}
        if new["started"] is None and change.state is RunState.RUNNING:
            new["started"] = now
        if new["ended"] is None and change.state in ENDED:
            new["ended"] = now
        new["attempt"] = old.attempt
    new["error"] = None if new["error"] is None else line(new["error"])
    names = ", ".join(f"{name} = ?" for name in new)
    connection.execute(
        f"UPDATE run SET state = ?, facts = ?, {names} WHERE id = ?",
        (change.state, canonical(facts), *new.values(), old.id),
    )
    told = {"state": change.state, "before": old.state, **new, "facts": change.facts}
    if change.metrics is not None:
        rows = [(old.id, path, float(value)) for path, value in change.metrics.items()]
        connection.executemany("INSERT INTO metric VALUES (?, ?, ?)", rows)
        told["metrics"] = change.metrics
    add_event(connection, "run", f"run {old.id}", told)
    return read_run(connection, old.id)


def _insert(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> int:
    """Inserts a row and returns its id."""
    number = connection.execute(statement, values).lastrowid
    return int(number) if number is not None else 0
