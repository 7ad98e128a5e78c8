"""Proposals out of what an agent printed: exactly one JSON document, bare, in a fence, or after lines of a log."""

import json
import os
import re
from typing import Any

from lobula.errors import ProposalError, ProposerError
from lobula.exploration.proposals import Proposal, parse_proposal

_FENCE = re.compile(r"^```[a-zA-Z]*[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
_LIST = re.compile(r"\[\s*\{")
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_LINE = 200  # characters of an error


def proposals_in(text: str, name: str, n: int) -> list[Proposal]:
    """Up to `n` proposals from what an agent printed.

    Proposals that are not well formed are left out if there is a good one beside them.

    Args:
        text: what it printed.
        name: the agent's name, for errors.
        n: proposals wanted.

    Raises:
        ProposerError: one line, if there is no proposal, more than one document, or nothing but bad proposals.
    """
    document = _document(text, name)
    items = document if isinstance(document, list) else document.get("proposals", [document])
    found: list[Proposal] = []
    reasons: list[str] = []
    for item in items:
        try:
            found.append(parse_proposal(item))
        except ProposalError as error:
            reasons.append(str(error))
    if not found:
        raise ProposerError(one_line(f"{name}: {reasons[0] if reasons else 'got an empty list, expected a proposal'}"))
    return found[:n]


def one_line(text: str) -> str:
    """Text as one line of bounded length, without the values of the environment's keys and tokens."""
    for variable, value in os.environ.items():
        if _SECRET.search(variable) and len(value) >= 8:
            text = text.replace(value, "***")
    text = " ".join(text.split())
    return text if len(text) <= _LINE else text[: _LINE - 3] + "..."


def _document(text: str, name: str) -> Any:
    whole = _parsed(text)
    if _is_answer(whole):
        return whole
    fenced = [_parsed(match) for match in _FENCE.findall(text)]
    found = [document for document in fenced if _is_answer(document)] or _bare(text)
    if len(found) == 1:
        return found[0]
    if found:
        raise ProposerError(f"{name}: got {len(found)} JSON documents with proposals, expected one")
    shown = f"{' '.join(text.split())[:80]!r}" if text.strip() else "nothing"
    raise ProposerError(one_line(f"{name}: got {shown}, expected JSON: a proposal or a list of proposals"))


def _bare(text: str) -> list[Any]:
    """Documents that begin at the start of a line and end with a line, between lines of a log."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    found, place = [], 0
    for start in re.finditer(r"^[\[{]", text, re.MULTILINE):
        if start.start() < place:
            continue  # inside the document before
        try:
            document, end = decoder.raw_decode(text, start.start())
        except ValueError:
            if _LIST.match(text, start.start()):
                return []  # a list that was cut off: its whole items are not the answer
            continue
        if _is_answer(document) and not text[end:].split("\n", 1)[0].strip():
            found.append(document)
            place = end
    return found


def _is_answer(document: Any) -> bool:
    if isinstance(document, dict):
        return "kind" in document or isinstance(document.get("proposals"), list)
    return isinstance(document, list) and all(isinstance(item, dict) and "kind" in item for item in document)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
