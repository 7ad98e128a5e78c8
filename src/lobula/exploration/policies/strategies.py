"""What to do at the chosen place of the tree: the rules of the instruction documents.

Each rule looks at the current block and either suggests something or has nothing to say. The first that speaks is
followed; the order goes from what corrects a search that is stuck, over what checks its finds, to the default:

1. boundary-skip: 3 partial results in a row around one boundary: it is found, go elsewhere.
2. switch-dimension: 4 changes in a row of the same field.
3. forced-branch: everything converges and hardly any node has two children.
4. robustness-test: the best node has converged on one pair of seeds only.
5. recombine: two distant nodes have converged and were not merged yet.
6. explore: as many successes in a row as a quarter of a block, or a multiple of that.
7. failure-probe: 3 successes in a row.
8. exploit.

A success is a run of class "converged". Explore speaks at multiples only, since it would else silence failure-probe
for good in a block of 12, where both begin at 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lobula.exploration.judge import Class, classify
from lobula.exploration.outcomes import is_open
from lobula.exploration.panel import next_pair
from lobula.exploration.policies.ucb import UcbRow, ancestors, block_nodes, parents_in, select_parent
from lobula.exploration.records import NodeRecord, RunRecord, Snapshot

PROBE_AFTER, SAME_FIELD, PARTIAL_AT_BOUNDARY, FEW_BRANCHES = 3, 4, 3, 0.1
USUAL_BLOCK = 12
"""Iterations of a block where the study does not say: the documents have 12 to 24."""


@dataclass(frozen=True)
class Suggestion:
    """What a rule suggests.

    Attributes:
        strategy: name, as in `proposals.Strategy`.
        parents: nodes to start from; empty: the root.
        reason: one line.
        again: run the first parent once more in place of a proposal.
    """

    strategy: str
    parents: tuple[int, ...]
    reason: str
    again: bool = False


Rule = Callable[[Snapshot, Sequence[UcbRow]], Suggestion | None]


def suggest(snapshot: Snapshot, rows: Sequence[UcbRow], run_again: bool = True) -> Suggestion:
    """The suggestion of the first rule that has one.

    Args:
        snapshot: what the study knows.
        rows: scores of the block, highest first.
        run_again: whether a robustness-test may be suggested; not where a race follows, which does it better.
    """
    for rule in RULES:
        if rule is robustness_test and not run_again:
            continue
        found = rule(snapshot, rows)
        if found is not None:
            return found
    return exploit(snapshot, rows)


def exploit(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion:
    """Default: the node with the highest score."""
    if not rows:
        return Suggestion("exploit", (), "no scores in this block yet: root")
    return Suggestion("exploit", select_parent(rows), f"highest UCB {rows[0].ucb:.3f}")


def failure_probe(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """3 or more successes in a row: an extreme value, to find where it breaks."""
    streak = success_streak(snapshot)
    if streak < PROBE_AFTER:
        return None
    return Suggestion("failure-probe", select_parent(rows), f"{streak} successes in a row: look for the boundary")


def explore(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """A quarter of a block of successes in a row: the best node outside of the newest node's line."""
    quarter = max(2, (snapshot.study.blocks.n_iter or USUAL_BLOCK) // 4)
    streak = success_streak(snapshot)
    if streak == 0 or streak % quarter:
        return None
    parents = parents_in(block_nodes(snapshot))
    newest = max(row.node for row in rows)
    chain = {newest, *ancestors(newest, parents)}
    outside = [row for row in rows if row.node not in chain]
    return Suggestion("explore", select_parent(outside), f"{streak} successes in a row: outside of the recent chain")


def robustness_test(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """The best node has converged, on one pair of seeds: run it again before it is believed."""
    if not rows:
        return None
    best = max(rows, key=lambda row: row.value)
    config = snapshot.node(best.node).config
    runs = snapshot.runs_of(config)
    if not _converged(snapshot, best.node) or len(runs) > 1 or next_pair(snapshot, config) is None:
        return None
    return Suggestion(
        "robustness-test", (best.node,), f"node {best.node} is the best, on one pair of seeds", again=True
    )


def recombine(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """Two converged nodes, neither made from the other, that differ in two fields or more: merge the best two."""
    good = sorted((row for row in rows if _converged(snapshot, row.node)), key=lambda row: -row.value)
    nodes = {node.id: node for node in block_nodes(snapshot)}
    if not good:
        return None
    first = nodes[good[0].node]
    second = next((nodes[row.node] for row in good[1:] if _distant(nodes, first, nodes[row.node])), None)
    if second is None or any({first.id, second.id} <= _made_from(node) for node in nodes.values()):
        return None
    return Suggestion("recombine", (first.id, second.id), f"nodes {first.id} and {second.id} have both converged")


def forced_branch(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """All have converged and fewer than a tenth of the nodes with children have two: the best of the lower half."""
    nodes = block_nodes(snapshot)
    settled = all(_converged(snapshot, row.node) for row in rows)
    if len(rows) < SAME_FIELD or not settled or branching_rate(nodes) >= FEW_BRANCHES:
        return None
    lower = rows[len(rows) // 2 :]
    best = max(lower, key=lambda row: row.value)
    return Suggestion("forced-branch", (best.node,), "all converged in one line: branch from the lower half")


def switch_dimension(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """4 nodes in a row that change the same field: change another one."""
    last = block_nodes(snapshot)[-SAME_FIELD:]
    shared = _shared_fields(last)
    if len(last) < SAME_FIELD or not shared:
        return None
    field = sorted(shared)[0]
    return Suggestion("switch-dimension", select_parent(rows), f"{field} changed {SAME_FIELD} times: another field")


def boundary_skip(snapshot: Snapshot, rows: Sequence[UcbRow]) -> Suggestion | None:
    """3 partial results in a row that probe, or that change one field: accept the boundary and start elsewhere."""
    finished = observed_runs(snapshot)[-PARTIAL_AT_BOUNDARY:]
    partial = [run for run, judged in finished if judged.startswith("partial")]
    if len(partial) < PARTIAL_AT_BOUNDARY:
        return None
    nodes = [snapshot.node(run.node) for run in partial]
    probing = all(node.strategy == "failure-probe" for node in nodes)
    if len({node.id for node in nodes}) < PARTIAL_AT_BOUNDARY or not (probing or _shared_fields(nodes)):
        return None
    ids = {node.id for node in nodes}
    elsewhere = [row for row in rows if row.node not in ids]
    return Suggestion("boundary-skip", select_parent(elsewhere), f"nodes {sorted(ids)} are partial: boundary found")


RULES: tuple[Rule, ...] = (
    *(boundary_skip, switch_dimension, forced_branch, robustness_test),
    *(recombine, explore, failure_probe),
)
"""In order of precedence; `exploit` comes last."""


def observed_runs(snapshot: Snapshot) -> list[tuple[RunRecord, Class]]:
    """Runs of the block's nodes that say something, with their classes, in order of id."""
    ids = {node.id for node in block_nodes(snapshot)}
    runs = [run for run in snapshot.runs if run.node in ids and not run.pair.holdout and not is_open(run)]
    judged = [(run, classify(snapshot.study.objective, run)) for run in runs]
    return [(run, kind) for run, kind in judged if kind is not None]


def success_streak(snapshot: Snapshot) -> int:
    """Converged runs in a row up to the newest observation of the block."""
    streak = 0
    for _, judged in reversed(observed_runs(snapshot)):
        if judged != "converged":
            break
        streak += 1
    return streak


def branching_rate(nodes: Sequence[NodeRecord]) -> float:
    """Share of the nodes with children that have two or more; 0 without any."""
    parents = list(parents_in(nodes).values())
    inner = {parent for parent in parents if parent is not None}
    return sum(parents.count(number) > 1 for number in inner) / len(inner) if inner else 0.0


def _converged(snapshot: Snapshot, number: int) -> bool:
    """Whether all observed runs of a node's config have converged, and there is one."""
    runs = [run for run in snapshot.runs_of(snapshot.node(number).config) if not is_open(run)]
    classes = [judged for run in runs if (judged := classify(snapshot.study.objective, run)) is not None]
    return bool(classes) and all(judged == "converged" for judged in classes)


def _made_from(node: NodeRecord) -> set[int]:
    return {*node.other_parents, *(() if node.parent is None else (node.parent,))}


def _distant(nodes: dict[int, NodeRecord], first: NodeRecord, second: NodeRecord) -> bool:
    """Neither is made from the other, and they differ in two fields or more."""
    paths = {*first.values, *second.values}
    differing = sum(first.values.get(path) != second.values.get(path) for path in paths)
    return differing > 1 and first.id not in _line(nodes, second) and second.id not in _line(nodes, first)


def _line(nodes: dict[int, NodeRecord], node: NodeRecord) -> set[int]:
    """All nodes that a node is made from, through every parent."""
    found: set[int] = set()
    open_ends = _made_from(node) & nodes.keys()
    while open_ends:
        found |= open_ends
        above = {parent for number in open_ends for parent in _made_from(nodes[number])}
        open_ends = (above & nodes.keys()) - found
    return found


def _shared_fields(nodes: Sequence[NodeRecord]) -> set[str]:
    """Fields that every one of the nodes changes."""
    changed = [{path for path, _, _ in node.changes} for node in nodes]
    return set.intersection(*changed) if changed else set()
