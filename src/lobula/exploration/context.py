"""What an agent is told: the whole study as one JSON document of bounded size."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Union, get_args

import numpy as np
from pydantic import Field, TypeAdapter

from lobula.config.space import Dimension, params_doc
from lobula.exploration.folder import StudyFolder
from lobula.exploration.judge import classify, values_of
from lobula.exploration.proposals import Ablate, CodePatch, ConfigMutation, Recombine, Replicate, Stop, Strategy
from lobula.exploration.proposers.base import Request
from lobula.exploration.records import FAILED, PENDING, NodeRecord, RunRecord, RunState, Snapshot
from lobula.exploration.study import SEED_FIELDS, Study

MAX_CHARS = 120_000
"""Size of the document; some 30,000 tokens."""
_LIMITS = (200, 100, 50, 25, 12, 6)  # nodes and twice as many runs, until it fits
_KINDS = (ConfigMutation, Replicate, Recombine, Ablate, Stop)
_HOW = (
    "Answer with JSON only: a list of at most request.n proposals that follow answer.schema. `old` of a change is the "
    "field's value in the parent (its `values`, else the base's value in `space`) and must match. Set nothing outside "
    "`space`, and nothing outside its range, except back to the base's value. parents = [] is the base of the block. "
    "A config that was tried already is refused; Replicate runs it again on other seeds."
)


def build_context(request: Request, max_chars: int = MAX_CHARS) -> dict[str, Any]:
    """The study as an agent sees it; old and bad nodes and the ends of long texts are left out until it fits.

    Args:
        request: what is wanted, with the snapshot.
        max_chars: size as JSON that it should not exceed.
    """
    snapshot = request.snapshot
    texts = _texts(request.folder, max_chars // 5)
    for limit in _LIMITS:
        context = {
            "study": _study(snapshot),
            "request": {"parents": list(request.parents), "strategy": request.strategy, "n": request.n},
            "block": _block(snapshot),
            "space": space_table(snapshot.study),
            "frozen": [*snapshot.study.frozen, *SEED_FIELDS],
            "tree": _tree(snapshot, limit),
            "best": _best(snapshot),
            "recent_runs": [run_facts(snapshot, run) for run in snapshot.runs[-2 * limit :]],
            "variance": _variance(snapshot, limit),
            "principles": list(snapshot.principles)[-limit:],
            "refused": _refused(snapshot),
            "agent_errors": [
                event.content["error"]
                for event in snapshot.events
                if event.kind == "agent" and "error" in event.content
            ][-3:],
            **texts,
            "answer": {
                "how": _HOW,
                "strategies": list(get_args(Strategy)),
                "schema": proposal_schema(_code_is_open(snapshot)),
            },
        }
        if len(json.dumps(context)) <= max_chars:
            break
        texts = {name: _cut(text, len(text) // 2, name) for name, text in texts.items()}
    return context


def proposal_schema(code: bool = False) -> dict[str, Any]:
    """JSON schema of a list of proposals.

    Args:
        code: whether code patches are allowed now.
    """
    kinds = (*_KINDS, CodePatch) if code else _KINDS
    union: Any = Annotated[Union[kinds], Field(discriminator="kind")]  # noqa: UP007 (of a tuple)
    return TypeAdapter(list[union]).json_schema()


def space_table(study: Study) -> list[dict[str, Any]]:
    """The fields that proposals may set: range, the base's value, and what the field means."""
    rows = {row.path: row for row in params_doc()}
    table = []
    for dimension in study.dimensions():
        row = rows[dimension.path]
        table.append(
            {
                "path": dimension.path,
                "kind": dimension.kind,
                "base": dimension.default,
                **_range(dimension),
                "unit": row.unit,
                "meaning": row.meaning,
            }
        )
    return table


def node_facts(snapshot: Snapshot, node: NodeRecord) -> dict[str, Any]:
    """A node with its scores, over all runs of its config on the panel."""
    runs = snapshot.runs_of(node.config)
    objective = snapshot.study.objective
    classes = Counter(name for run in runs if (name := classify(objective, run)) is not None)
    return {
        "id": node.id,
        "parent": node.parent,
        **({"other_parents": list(node.other_parents)} if node.other_parents else {}),
        "block": node.block,
        "strategy": node.strategy,
        "proposer": node.proposer,
        "hypothesis": node.hypothesis,
        "values": dict(node.values),
        "changes": [{"path": path, "old": old, "new": new} for path, old, new in node.changes],
        **({"code": node.code} if node.code else {}),
        **({"note": node.note} if node.note else {}),
        "runs": len(runs),
        "failed": sum(run.state in FAILED for run in runs),
        "pending": sum(run.state in PENDING for run in runs),
        "classes": dict(classes),
        "scores": _scores(snapshot, runs),
    }


def run_facts(snapshot: Snapshot, run: RunRecord, full: bool = False) -> dict[str, Any]:
    """A run: how it ended, its scores; with `full` all its metrics and facts.

    A run on a hold-out pair shows no score: those are for the certification alone.
    """
    objective = snapshot.study.objective
    known = run.metrics if full else {path: run.metrics[path] for path in _metrics(snapshot) if path in run.metrics}
    return {
        "run": run.id,
        "node": run.node,
        "state": str(run.state),
        "pair": {"index": run.pair.index, "data": run.pair.data, "init": run.pair.init},
        "seconds": run.seconds,
        "class": None if run.pair.holdout else classify(objective, run),
        "metrics": {} if run.pair.holdout else dict(known),
        **({"error": run.error} if run.error else {}),
        **({"attempt": run.attempt, "facts": {} if run.pair.holdout else dict(run.facts)} if full else {}),
    }


