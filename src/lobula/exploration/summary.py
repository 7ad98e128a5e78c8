"""A study in words and plain values: where it stands, its tree, why a node was tried and what came of it."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lobula.exploration.certificate import certificates
from lobula.exploration.explain import node_of
from lobula.exploration.judge import classify, values_of
from lobula.exploration.outcomes import distinct
from lobula.exploration.records import NodeRecord, RunRecord, Snapshot
from lobula.exploration.statistics import paired
from lobula.exploration.variance import noise_floor, posteriors, variance_rows

N_BEST = 5


def status_facts(snapshot: Snapshot) -> dict[str, Any]:
    """Phase, budget, runs by state, the best configs with intervals, what is certified; JSON can hold it."""
    study = snapshot.study
    spent = [run for run in snapshot.runs if not run.pair.holdout]
    hours = sum(run.seconds or 0.0 for run in snapshot.runs) / 3600
    floor = noise_floor(snapshot)
    return {
        "study": study.name,
        "phase": snapshot.phase,
        "block": snapshot.block,
        "metric": study.objective.metric,
        "n_runs": len(spent),
        "budget_runs": study.budget.n_runs,
        "slot_hours": round(hours, 4),
        "states": dict(Counter(run.state.value for run in snapshot.runs)),
        "n_nodes": len(snapshot.nodes),
        "proposals": dict(Counter(f"{record.proposer}: {record.verdict}" for record in snapshot.proposals)),
        "noise_sd": floor.sd,
        "paired_sd": floor.paired_sd,
        "best": best_rows(snapshot),
        "certified": certified(snapshot),
    }


def best_rows(snapshot: Snapshot, n: int = N_BEST) -> list[dict[str, Any]]:
    """The configs that are believed to be best, with 95 % intervals and verdicts."""
    believed = posteriors(snapshot)
    verdicts = {row.config: row.verdict for row in variance_rows(snapshot)}
    nodes = {node.config: node for node in reversed(distinct(snapshot.nodes))}
    sign = _sign(snapshot)
    rows = []
    for config, found in sorted(believed.items(), key=lambda item: -item[1].value)[:n]:
        low, high = sorted((sign * found.low, sign * found.high))
        rows.append(
            {
                "node": nodes[config].id,
                "n": found.n,
                "mean": sign * found.raw,
                "believed": sign * found.mean,
                "low": low,
                "high": high,
                "verdict": verdicts[config].name if config in verdicts else "undetermined",
                "values": dict(nodes[config].values),
            }
        )
    return rows


def certified(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Winner against baseline on the hold-out pairs, one row per race; empty before the certification."""
    rows = []
    for found in certificates(snapshot):
        if found.holdout is None:
            continue
        sign, best = _sign(snapshot), snapshot.node(found.winner)
        row: dict[str, Any] = {"winner": best.id, "values": dict(best.values), "n": found.verdict.n_runs}
        row |= {"claimed": sign * found.panel, "on_holdout": sign * found.holdout, "baseline": found.baseline}
        if found.difference is not None:
            compared = found.difference
            low, high = sorted((sign * compared.low, sign * compared.high))
            row |= {"difference": sign * compared.difference, "low": low, "high": high}
            exact = sorted((sign * compared.exact_low, sign * compared.exact_high))
            row |= {"exact_low": exact[0], "exact_high": exact[1]}
            row |= {"pairs": compared.n, "better": compared.n_better, "p_value": compared.p_value}
        rows.append(row)
    return rows


def status_lines(facts: Mapping[str, Any]) -> list[str]:
    """`status_facts` for a terminal."""
    of = f" of {facts['budget_runs']}" if facts["budget_runs"] else ""
    lines = [f"{facts['study']}: {facts['phase']}, block {facts['block']}; {facts['n_nodes']} nodes"]
    states = ", ".join(f"{count} {state}" for state, count in facts["states"].items())
    lines.append(f"runs: {facts['n_runs']}{of} ({states or 'none'}), {facts['slot_hours']:.2f} hours of slots")
    if facts["noise_sd"] is not None:
        lines.append(f"noise: a run differs from another of the same config by sd {facts['noise_sd']:.4f}")
    for row in facts["best"]:
        values = ", ".join(f"{path}={value}" for path, value in row["values"].items()) or "the base, unchanged"
        lines.append(
            f"node {row['node']}: {facts['metric']} {row['believed']:.4f} [{row['low']:.4f}, {row['high']:.4f}], "
            f"{row['n']} runs, {row['verdict']}: {values}"
        )
    lines += [_certified_line(row, facts["metric"]) for row in facts["certified"]]
    return lines


