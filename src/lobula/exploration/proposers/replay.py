"""Recorded answers, in the place of an agent: for tests, and to repeat a study without asking anyone."""

import json
from pathlib import Path
from typing import Any

from lobula.errors import MissingInputError, ProposalError, ProposerError
from lobula.exploration.proposals import Proposal, parse_proposal
from lobula.exploration.proposers.base import Request


class ReplayProposer:
    """Gives the answers of a file, one after the other.

    A line of the file is a proposal, a list of proposals, or ``{"error": "what went wrong"}``: a failure to repeat.
    Which comes next follows from the snapshot: as many are spent as there are proposals of this name, and failures
    of it among the events.

    Args:
        path: JSON lines.
        name: name of the agent that is replayed.
    """

    def __init__(self, path: Path, name: str = "replay") -> None:
        self._path = path
        self._name = name

    @property
    def name(self) -> str:
        """Name that the proposals are kept under."""
        return self._name

    def propose(self, request: Request) -> list[Proposal]:
        """The next answers, up to `request.n` and up to the next failure.

        Raises:
            MissingInputError: if the file does not exist.
            ProposerError: if no answer is left, or the next one is a failure or no proposal.
        """
        answers = self._answers()
        spent = n_answers(request, self._name)
        following = answers[spent : spent + request.n]
        if not following:
            raise ProposerError(
                f"{self._name}: all {len(answers)} answers of {self._path} are spent, expected one more"
            )
        if "error" in following[0]:
            raise ProposerError(f"{self._name}: {following[0]['error']}")
        proposals = []
        for number, values in enumerate(following, start=spent + 1):
            if "error" in values:
                break
            try:
                proposals.append(parse_proposal(values))
            except ProposalError as error:
                if not proposals:
                    raise ProposerError(f"{self._name}: answer {number}: {error}") from None
                break
        return proposals

    def _answers(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            raise MissingInputError(f"{self._path}: no such file, expected recorded answers (JSON lines)")
        found: list[dict[str, Any]] = []
        for number, line in enumerate(self._path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                raise ProposerError(f"{self._path}: line {number} is no JSON, expected a proposal a line") from None
            items = values if isinstance(values, list) else [values]
            if not all(isinstance(item, dict) for item in items):
                raise ProposerError(f"{self._path}: line {number} holds no object, expected a proposal a line")
            found += items
        return found


def n_answers(request: Request, name: str) -> int:
    """Answers that an agent gave so far: its proposals, and its failures among the events."""
    snapshot = request.snapshot
    failures = [event for event in snapshot.events if is_failure(event.kind, event.subject, event.content, name)]
    return sum(record.proposer == name for record in snapshot.proposals) + len(failures)


def is_failure(kind: str, subject: str, content: Any, name: str) -> bool:
    """Whether an event says that the agent of this name could not answer."""
    return kind == "agent" and subject == name and "error" in content
