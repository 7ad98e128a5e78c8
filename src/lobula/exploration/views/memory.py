"""The working memory, `{study}_memory.md`: what a person or an agent reads before the next proposal.

At most `MOST_LINES` lines, whatever the study's length: old iterations shrink to one line, older ones to a count.
"Emerging Observations" is always the last section.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lobula.exploration.judge import value_of
from lobula.exploration.records import RunRecord, RunState, Snapshot
from lobula.exploration.views.analysis import entry, mutation
from lobula.exploration.views.history import (
    Pool,
    best_pool,
    block_nodes,
    block_runs,
    block_value,
    class_of,
    ended_runs,
    first_with,
    pool,
)
from lobula.exploration.views.words import config_paths, metric_label, number, one_line, pairs, rounded, short_names

MOST_LINES = 500
MOST_PRINCIPLES = 60
MOST_QUESTIONS = 20
MOST_CONFIGS = 30
MOST_BLOCKS = 40
MOST_OBSERVATIONS = 40
_ENOUGH_RUNS = 3


def memory(snapshot: Snapshot, verdicts: Mapping[str, str] | None = None) -> str:
    """The memory as Markdown.

    Args:
        snapshot: what the study knows.
        verdicts: "robust", "fragile" or "undetermined" by config id, from the study's statistics.
    """
    runs = ended_runs(snapshot)
    head = _knowledge(snapshot, runs, verdicts or {}) + _previous(snapshot, runs) + _current(snapshot)
    tail = _emerging(snapshot, runs)
    room = MOST_LINES - len(head) - len(tail) - 1
    return "\n".join([*head, *_iterations(snapshot, runs, room), "", *tail]) + "\n"


def is_question(principle: str) -> bool:
    """Whether a statement for the memory is an open question: it ends with a question mark, or begins with "open:"."""
    return principle.rstrip().endswith("?") or principle.lower().startswith("open:")


def _knowledge(snapshot: Snapshot, runs: Sequence[RunRecord], verdicts: Mapping[str, str]) -> list[str]:
    said = [one_line(text) for text in snapshot.principles]
    principles = [f"{i}. {text}" for i, text in enumerate((t for t in said if not is_question(t)), 1)]
    questions = [f"- {text}" for text in said if is_question(text)] + _own_questions(snapshot, runs)
    return [
        "# Working Memory",
        "",
        f"Study {snapshot.study.name}, phase {snapshot.phase}, {len(snapshot.nodes)} nodes, {len(runs)} runs ended.",
        "",
        "## Knowledge Base (accumulated across all blocks)",
        "",
        "### Comparison Table",
        "",
        *_comparison(snapshot, runs),
        "",
        "### Variance Estimates",
        "",
        *_variance(snapshot, runs, verdicts),
        "",
        "### Established Principles",
        "",
        *(_last(principles, MOST_PRINCIPLES) or ["none yet"]),
        "",
        "### Open Questions",
        "",
        *(_last(questions, MOST_QUESTIONS) or ["none"]),
        "",
        "---",
        "",
    ]


def _comparison(snapshot: Snapshot, runs: Sequence[RunRecord]) -> list[str]:
    study, objective = snapshot.study, snapshot.study.objective
    paths = config_paths(snapshot)
    names = short_names(paths)
    varied = [path for path in paths if path != study.blocks.path and any(path in n.values for n in snapshot.nodes)][:6]
    label = metric_label(objective, objective.metric)
    head = ["Block", *([names[study.blocks.path]] if study.blocks.path else []), "eff_rank", "Runs", "Best node"]
    head += [f"Best {label} (mean)", *([metric_label(objective, objective.second)] if objective.second else [])]
    head += [*(names[path] for path in varied), "Time (min)"]
    rows = [head, ["---"] * len(head)]
    for block in range(snapshot.block + 1)[-MOST_BLOCKS:]:
        own = block_runs(snapshot, runs, block)
        best = best_pool(snapshot, own)
        node = None if best is None else first_with(snapshot, best.config)
        rank = next((run.metrics[key] for run in own if (key := "circuit.effective_rank_99") in run.metrics), None)
        row = [str(block + 1), *([number(block_value(study, block))] if study.blocks.path else [])]
        row += [rounded(rank), str(len(own)), "-" if node is None else str(node.id)]
        row += ["-" if best is None else _mean(best)]
        if objective.second:
            row.append("-" if best is None else rounded(_mean_of(own, best.config, objective.second)))
        row += ["-" if node is None else number(node.values.get(path, "base")) for path in varied]
        seconds = [run.seconds for run in own if run.seconds is not None]
        rows.append([*row, rounded(sum(seconds) / len(seconds) / 60.0, 3) if seconds else "-"])
    return [f"| {' | '.join(row)} |" for row in rows]


def _variance(snapshot: Snapshot, runs: Sequence[RunRecord], verdicts: Mapping[str, str]) -> list[str]:
    objective = snapshot.study.objective
    sign = 1.0 if objective.direction == "higher" else -1.0
    pools = [pool(snapshot, runs, config) for config in dict.fromkeys(run.config for run in runs)]
    pools.sort(key=lambda found: (found.mean is None, -sign * (found.mean or 0.0)))
    label = metric_label(objective, objective.metric)
    lines = [f"| Config ID | Node | Runs | Failed | {label} (mean +- sd) | CV | Robust? |", "|" + " --- |" * 7]
    for found in pools[:MOST_CONFIGS]:
        cv = "-" if found.cv is None else f"{rounded(found.cv, 3)}%"
        lines.append(
            f"| {found.config} | {first_with(snapshot, found.config).id} | {found.runs} | {found.failed} | "
            f"{_mean(found)} | {cv} | {verdicts.get(found.config, 'undetermined')} |"
        )
    left = len(pools) - MOST_CONFIGS
    return lines + ([f"{left} more configs, all with a lower mean or none."] if left > 0 else [])


def _own_questions(snapshot: Snapshot, runs: Sequence[RunRecord]) -> list[str]:
    """What the runs leave open: a leader with too few runs, fields that nobody has varied, blocks to come."""
    questions = []
    best = best_pool(snapshot, runs)
    if best is not None and len(best.values) < _ENOUGH_RUNS:
        node, n = first_with(snapshot, best.config).id, len(best.values)
        questions.append(f"- Is Node {node} better, or lucky? It leads with {n} run{'s' * (n > 1)}.")
    blocks = snapshot.study.blocks
    still = [path for path in config_paths(snapshot) if path != blocks.path]
    still = [path for path in still if not any(path in node.values for node in snapshot.nodes)]
    if still and snapshot.nodes:
        questions.append(f"- Not varied yet: {', '.join(short_names(still).values())}.")
    left = blocks.values[snapshot.block + 1 :]
    if left:
        questions.append(f"- Blocks to come: {blocks.path} = {', '.join(number(value) for value in left)}.")
    return questions


def _previous(snapshot: Snapshot, runs: Sequence[RunRecord]) -> list[str]:
    if snapshot.block == 0:
        return ["## Previous Block Summary", "", "none: this is the first block", "", "---", ""]
    block = snapshot.block - 1
    own = block_runs(snapshot, runs, block)
    best, value = best_pool(snapshot, own), block_value(snapshot.study, block)
    given = f" ({snapshot.study.blocks.path}={number(value)})" if value is not None else ""
    good = sum(class_of(snapshot, run) == "converged" for run in own)
    text = f"Block {block + 1}{given}: {len(own)} runs, {good} converged."
    if best is not None:
        node = first_with(snapshot, best.config)
        text += f" Best: Node {node.id}, {_mean(best)}, at {pairs(node.values) or 'the base'}."
    return [f"## Previous Block Summary (Block {block + 1})", "", text, "", "---", ""]


def _current(snapshot: Snapshot) -> list[str]:
    blocks, nodes = snapshot.study.blocks, block_nodes(snapshot, snapshot.block)
    value = block_value(snapshot.study, snapshot.block)
    info = [f"{blocks.path}: {number(value)}"] if value is not None else []
    first = nodes[0].id if nodes else max((node.id for node in snapshot.nodes), default=0) + 1
    last = "the end of the budget" if blocks.n_iter is None else str(first + blocks.n_iter - 1)
    hypothesis = next((one_line(node.hypothesis) for node in nodes if node.hypothesis), "none stated yet")
    return [
        f"## Current Block (Block {snapshot.block + 1})",
        "",
        "### Block Info",
        "",
        *info,
        f"Iterations: {first} to {last}",
        "",
        "### Hypothesis",
        "",
        hypothesis,
        "",
        "### Iterations This Block",
        "",
    ]


def _iterations(snapshot: Snapshot, runs: Sequence[RunRecord], room: int) -> list[str]:
    """Entries of the block, newest in full, older ones in a line each, the oldest only counted."""
    numbers = {node.id for node in block_nodes(snapshot, snapshot.block)}
    at = [index for index, run in enumerate(runs) if run.node in numbers]
    if not at:
        return ["none yet"][: max(room, 0)]
    short = {index: _short(snapshot, runs[index]) for index in at}
    shown: list[list[str]] = []
    bases: dict[int, Mapping[str, Any]] = {}
    left = room - 1  # for the count of what is left out
    waiting = list(at)
    while waiting:
        full = [*entry(snapshot, runs[: waiting[-1] + 1], bases).splitlines(), ""]
        if len(full) + len(waiting) - 1 > left:
            break
        shown.append(full)
        left -= len(full)
        waiting.pop()
    kept = waiting[-left:] if left > 0 else []
    dropped = len(waiting) - len(kept)
    lines = [f"({dropped} older in the full log)"] if dropped else []
    lines += [short[index] for index in kept]
    return lines + [line for full in reversed(shown) for line in full]


def _short(snapshot: Snapshot, run: RunRecord) -> str:
    node, objective = snapshot.node(run.node), snapshot.study.objective
    value = value_of(objective, run)
    shown = run.state.value if value is None else f"{metric_label(objective, objective.metric)}={rounded(value)}"
    parent = "root" if node.parent is None else node.parent
    what = mutation(node, first_with(snapshot, node.config).id)
    return f"- Iter {node.id} (parent {parent}, pair {run.pair.index}): {class_of(snapshot, run)}, {shown}; {what}"


def _emerging(snapshot: Snapshot, runs: Sequence[RunRecord]) -> list[str]:
    nodes = block_nodes(snapshot, snapshot.block)
    notes = [f"- Node {node.id}: {one_line(node.note)}" for node in nodes if node.note]
    own = block_runs(snapshot, runs, snapshot.block)
    best = best_pool(snapshot, own)
    if best is not None:
        notes.append(f"- Best of the block so far: Node {first_with(snapshot, best.config).id}, {_mean(best)}.")
    ended_badly = [run for run in own if run.state is not RunState.SCORED]
    if ended_badly:
        numbers = ", ".join(f"{run.node} ({run.state.value})" for run in ended_badly[-8:])
        notes.append(f"- {len(ended_badly)} of {len(own)} runs failed, the last ones at nodes {numbers}.")
    notes += _same_field(snapshot)
    return ["### Emerging Observations", "", *(_last(notes, MOST_OBSERVATIONS) or ["none yet"])]


def _same_field(snapshot: Snapshot) -> list[str]:
    recent = [node for node in block_nodes(snapshot, snapshot.block) if node.changes][-4:]
    if len(recent) < 4:
        return []
    common = set.intersection(*({path for path, _, _ in node.changes} for node in recent))
    return [f"- The last 4 mutations all changed {path}: consider another field." for path in sorted(common)]


def _mean(found: Pool) -> str:
    spread = f" +- {rounded(found.sd, 2)}" if found.sd is not None else ""
    return "-" if found.mean is None else f"{rounded(found.mean)}{spread} (n={len(found.values)})"


def _mean_of(runs: Sequence[RunRecord], config: str, path: str) -> float | None:
    values = [run.metrics[path] for run in runs if run.config == config and path in run.metrics]
    return sum(values) / len(values) if values else None


def _last(lines: Sequence[str], most: int) -> list[str]:
    return list(lines[-most:])
