"""Which node to start from: the scores of the instruction documents, and a form in units of the scores' own spread.

Conventions of the documents, kept for all forms:

- The tree is that of the current block; a parent from outside of it is the root. An empty block has no rows: root.
- N is the number of the block's nodes, and the visits n (V in the PUCT form) of a node are itself and its descendants,
  counted when they are made: a node that still runs lowers its parent's score, so that the next slot looks elsewhere.
- Only nodes with an observation have a row; a node's R2 is the mean over the runs of its config.
- The parent is the one stored in the node. What an observation or a note says about a next parent changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lobula.exploration.outcomes import failure_value, observations
from lobula.exploration.records import FAILED, NodeRecord, Snapshot

Form = Literal["ucb", "ucb_dual", "puct", "ucb_scaled"]


@dataclass(frozen=True)
class UcbRow:
    """A line of ucb_scores.txt.

    Attributes:
        node: id.
        ucb: score; the highest is the most promising to start from.
        parent: node id, or None for the root of the block.
        visits: the node and its descendants.
        value: the objective's metric (R2), higher is better.
        second: the second metric (cluster accuracy), or None if the study has none.
    """

    node: int
    ucb: float
    parent: int | None
    visits: int
    value: float
    second: float | None


def ucb_rows(snapshot: Snapshot, form: Form | None = None, c: float | None = None) -> list[UcbRow]:
    r"""Scores of the current block's nodes, highest first.

    .. math::
        \text{ucb} = R^2 + c \sqrt{\ln N / n} \qquad \text{puct} = R^2 + c \sqrt N / (1 + V)

    The dual form has :math:`0.6\,R^2 + 0.4\,\text{cluster}` in place of R2, with the objective's weights. The scaled
    form is the text form (dual where the study has a second metric) with c in units of the spread of the block's
    scores: with scores of .90 to .98 and c = 1.414 the raw bonus of the newest node beats every difference between
    scores, and the search is a chain.

    Args:
        snapshot: what the study knows.
        form: None: the policy's own, which is the scaled form for "staged".
        c: exploration constant; None: the policy's.

    Returns:
        Rows, ties in favour of fewer visits, then of the older node. Empty at the start of a block.
    """
    settings = snapshot.study.policy
    form = form or ("ucb_scaled" if settings.name == "staged" else settings.name)
    c = settings.c if c is None else c
    nodes = block_nodes(snapshot)
    visits = visit_counts(nodes)
    parents = parents_in(nodes)
    failed = failure_value(snapshot)
    measured = {node.id: both for node in nodes if (both := _measured(snapshot, node, failed)) is not None}
    dual = form == "ucb_dual" or (form == "ucb_scaled" and snapshot.study.objective.second is not None)
    weights = snapshot.study.objective.weights
    scores = {
        number: weights[0] * value + weights[1] * second if dual and second is not None else value
        for number, (value, second) in measured.items()
    }
    kept = [scores[number] for number, (value, _) in measured.items() if value > failed]
    scale = c * _spread(kept) if form == "ucb_scaled" else c
    rows = [
        UcbRow(
            number,
            scores[number] + scale * _bonus(form, len(nodes), visits[number]),
            parents[number],
            visits[number],
            value,
            second,
        )
        for number, (value, second) in measured.items()
    ]
    return sorted(rows, key=lambda row: (-row.ucb, row.visits, row.node))


def select_parent(rows: Sequence[UcbRow]) -> tuple[int, ...]:
    """The node with the highest score, as the parents of a proposal; empty, the root, if there are no rows."""
    return (rows[0].node,) if rows else ()


def block_nodes(snapshot: Snapshot, block: int | None = None) -> list[NodeRecord]:
    """Nodes of a block, by default the current one, in order of id."""
    wanted = snapshot.block if block is None else block
    return [node for node in snapshot.nodes if node.block == wanted]


def parents_in(nodes: Sequence[NodeRecord]) -> dict[int, int | None]:
    """Parent of every node, or None where that is the root or not among the nodes."""
    known = {node.id for node in nodes}
    return {node.id: node.parent if node.parent in known else None for node in nodes}


def visit_counts(nodes: Sequence[NodeRecord]) -> dict[int, int]:
    """Visits of every node: itself and its descendants."""
    parents = parents_in(nodes)
    visits = dict.fromkeys(parents, 0)
    for number in parents:
        for visited in (number, *ancestors(number, parents)):
            visits[visited] += 1
    return visits


def ancestors(number: int, parents: dict[int, int | None]) -> list[int]:
    """A node's parent, that one's parent, and so on up to the root of the block."""
    found: list[int] = []
    above = parents[number]
    while above is not None:
        found.append(above)
        above = parents[above]
    return found


def _bonus(form: Form, n_nodes: int, visits: int) -> float:
    if form == "puct":
        return math.sqrt(n_nodes) / (1 + visits)
    return math.sqrt(math.log(n_nodes) / visits)


def _measured(snapshot: Snapshot, node: NodeRecord, low: float) -> tuple[float, float | None] | None:
    """Mean of the objective's metric and of the second one over the runs of a node's config, or None without any."""
    objective = snapshot.study.objective
    values = observations(snapshot, node.config, low=low)
    if not values:
        return None
    if objective.second is None:
        return float(np.mean(list(values.values()))), None
    seconds = [
        objective.failed if run.state in FAILED else run.metrics.get(objective.second, objective.failed)
        for run in snapshot.runs_of(node.config)
        if run.pair.index in values
    ]
    return float(np.mean(list(values.values()))), float(np.mean(seconds))


def _spread(scores: Sequence[float]) -> float:
    """Best score less the median: what there is to gain by starting elsewhere."""
    return float(max(scores) - np.median(scores)) if scores else 0.0
