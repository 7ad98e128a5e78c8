"""All that the page shows, as plain values that JSON can hold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lobula.config.space import Dimension
from lobula.exploration.dashboard.importance import parameter_importance
from lobula.exploration.judge import classify, value_of, values_of
from lobula.exploration.plain import plain
from lobula.exploration.policies.ucb import UcbRow, ucb_rows
from lobula.exploration.records import FAILED, PENDING, NodeRecord, RunRecord, Snapshot
from lobula.exploration.statistics import paired
from lobula.exploration.variance import Posterior, VarianceRow, posteriors, variance_rows
from lobula.exploration.views.user_input import acknowledged, pending
from lobula.exploration.views.words import metric_label, number, one_line, short_names, shown_metrics

MOST_EVENTS = 60
PHASES = ("search", "race", "certify", "done")


def study_data(snapshot: Snapshot, inbox: str = "") -> dict[str, Any]:
    """`page_data` with the study's own statistics.

    Args:
        snapshot: what the study knows, with its events.
        inbox: text of user_input.md.
    """
    return page_data(snapshot, variance_rows(snapshot), posteriors(snapshot), ucb_rows(snapshot), inbox)


def page_data(
    snapshot: Snapshot,
    variance: Sequence[VarianceRow] = (),
    intervals: Mapping[str, Posterior] | None = None,
    ucb: Sequence[UcbRow] = (),
    inbox: str = "",
) -> dict[str, Any]:
    """What the page shows of a study.

    Args:
        snapshot: what the study knows, with its events.
        variance: the variance table.
        intervals: what is believed of every config.
        ucb: the tree search's scores.
        inbox: text of user_input.md.
    """
    study, sign = snapshot.study, _sign(snapshot)
    dimensions = _shown_dimensions(snapshot)
    scores = {run.id: sign * v for run in snapshot.runs if (v := value_of(study.objective, run)) is not None}
    verdicts = {row.config: row for row in variance}
    believed = _intervals(snapshot, intervals or {}, verdicts)
    values: dict[str, Any] = {
        "study": _study(snapshot),
        "budget": _budget(snapshot),
        "nodes": [_node(snapshot, node, dimensions, verdicts) for node in snapshot.nodes],
        "runs": [_run(snapshot, run, scores) for run in snapshot.runs],
        "intervals": believed,
        "variance": [_variance(snapshot, row) for row in variance],
        "ucb": [vars(row) | {"value": sign * row.value} for row in ucb],
        "dimensions": [_dimension(dimension, dimensions) for dimension in dimensions],
        "importance": parameter_importance(snapshot, dimensions, scores),
        "pareto": _pareto(snapshot, scores),
        "principles": [one_line(text) for text in snapshot.principles],
        "proposals": dict(Counter(f"{record.proposer}: {record.verdict}" for record in snapshot.proposals)),
        "events": [_event(event) for event in snapshot.events[-MOST_EVENTS:]],
        "inbox": {"pending": pending(inbox), "acknowledged": acknowledged(inbox)},
    }
    found: dict[str, Any] = plain(_finite(values))
    return found


def _study(snapshot: Snapshot) -> dict[str, Any]:
    study, objective = snapshot.study, snapshot.study.objective
    blocks = study.blocks
    return {
        "name": study.name,
        "description": study.description,
        "base": study.base,
        "phase": snapshot.phase,
        "phases": list(PHASES),
        "block": snapshot.block,
        "n_blocks": study.n_blocks,
        "block_path": blocks.path,
        "block_values": [number(value) for value in blocks.values],
        "metric": objective.metric,
        "label": metric_label(objective, objective.metric),
        "second": objective.second and metric_label(objective, objective.second),
        "direction": objective.direction,
        "converged": objective.converged,
        "failed": objective.failed,
        "goal": objective.goal,
        "policy": study.policy.name,
        "proposer": study.proposer.name,
    }


def _budget(snapshot: Snapshot) -> dict[str, Any]:
    budget = snapshot.study.budget
    searched = [run for run in snapshot.runs if not run.pair.holdout]
    return {
        "runs": len(searched),
        "n_runs": budget.n_runs,
        "seconds": sum(run.seconds or 0.0 for run in searched),
        "hours": budget.hours,
        "holdout": len(snapshot.runs) - len(searched),
        "slots": snapshot.study.engine.slots,
        "pending": sum(run.state in PENDING for run in snapshot.runs),
        "failed": sum(run.state in FAILED for run in snapshot.runs),
    }


def _node(
    snapshot: Snapshot, node: NodeRecord, dimensions: Sequence[Dimension], verdicts: Mapping[str, VarianceRow]
) -> dict[str, Any]:
    """A node with all that answers why it was tried and what came of it."""
    objective, runs = snapshot.study.objective, snapshot.runs_of(node.config)
    values = values_of(snapshot, node.config)
    classes = Counter(found for run in runs if (found := classify(objective, run)) is not None)
    proposal = next((record for record in snapshot.proposals if record.node == node.id), None)
    content = proposal.content if proposal else {}
    row = verdicts.get(node.config)
    return {
        "id": node.id,
        "block": node.block,
        "parent": node.parent,
        "other_parents": node.other_parents,
        "config": node.config,
        "score": _sign(snapshot) * sum(values.values()) / len(values) if values else None,
        "n": len(values),
        "class": classes.most_common(1)[0][0] if classes else "pending",
        "proposer": node.proposer,
        "strategy": node.strategy,
        "hypothesis": one_line(node.hypothesis),
        "predicted": content.get("predicted_sign"),
        "changes": [[path, number(old), number(new)] for path, old, new in node.changes],
        "values": {path: number(value) for path, value in node.values.items()},
        "at": {d.path: node.values.get(d.path, d.default) for d in dimensions},
        "note": node.note,
        "code": node.code,
        "verdict": None if row is None else vars(row.verdict),
        "against_parent": _against_parent(snapshot, node, values),
    }


def _against_parent(snapshot: Snapshot, node: NodeRecord, values: Mapping[int, float]) -> dict[str, Any] | None:
    """Paired difference to the parent's config; None without a common pair of seeds."""
    if node.parent is None or snapshot.node(node.parent).config == node.config:
        return None
    found = paired(values, values_of(snapshot, snapshot.node(node.parent).config))
    return None if found is None else vars(found)


