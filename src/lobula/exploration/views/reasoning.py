"""`reasoning.log`: every proposal with its reasons and what became of it, in the order in which they came."""

from collections.abc import Mapping
from typing import Any

from lobula.exploration.records import ProposalRecord, Snapshot
from lobula.exploration.views.words import number, one_line, stamp

_SIGNS = {1: "better", 0: "no change", -1: "worse"}


def reasoning(snapshot: Snapshot) -> str:
    """The whole log, a few lines per proposal."""
    return "\n".join(_paragraph(proposal) for proposal in snapshot.proposals)


def _paragraph(proposal: ProposalRecord) -> str:
    content = proposal.content
    became = f" -> Node {proposal.node}" if proposal.node is not None else ""
    reason = f": {one_line(proposal.reason)}" if proposal.reason else ""
    parents = content.get("parents") or ["root"]
    lines = [
        f"[{stamp(proposal.time)}] proposal {proposal.id} by {proposal.proposer}: {proposal.verdict}{became}{reason}",
        f"  {content.get('kind', 'unknown kind')}, {content.get('strategy', 'no strategy')}, "
        f"parents={', '.join(str(parent) for parent in parents)}",
        *_changes(content),
    ]
    if content.get("hypothesis"):
        lines.append(f"  Hypothesis: {one_line(str(content['hypothesis']))}")
    if content.get("predicted_sign") in _SIGNS:
        size = content.get("predicted_size")
        lines.append(f"  Predicted: {_SIGNS[content['predicted_sign']]}" + (f" by {number(size)}" if size else ""))
    return "\n".join(lines) + "\n"


def _changes(content: Mapping[str, Any]) -> list[str]:
    changes = content.get("changes") or ()
    return [f"  {change['path']}: {number(change.get('old'))} -> {number(change.get('new'))}" for change in changes]
