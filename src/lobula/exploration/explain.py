"""Why a node is there, and what it changes, in words and values: for a person, the dashboard and agents."""

from typing import Any

from lobula.errors import ProposalError
from lobula.exploration.context import node_facts, run_facts
from lobula.exploration.records import NodeRecord, ProposalRecord, Snapshot


def why(snapshot: Snapshot, number: int) -> dict[str, Any]:
    """Where a node comes from, what it was to show, and what its runs showed.

    Args:
        snapshot: all that the study knows.
        number: node id.

    Raises:
        ProposalError: if there is no such node.
    """
    node = node_of(snapshot, number)
    proposal = _proposal(snapshot, node)
    predicted = {key: proposal.content.get(key) for key in ("predicted_sign", "predicted_size")} if proposal else {}
    return {
        **node_facts(snapshot, node),
        "predicted": predicted,
        "found": _difference(snapshot, node),
        "ancestors": [
            {"id": one.id, "strategy": one.strategy, "changes": _changes(one), "hypothesis": one.hypothesis}
            for one in lineage(snapshot, node)[1:]
        ],
        "children": [one.id for one in snapshot.nodes if one.parent == node.id],
        "same_config": [one.id for one in snapshot.nodes if one.config == node.config and one.id != node.id],
        "run_list": [run_facts(snapshot, run) for run in snapshot.runs_of(node.config)],
    }


def diff(snapshot: Snapshot, number: int, other: int | None = None) -> dict[str, Any]:
    """Fields in which a node differs from another node, or from the base of its block; and the code that it changes.

    Args:
        snapshot: all that the study knows.
        number: node id.
        other: node to compare with; None: the base of the block.

    Raises:
        ProposalError: if there is no such node.
    """
    node = node_of(snapshot, number)
    against = node_of(snapshot, other) if other is not None else None
    mine, base = dict(node.values), _base(snapshot, node.block)
    theirs = dict(against.values) if against else {}
    their_base = _base(snapshot, against.block) if against else base
    paths = sorted({*mine, *theirs, *(path for path in base if base[path] != their_base[path])})
    rows = [(path, theirs.get(path, their_base.get(path)), mine.get(path, base.get(path))) for path in paths]
    patches = [
        one
        for one in lineage(snapshot, node)
        if one.code is not None and (p := _proposal(snapshot, one)) and "diff" in p.content
    ]
    return {
        "node": node.id,
        "against": against.id if against else "base",
        "fields": [{"path": path, "old": old, "new": new} for path, old, new in rows if old != new],
        "code": [{"node": one.id, "commit": one.code, "diff": _diff(snapshot, one)} for one in reversed(patches)],
    }


def node_of(snapshot: Snapshot, number: int) -> NodeRecord:
    """A node by id.

    Raises:
        ProposalError: if there is none.
    """
    try:
        return snapshot.node(number)
    except KeyError:
        raise ProposalError(f"node {number}: no such node, expected one of 1 to {len(snapshot.nodes)}") from None


def lineage(snapshot: Snapshot, node: NodeRecord) -> list[NodeRecord]:
    """A node, its parent, and so on up to the root."""
    known = {one.id: one for one in snapshot.nodes}
    found = [node]
    while (parent := found[-1].parent) is not None and parent in known:
        found.append(known[parent])
    return found


def _difference(snapshot: Snapshot, node: NodeRecord) -> dict[str, Any]:
    """By how much the objective's metric changed from the parent, over the pairs of seeds that both have run."""
    if node.parent is None:
        return {}
    metric, parent = snapshot.study.objective.metric, snapshot.node(node.parent)
    mine, theirs = (
        {run.pair.index: run.metrics[metric] for run in snapshot.runs_of(one.config) if metric in run.metrics}
        for one in (node, parent)
    )
    pairs = sorted(mine.keys() & theirs.keys())
    if not pairs:
        return {"pairs": 0}
    return {"pairs": len(pairs), metric: round(sum(mine[pair] - theirs[pair] for pair in pairs) / len(pairs), 5)}


def _changes(node: NodeRecord) -> list[dict[str, Any]]:
    return [{"path": path, "old": old, "new": new} for path, old, new in node.changes]


def _proposal(snapshot: Snapshot, node: NodeRecord) -> ProposalRecord | None:
    return next((record for record in snapshot.proposals if record.id == node.proposal), None)


def _diff(snapshot: Snapshot, node: NodeRecord) -> str:
    proposal = _proposal(snapshot, node)
    return str(proposal.content.get("diff", "")) if proposal else ""


def _base(snapshot: Snapshot, block: int) -> dict[str, Any]:
    document = snapshot.study.base_config(block).to_dict()
    sections = {name: inner for name, inner in document.items() if isinstance(inner, dict)}
    return {f"{name}.{key}": value for name, inner in sections.items() for key, value in inner.items()}
