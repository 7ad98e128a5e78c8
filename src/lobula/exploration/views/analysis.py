"""The full log, `{study}_analysis.md`: an entry for every run that ended, in the order in which they ended.

An entry is never taken out or moved. Two of its lines may be filled in later: `Observation`, when somebody adds a note
to the node, and `Next`, when the next parent has been chosen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lobula.exploration.judge import value_of
from lobula.exploration.records import FAILED, NodeRecord, RunRecord, RunState, Snapshot
from lobula.exploration.views import observe
from lobula.exploration.views.history import (
    best_pool,
    block_nodes,
    block_runs,
    block_value,
    branching,
    class_of,
    ended_runs,
    first_with,
    next_parent,
    pool,
)
from lobula.exploration.views.words import (
    config_values,
    metric_label,
    number,
    one_line,
    pairs,
    rounded,
    short_names,
    shown_metrics,
)

RULES = {
    "baseline": "base of the block, unchanged",
    "exploit": "most promising node, one mutation",
    "explore": "outside the recent chain",
    "failure-probe": "after several successes: an extreme value, to find the boundary",
    "robustness-test": "a good config once more",
    "replicate": "a good config once more",
    "recombine": "two distant good nodes merged",
    "forced-branch": "a node from the lower half of the tree",
    "switch-dimension": "another field than the recent chain changed",
    "boundary-skip": "boundary accepted, explored elsewhere",
    "random": "no parent: drawn at random",
    "optimiser": "asked of the optimiser",
    "ablate": "fields back at the base's value",
    "code": "code change, config as in the parent",
}


def analysis(snapshot: Snapshot) -> str:
    """The whole log as Markdown."""
    runs = ended_runs(snapshot)
    bases: dict[int, Mapping[str, Any]] = {}
    parts = [f"# {snapshot.study.name}: full log", one_line(snapshot.study.description)]
    block = 0
    for index, run in enumerate(runs):
        node = snapshot.node(run.node)
        for done in range(block, node.block):
            parts.append(_block_summary(snapshot, runs[:index], done))
        block = max(block, node.block)
        parts.append(entry(snapshot, runs[: index + 1], bases))
    last = snapshot.block + (snapshot.phase == "done")
    parts += [_block_summary(snapshot, runs, done) for done in range(block, last)]
    return "\n\n".join(part for part in parts if part) + "\n"


def entry(snapshot: Snapshot, until: Sequence[RunRecord], bases: dict[int, Mapping[str, Any]]) -> str:
    """The entry of the last of some runs.

    Args:
        snapshot: what the study knows.
        until: ended runs up to and with the one that the entry is about.
        bases: base configs by block, kept between calls.
    """
    run = until[-1]
    node, study = snapshot.node(run.node), snapshot.study
    parent = "root" if node.parent is None else str(node.parent)
    values = config_values(snapshot, node, bases)
    names = short_names(values)
    again = first_with(snapshot, node.config).id
    further = any(other.node == run.node for other in until[:-1])
    rule = RULES.get(node.strategy, node.strategy)
    lines = [
        f"## Iter {node.id}: {class_of(snapshot, run)}",
        f"Node: id={node.id}, parent={parent}",
        f"Mode/Strategy: {'robustness-test' if further else node.strategy} by {node.proposer}",
        f"Seeds: sim_seed={run.pair.data}, train_seed={run.pair.init}, rationale={_rationale(snapshot, run)}",
        _run_line(run),
        f"Config: {pairs({names[path]: value for path, value in values.items()})}",
        *_code_lines(node),
        _metric_line(snapshot, run),
        *observe.trajectory_line(run),
        *observe.activity_line(run),
        *observe.scatter_line(study.objective, run),
        *observe.embedding_line(study.objective, run),
        f"Mutation: {mutation(node, again, further)}",
        f"Parent rule: {'root of the block: ' if node.parent is None else ''}{rule}",
        f"Observation: {_observation(snapshot, until)}",
        f"Variance update: {_variance(snapshot, until)}",
        f"Next: parent={next_parent(snapshot, run) or 'open'}",
    ]
    return "\n".join(lines)


def mutation(node: NodeRecord, first: int, further: bool = False) -> str:
    """What changed against the parent, exactly.

    Args:
        node: the node.
        first: node that tried its config first.
        further: whether this is not the node's first run.
    """
    if further or first != node.id:
        return f"[none] — robustness re-run of Node {first}"
    if node.code is not None and not node.changes:
        return f"[code] {one_line(node.hypothesis) or node.code}"
    changes = "; ".join(f"{path}: {number(old)} -> {number(new)}" for path, old, new in node.changes)
    return changes or "[none] — base of the block"


def _rationale(snapshot: Snapshot, run: RunRecord) -> str:
    if run.pair.holdout:
        return "hold-out certification"
    same = snapshot.study.seeds.mode == "same-data"
    return "same-data-robustness" if same else "different-data-generalisation"


def _run_line(run: RunRecord) -> str:
    facts: dict[str, Any] = {"id": run.id, "pair": run.pair.index, "attempt": run.attempt, "state": run.state.value}
    return f"Run: {pairs(facts | ({} if run.slot is None else {'slot': run.slot}))}"


def _code_lines(node: NodeRecord) -> list[str]:
    if node.code is None:
        return []
    return [
        "CODE MODIFICATION:",
        f"  Commit: {node.code}",
        f"  Hypothesis: {one_line(node.hypothesis) or 'none stated'}",
    ]


def _metric_line(snapshot: Snapshot, run: RunRecord) -> str:
    objective = snapshot.study.objective
    shown = {metric_label(objective, path): v for path, v in shown_metrics(objective, run.metrics).items()}
    if run.seconds is not None:
        shown["training_time_min"] = run.seconds / 60.0
    return f"Metrics: {pairs(shown)}" if shown else "Metrics: none"


def _observation(snapshot: Snapshot, until: Sequence[RunRecord]) -> str:
    run = until[-1]
    node = snapshot.node(run.node)
    said = f"; {one_line(node.note)}" if node.note else ""
    if run.state is not RunState.SCORED:
        fault = "" if run.state in FAILED else " (the machine, not the config: no observation)"
        return f"{run.state.value}{fault}: {one_line(run.error or 'no reason given')}{said}"
    label = metric_label(snapshot.study.objective, snapshot.study.objective.metric)
    if value_of(snapshot.study.objective, run) is None:
        return f"scored without {label}{said}"
    value = run.metrics[snapshot.study.objective.metric]
    if node.parent is None:
        return f"{label} {rounded(value)} at the root of the block{said}"
    return f"{label} {rounded(value)}{_against_parent(snapshot, until, node.parent)}{said}"


def _against_parent(snapshot: Snapshot, until: Sequence[RunRecord], parent: int) -> str:
    """The last of some runs against its parent's run on the same seeds, or else against the mean of its runs."""
    run, metric = until[-1], snapshot.study.objective.metric
    before = pool(snapshot, until[:-1], snapshot.node(parent).config)
    if before.mean is None:
        return f"; nothing scored of parent {parent} yet"
    same = [
        other.metrics[metric]
        for other in until[:-1]
        if (other.config, other.pair) == (before.config, run.pair) and metric in other.metrics
    ]
    against, how = (same[-1], "on the same seeds") if same else (before.mean, "on other seeds")
    difference = run.metrics[metric] - against
    is_clear = before.sd is not None and abs(difference) > 2.0 * before.sd
    luck = "" if is_clear else "; could be luck of the seed"
    return f" against {rounded(against)} of parent {parent} {how} ({difference:+.4f}){luck}"