def _study(snapshot: Snapshot) -> dict[str, Any]:
    study = snapshot.study
    used = [run for run in snapshot.runs if not run.pair.holdout]
    return {
        "name": study.name,
        "description": study.description,
        "base": study.base,
        "objective": study.objective.model_dump(mode="json"),
        "budget": {
            **study.budget.model_dump(mode="json"),
            "runs_used": len(used),
            "hours_used": round(sum(run.seconds or 0.0 for run in used) / 3600, 3),
        },
        "seeds": study.seeds.model_dump(mode="json"),
        "policy": study.policy.name,
        "phase": snapshot.phase,
    }


def _block(snapshot: Snapshot) -> dict[str, Any]:
    blocks = snapshot.study.blocks
    fixed = blocks.values[snapshot.block] if snapshot.block < len(blocks.values) else None
    return {
        "number": snapshot.block,
        "of": snapshot.study.n_blocks,
        "iteration": sum(node.block == snapshot.block for node in snapshot.nodes),
        "iterations": blocks.n_iter,
        "fixed": {blocks.path: fixed} if blocks.path else {},
    }


def _tree(snapshot: Snapshot, limit: int) -> dict[str, Any]:
    """The best half and the latest half of the nodes, in order of id."""
    kept = {node.id for node in _ranked(snapshot)[: limit // 2]}
    rest = [node.id for node in snapshot.nodes if node.id not in kept]
    kept |= set(rest[-(limit - len(kept)) :])
    nodes = [node_facts(snapshot, node) for node in snapshot.nodes if node.id in kept]
    return {"nodes": nodes, "left_out": len(snapshot.nodes) - len(nodes)}


def _best(snapshot: Snapshot) -> dict[str, Any] | None:
    ranked = [node for node in _ranked(snapshot) if node.block == snapshot.block]
    return node_facts(snapshot, ranked[0]) if ranked else None


def _ranked(snapshot: Snapshot) -> list[NodeRecord]:
    """Nodes with a score, best first."""
    means = {
        node.id: float(np.mean(list(values.values())))
        for node in snapshot.nodes
        if (values := values_of(snapshot, node.config))
    }
    return sorted((node for node in snapshot.nodes if node.id in means), key=lambda node: -means[node.id])


def _variance(snapshot: Snapshot, limit: int) -> list[dict[str, Any]]:
    """Configs with two scored runs or more: how much the objective differs from run to run."""
    rows = []
    for config in dict.fromkeys(node.config for node in snapshot.nodes):
        values = list(values_of(snapshot, config).values())
        if len(values) > 1:
            mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
            sign = 1.0 if snapshot.study.objective.direction == "higher" else -1.0
            rows.append(
                {
                    "nodes": [node.id for node in snapshot.nodes if node.config == config],
                    "runs": len(values),
                    "mean": round(sign * mean, 5),
                    "sd": round(sd, 5),
                    "cv_percent": round(100 * sd / abs(mean), 2) if mean else None,
                }
            )
    return rows[-limit:]


def _scores(snapshot: Snapshot, runs: list[RunRecord]) -> dict[str, Any]:
    found = {}
    for path in _metrics(snapshot):
        values = [run.metrics[path] for run in runs if run.state is RunState.SCORED and path in run.metrics]
        if values:
            sd = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
            found[path] = {"mean": round(float(np.mean(values)), 5), "sd": sd, "n": len(values)}
    return found


def _metrics(snapshot: Snapshot) -> list[str]:
    objective = snapshot.study.objective
    return list(dict.fromkeys([objective.metric, *([objective.second] if objective.second else []), *objective.report]))


def _refused(snapshot: Snapshot) -> list[dict[str, Any]]:
    refused = [record for record in snapshot.proposals if record.verdict == "rejected"][-6:]
    return [{"proposal": dict(record.content), "reason": record.reason} for record in refused]


def _code_is_open(snapshot: Snapshot) -> bool:
    """Whether code patches are allowed, which is not so in the first iterations of a block."""
    code = snapshot.study.code
    return code.allowed and sum(node.block == snapshot.block for node in snapshot.nodes) >= code.after


def _range(dimension: Dimension) -> dict[str, Any]:
    if dimension.kind == "choice":
        return {"choices": list(dimension.choices)}
    return {"low": dimension.low, "high": dimension.high, "scale": dimension.scale}


def _texts(folder: Path | None, max_chars: int) -> dict[str, str]:
    if folder is None:
        return {"user_input": "", "instructions": ""}
    files = {"user_input": StudyFolder(folder).user_input, "instructions": StudyFolder(folder).instructions}
    read = {name: path.read_text(encoding="utf-8") if path.is_file() else "" for name, path in files.items()}
    return {name: _cut(text, max_chars, name) for name, text in read.items()}


def _cut(text: str, max_chars: int, name: str) -> str:
    """Instructions lose their end; of what a person says, the latest counts."""
    if len(text) <= max_chars:
        return text
    return text[:max_chars] + "\n[cut]" if name == "instructions" else "[cut]\n" + text[-max_chars:]