def tree_rows(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Every node with its depth, in the order of a walk through the tree."""
    children: dict[tuple[int, int | None], list[NodeRecord]] = {}
    for node in snapshot.nodes:
        children.setdefault((node.block, node.parent), []).append(node)
    rows: list[dict[str, Any]] = []

    def walk(block: int, parent: int | None, depth: int) -> None:
        for node in children.get((block, parent), []):
            rows.append(_node_row(snapshot, node) | {"depth": depth})
            walk(block, node.id, depth + 1)

    for block in sorted({node.block for node in snapshot.nodes}):
        walk(block, None, 0)
    return rows


def tree_lines(snapshot: Snapshot) -> list[str]:
    """`tree_rows` for a terminal."""
    lines, block = [], None
    for row in tree_rows(snapshot):
        if row["block"] != block:
            block = row["block"]
            lines.append(f"block {block}")
        score = "-" if row["mean"] is None else f"{row['mean']:.4f}"
        changes = ", ".join(f"{path}: {old} -> {new}" for path, old, new in row["changes"]) or row["strategy"]
        lines.append(f"{'  ' * (row['depth'] + 1)}{row['node']}  {score} ({row['n']} runs, {row['class']})  {changes}")
    return lines


def explain(snapshot: Snapshot, number: int) -> dict[str, Any]:
    """All that is known of a node.

    Raises:
        ProposalError: if there is no such node.
    """
    node = node_of(snapshot, number)
    proposal = next((record for record in snapshot.proposals if record.node == number), None)
    facts = _node_row(snapshot, node)
    facts |= {"proposer": node.proposer, "hypothesis": node.hypothesis, "note": node.note, "code": node.code}
    facts["predicted_sign"] = proposal.content.get("predicted_sign") if proposal else None
    facts["values"] = dict(node.values)
    facts["runs"] = [_run_row(snapshot, run) for run in snapshot.runs if run.config == node.config]
    verdict = next((row.verdict for row in variance_rows(snapshot) if row.config == node.config), None)
    if verdict is not None:
        facts["verdict"] = {"name": verdict.name, "n_failed": verdict.n_failed, "n_runs": verdict.n_runs}
        facts["verdict"] |= {"upper_bound": verdict.upper, "runs_needed": verdict.runs_needed}
    if node.parent is not None:
        parent = snapshot.node(node.parent)
        compared = paired(values_of(snapshot, node.config), values_of(snapshot, parent.config))
        if compared is not None and parent.config != node.config:
            facts["against_parent"] = {"pairs": compared.n, "difference": compared.difference}
            if compared.n > 1:
                facts["against_parent"] |= {"low": compared.low, "high": compared.high}
    return facts


def explain_lines(facts: Mapping[str, Any]) -> list[str]:
    """`explain` for a terminal."""
    parent = facts["parent"] if facts["parent"] is not None else "the base of the block"
    lines = [f"node {facts['node']} (block {facts['block']}), from {parent}, proposed by {facts['proposer']}"]
    lines.append(f"strategy: {facts['strategy']}")
    lines += [f"hypothesis: {facts['hypothesis']}"] if facts["hypothesis"] else []
    lines += [f"  {path}: {old} -> {new}" for path, old, new in facts["changes"]]
    lines += [f"code: {facts['code']} (lobula explore diff)"] if facts["code"] else []
    for run in facts["runs"]:
        score = "-" if run["score"] is None else f"{run['score']:.4f}"
        where = "hold-out " if run["holdout"] else ""
        error = f": {run['error']}" if run["error"] else ""
        lines.append(f"run {run['run']}, {where}pair {run['pair']}: {run['state']} {score}{error}")
    if "verdict" in facts:
        found = facts["verdict"]
        more = f"; {found['runs_needed']} more good runs would decide" if found["runs_needed"] else ""
        lines.append(
            f"{found['name']}: {found['n_failed']} of {found['n_runs']} runs did not hold, failure probability at most "
            f"{found['upper_bound']:.2f}{more}"
        )
    if "against_parent" in facts:
        found = facts["against_parent"]
        between = f" [{found['low']:+.4f}, {found['high']:+.4f}]" if "low" in found else " (one pair: no interval)"
        lines.append(f"against its parent: {found['difference']:+.4f}{between}, {found['pairs']} pairs")
    lines += [f"note: {text}" for text in str(facts["note"]).splitlines()]
    return lines


def _node_row(snapshot: Snapshot, node: NodeRecord) -> dict[str, Any]:
    values = values_of(snapshot, node.config)
    runs = [run for run in snapshot.runs_of(node.config) if classify(snapshot.study.objective, run)]
    classes = Counter(classify(snapshot.study.objective, run) for run in runs)
    return {
        "node": node.id,
        "block": node.block,
        "parent": node.parent,
        "n": len(values),
        "mean": _sign(snapshot) * _mean(values) if values else None,
        "class": classes.most_common(1)[0][0] if classes else "pending",
        "strategy": node.strategy,
        "changes": [list(change) for change in node.changes],
    }


def _run_row(snapshot: Snapshot, run: RunRecord) -> dict[str, Any]:
    return {
        "run": run.id,
        "pair": run.pair.index,
        "holdout": run.pair.holdout,
        "state": run.state.value,
        "attempt": run.attempt,
        "score": run.metrics.get(snapshot.study.objective.metric),
        "seconds": run.seconds,
        "error": run.error,
    }


def _certified_line(row: Mapping[str, Any], metric: str) -> str:
    text = f"certified on {row['n']} hidden pairs: node {row['winner']} has {metric} {row['on_holdout']:.4f}"
    if "difference" in row:
        text += f", {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}] to the baseline"
        text += f" (mean, 95 % t interval), better on {row['better']} of {row['pairs']} pairs"
        if math.isfinite(row["exact_low"]):
            exact = f"[{row['exact_low']:+.4f}, {row['exact_high']:+.4f}]"
            text += f"; exact interval {exact}, p {row['p_value']:.3f}"
    return f"{text}; on the panel it had {row['claimed']:.4f}"


def _mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values) if values else float("nan")


def _sign(snapshot: Snapshot) -> float:
    return 1.0 if snapshot.study.objective.direction == "higher" else -1.0
