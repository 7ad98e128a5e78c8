"""What people, MCP clients and the dashboard ask of a running study, answered by its controller."""

from collections.abc import Callable, Mapping
from typing import Any

from lobula.errors import LobulaError
from lobula.exploration import inbox
from lobula.exploration.folder import StudyFolder
from lobula.exploration.inbox import InboxRequest
from lobula.exploration.journal import Journal
from lobula.exploration.views.user_input import read_pending, write_acknowledged

PHASE = "phase"
"""Kind of a request that ends a phase early: "race", "certify" or "done"."""
Take = Callable[..., int]


def answer_requests(folder: StudyFolder, journal: Journal, take: Take, now: float) -> None:
    """Does what open requests ask, each once, and answers; acknowledges new lines of user_input.md.

    Args:
        folder: of the study.
        journal: open for writing.
        take: keeps and judges a proposal; called with proposer, content and the request's id, returns its number.
        now: seconds since 1970, for the acknowledgement.
    """
    for request in inbox.pending(folder.path):
        try:
            answer = _do(journal, take, request)
        except LobulaError as error:
            answer = {"verdict": "rejected", "reason": str(error)}
        inbox.answer(folder.path, request.id, answer)
    lines = read_pending(folder.user_input)
    if lines:
        journal.event("user_input", "study", {"lines": list(lines)})
        write_acknowledged(folder.user_input, lines, now)


def _do(journal: Journal, take: Take, request: InboxRequest) -> Mapping[str, Any]:
    content = request.content
    if request.kind == inbox.PROPOSE:
        number = take(str(content.get("proposer", "person")), content.get("proposal") or {}, request.id)
        record = next(record for record in journal.snapshot().proposals if record.id == number)
        return {"verdict": record.verdict, "node": record.node, "reason": record.reason}
    if request.kind == inbox.STOP:
        take("person", {"kind": "stop", "reason": str(content.get("reason", ""))}, request.id)
        return {"verdict": "done"}
    if request.kind == inbox.NOTE:
        node, text = content.get("node"), str(content.get("text", ""))
        if node is None:
            journal.principle(text)
        else:
            journal.note(int(node), text)
        return {"verdict": "done"}
    if request.kind == PHASE:
        journal.set_phase(str(content.get("phase")))
        return {"verdict": "done"}
    return {"verdict": "rejected", "reason": f"{request.kind}: no such request, expected propose, note, stop or phase"}
