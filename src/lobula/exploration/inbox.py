"""Requests to a running study, as files: the controller alone writes the journal, everyone else asks it to.

A request is a file in ``<study>/inbox``, its answer one of the same name in ``<study>/outbox``. Both appear whole or
not at all, so that whoever is killed at any moment leaves nothing half written: a request without an answer is open.
"""

import json
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobula.data.atomic import atomic_write_json
from lobula.errors import StoreError

logger = logging.getLogger(__name__)

PROPOSE, NOTE, STOP = "propose", "note", "stop"
_ID = re.compile(r"^\d{20}-\d+-[0-9a-f]{8}$")
_POLL_S = 0.05


@dataclass(frozen=True)
class InboxRequest:
    """What somebody asks of a running study.

    Attributes:
        id: names the request; later requests have later ids.
        kind: "propose" (proposer, proposal), "note" (node or null, text) or "stop" (reason).
        content: plain values.

    The controller answers ``{"verdict": "accepted", "node": id}``, ``{"verdict": "done"}`` (a note, a stop) or
    ``{"verdict": "rejected", "reason": line}``.
    """

    id: str
    kind: str
    content: Mapping[str, Any]


def submit(folder: Path, kind: str, content: Mapping[str, Any]) -> str:
    """Leave a request; returns its id.

    Args:
        folder: the study's folder.
        kind: see `InboxRequest`.
        content: plain values, as JSON holds them.

    Raises:
        DiskFullError: if it cannot be written; there is no request then.
    """
    inbox = folder / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    number = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
    atomic_write_json(inbox / f"{number}.json", {"id": number, "kind": kind, "content": dict(content)})
    return number


def pending(folder: Path) -> list[InboxRequest]:
    """Requests without an answer, oldest first. Files that are no requests are left out, and reported in the log."""
    found = []
    for path in sorted((folder / "inbox").glob("*.json")):
        if not _ID.match(path.stem) or (folder / "outbox" / path.name).exists():
            continue  # a foreign file; or answered, and killed before the request was removed
        request = _read(path)
        if request is not None:
            found.append(request)
    return found


def answer(folder: Path, number: str, content: Mapping[str, Any]) -> None:
    """Answer a request and remove it. Doing so again after a kill changes nothing but the answer.

    Between what a request does to the journal and this, the controller may be killed; it then finds the request open
    once more. So the journal keeps the id with what came of it, and the controller looks there first.

    Args:
        folder: the study's folder.
        number: id of the request.
        content: plain values.

    Raises:
        StoreError: if that is no id.
    """
    outbox = folder / "outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    atomic_write_json(outbox / f"{_checked(number)}.json", content)
    (folder / "inbox" / f"{number}.json").unlink(missing_ok=True)


def answer_to(folder: Path, number: str) -> dict[str, Any] | None:
    """The answer to a request, or None while there is none.

    Raises:
        StoreError: if that is no id.
    """
    path = folder / "outbox" / f"{_checked(number)}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content if isinstance(content, dict) else {"answer": content}


def wait_for(folder: Path, number: str, timeout: float) -> dict[str, Any] | None:
    """The answer to a request, or None if there is none after `timeout` seconds.

    Raises:
        StoreError: if that is no id.
    """
    end = time.monotonic() + timeout
    while (found := answer_to(folder, number)) is None and time.monotonic() < end:
        time.sleep(_POLL_S)
    return found


def _read(path: Path) -> InboxRequest | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return InboxRequest(path.stem, str(values["kind"]), dict(values["content"]))
    except FileNotFoundError:
        return None  # answered meanwhile
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.info("%s: no request (%s); remove it", path, error)
        return None


def _checked(number: str) -> str:
    if not _ID.match(number):
        raise StoreError(f"inbox: got {number[:60]!r}, expected the id of a request")
    return number