def _variance(snapshot: Snapshot, until: Sequence[RunRecord]) -> str:
    objective = snapshot.study.objective
    own = pool(snapshot, until, until[-1].config)
    label = metric_label(objective, objective.metric)
    text = f"{own.config} now has {own.runs} run{'s' * (own.runs != 1)}"
    if own.failed:
        text += f", {own.failed} failed"
    if own.mean is not None:
        text += f", mean({label})={rounded(own.mean)}"
    return text + (f", CV({label})={rounded(own.cv, 3)}%" if own.cv is not None else "")


def _block_summary(snapshot: Snapshot, until: Sequence[RunRecord], block: int) -> str:
    study, nodes = snapshot.study, block_nodes(snapshot, block)
    runs = block_runs(snapshot, until, block)
    counts: dict[str, int] = {}
    for run in runs:
        counts[class_of(snapshot, run)] = counts.get(class_of(snapshot, run), 0) + 1
    classes = ", ".join(f"{name} {n}" for name, n in counts.items()) or "none ended"
    value = block_value(study, block)
    lines = [
        f"## Block {block + 1} summary",
        *([f"{study.blocks.path}={number(value)}"] if value is not None else []),
        f"Nodes: {len(nodes)}; runs: {len(runs)} ({classes})",
    ]
    best = best_pool(snapshot, runs)
    if best is not None:
        label, first = metric_label(study.objective, study.objective.metric), first_with(snapshot, best.config)
        spread = f" +- {rounded(best.sd, 2)}" if best.sd is not None else ""
        lines.append(
            f"Best: Node {first.id}, {label} {rounded(best.mean)}{spread} over {len(best.values)} "
            f"run{'s' * (len(best.values) > 1)}; {pairs(first.values) or 'base of the block'}"
        )
    share = branching(nodes)
    lines += [] if share is None else [f"Branching rate: {100.0 * share:.0f}%"]
    return "\n".join(lines)