def _run(snapshot: Snapshot, run: RunRecord, scores: Mapping[int, float]) -> dict[str, Any]:
    objective = snapshot.study.objective
    metrics = {metric_label(objective, path): v for path, v in shown_metrics(objective, run.metrics).items()}
    return {
        "id": run.id,
        "node": run.node,
        "config": run.config,
        "pair": run.pair.index,
        "holdout": run.pair.holdout,
        "seeds": [run.pair.data, run.pair.init],
        "state": run.state.value,
        "class": classify(objective, run) or ("pending" if run.state in PENDING else "no observation"),
        "score": scores.get(run.id),
        "second": run.metrics.get(objective.second) if objective.second else None,
        "seconds": run.seconds,
        "started": run.started,
        "ended": run.ended,
        "attempt": run.attempt,
        "slot": run.slot,
        "error": run.error and one_line(run.error),
        "metrics": metrics,
    }


def _intervals(
    snapshot: Snapshot, believed: Mapping[str, Posterior], verdicts: Mapping[str, VarianceRow]
) -> list[dict[str, Any]]:
    """What is believed of every config, best first, in the metric's own sign."""
    sign = _sign(snapshot)
    first = {node.config: node.id for node in reversed(snapshot.nodes)}
    rows = []
    for config, found in sorted(believed.items(), key=lambda item: -item[1].value):
        low, high = sorted((sign * found.low, sign * found.high))
        row = {"config": config, "node": first[config], "n": found.n, "n_failed": found.n_failed}
        row |= {"raw": sign * found.raw, "mean": sign * found.mean, "low": low, "high": high}
        verdict = verdicts[config].verdict.name if config in verdicts else "undetermined"
        rows.append(row | {"failure_rate": found.failure_rate, "verdict": verdict})
    return rows


def _variance(snapshot: Snapshot, row: VarianceRow) -> dict[str, Any]:
    objective = snapshot.study.objective
    spreads = {metric_label(objective, path): vars(spread) for path, spread in row.metrics.items()}
    return {"config": row.config, "nodes": row.nodes, "n": row.n_runs, "metrics": spreads, "verdict": vars(row.verdict)}


def _shown_dimensions(snapshot: Snapshot) -> list[Dimension]:
    """The dimensions that some node has varied."""
    return [d for d in snapshot.study.dimensions() if any(d.path in node.values for node in snapshot.nodes)]


def _dimension(dimension: Dimension, shown: Sequence[Dimension]) -> dict[str, Any]:
    label = short_names(found.path for found in shown)[dimension.path]
    return {
        "path": dimension.path,
        "label": label,
        "scale": dimension.scale,
        "default": dimension.default,
        "choices": list(dimension.choices),
    }


def _pareto(snapshot: Snapshot, scores: Mapping[int, float]) -> list[dict[str, Any]]:
    """Mean score and mean time of every config, and whether no other is both better and faster."""
    sign = _sign(snapshot)
    rows: list[dict[str, Any]] = []
    for config in dict.fromkeys(run.config for run in snapshot.runs):
        runs = [run for run in snapshot.runs_of(config) if run.id in scores and run.seconds is not None]
        if runs:
            score = sum(scores[run.id] for run in runs) / len(runs)
            seconds = sum(run.seconds or 0.0 for run in runs) / len(runs)
            node = next(node.id for node in snapshot.nodes if node.config == config)
            rows.append({"config": config, "node": node, "n": len(runs), "score": score, "seconds": seconds})
    for row in rows:
        others = (other for other in rows if other is not row)
        row["front"] = not any(
            sign * other["score"] >= sign * row["score"]
            and other["seconds"] <= row["seconds"]
            and (other["score"], other["seconds"]) != (row["score"], row["seconds"])
            for other in others
        )
    return rows


def _event(event: Any) -> dict[str, Any]:
    said = ", ".join(f"{key}: {number(value)}" for key, value in event.content.items())
    return {"id": event.id, "time": event.time, "kind": event.kind, "subject": event.subject, "text": said[:300]}


def _sign(snapshot: Snapshot) -> float:
    return 1.0 if snapshot.study.objective.direction == "higher" else -1.0


def _finite(value: Any) -> Any:
    """NaN and infinity, which JSON does not know, as null: the page shows a dash."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
