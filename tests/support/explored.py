"""Snapshots of studies that never ran: a made-up landscape over learning rates and penalties, with luck of the seed."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lobula.exploration.records import NodeRecord, ProposalRecord, RunRecord, RunState, SeedPair, Snapshot
from lobula.exploration.study import Study

START = 1_790_000_000.0
_TRUTHLESS = {"iteration": 40, "loss": 0.8, "validation": 0.9}


def make_study(**values: Any) -> Study:
    """A study of fly-small with four dimensions."""
    plain: dict[str, Any] = {
        "name": "made-up",
        "description": "A made-up study.",
        "base": "fly-small",
        "objective": {"report": ["circuit.effective_rank_99"]},
        "space": ["training.lr", "training.lr_W", "training.coeff_g_phi_diff", "model.hidden_dim"],
        "budget": {"n_runs": 40},
    }
    return Study.from_dict(plain | values)


def score_of(values: Mapping[str, Any], rng: np.random.Generator) -> float:
    """W R2 of a config: a hill in the learning rates, lower for strong penalties, and luck."""
    lr, lr_W = values.get("training.lr", 2e-3), values.get("training.lr_W", 2e-3)
    penalty = values.get("training.coeff_g_phi_diff", 1.0)
    hill = math.exp(-((math.log10(lr / 3e-3)) ** 2) - 0.6 * (math.log10(lr_W / 6e-3)) ** 2)
    return float(0.97 * hill - 0.05 * abs(math.log10(penalty)) + 0.02 * rng.standard_normal())


def make_run(run: int, node: NodeRecord, pair: int, rng: np.random.Generator, **other: Any) -> RunRecord:
    """A scored run that began 300 s after the one before."""
    r2 = score_of(node.values, rng)
    began = START + 300.0 * (run // 4) * 4
    metrics = {
        "gnn.W.r2": r2,
        "gnn.W.slope": r2 + 0.01,
        "gnn.tau.r2": r2 + 0.02,
        "gnn.v_rest.r2": r2 - 0.2,
        "gnn.cell_types.accuracy": min(1.0, 0.4 + r2 / 2),
        "gnn.cell_types.n_types": 65.0,
        "gnn.cell_types.chance_accuracy": 0.05,
        "circuit.effective_rank_99": 84.0,
    }
    seconds = 240.0 + node.values.get("model.hidden_dim", 64) * rng.uniform(0.8, 1.2)
    curve = [{**_TRUTHLESS, "iteration": 40 * k, "validation": 1.0 / k} for k in range(1, 6)]
    known: dict[str, Any] = {
        "state": RunState.SCORED,
        "slot": run % 4,
        "created": began,
        "started": began + 5.0,
        "ended": began + 5.0 + seconds,
        "metrics": metrics,
        "facts": {"trajectory": curve},
    }
    return RunRecord(run, node.id, node.config, SeedPair(pair, pair, pair), **(known | other))


def make_snapshot(n_runs: int = 40, seed: int = 0, study: Study | None = None, n_live: int = 0) -> Snapshot:
    """A tree of mutations in four slots: mostly scored, one run in twelve failed, one in eight a replicate.

    Args:
        n_runs: runs.
        seed: of luck and mutations.
        study: definition; default is `make_study()`.
        n_live: runs at the end that still run.
    """
    study, rng = study or make_study(), np.random.default_rng(seed)
    nodes: list[NodeRecord] = []
    runs: list[RunRecord] = []
    proposals: list[ProposalRecord] = []
    for number in range(1, n_runs + 1):
        again = number > 8 and number % 8 == 0
        if again:
            node = max(nodes, key=lambda found: _best(runs, found.id))
        else:
            node = _new_node(len(nodes) + 1, nodes, runs, rng)
            nodes.append(node)
            proposals.append(_proposal(len(proposals) + 1, node))
        pair = sum(run.config == node.config for run in runs)
        run = make_run(number, node, pair, rng)
        if number % 12 == 11:
            failed = RunState.NAN if number % 24 == 11 else RunState.TIMEOUT
            run = replace(run, state=failed, metrics={}, facts={}, error="loss is not finite at step 312")
        if number > n_runs - n_live:
            run = replace(run, state=RunState.RUNNING, ended=None, metrics={}, facts={})
        runs.append(run)
    refused = {"kind": "config", "changes": [{"path": "training.lr", "old": 0.002, "new": 5.0}], "strategy": "explore"}
    reason = "training.lr: got 5.0, expected < 1"
    proposals.append(ProposalRecord(len(proposals) + 1, "agent", refused, "rejected", reason, None, START))
    said = ("lr_W above lr helps in every block", "does hidden_dim matter at all?")
    return Snapshot(study, tuple(nodes), tuple(runs), tuple(proposals), (), said)


def _best(runs: list[RunRecord], node: int) -> float:
    return max((run.metrics.get("gnn.W.r2", -1.0) for run in runs if run.node == node), default=-1.0)


def _new_node(number: int, nodes: list[NodeRecord], runs: list[RunRecord], rng: np.random.Generator) -> NodeRecord:
    if number == 1:
        return NodeRecord(1, 0, None, (), "c0001", {}, (), "tpe", "baseline", "where the recipe stands", 1)
    known = sorted(nodes, key=lambda node: -_best(runs, node.id))
    parent = known[int(rng.integers(min(len(known), 4)))]
    path = ["training.lr", "training.lr_W", "training.coeff_g_phi_diff", "model.hidden_dim"][number % 4]
    defaults = {"training.lr": 2e-3, "training.lr_W": 2e-3, "training.coeff_g_phi_diff": 1.0, "model.hidden_dim": 64}
    old = parent.values.get(path, defaults[path])
    new = int(rng.choice([16, 32, 64, 128])) if path == "model.hidden_dim" else float(old * 2.0 ** rng.normal(0.3, 1.0))
    values = dict(parent.values) | {path: new}
    who, why = ("agent", "explore") if number % 5 == 0 else ("tpe", "exploit")
    thought = f"{path} moves the balance between weights and messages"
    note = "the penalty was too strong here" if number == 9 else ""
    config = f"c{number:04d}"
    changes = ((path, old, new),)
    return NodeRecord(number, 0, parent.id, (), config, values, changes, who, why, thought, number, None, note)


def _proposal(number: int, node: NodeRecord) -> ProposalRecord:
    changes = [{"path": path, "old": old, "new": new} for path, old, new in node.changes]
    content = {"kind": "config", "strategy": node.strategy, "hypothesis": node.hypothesis, "changes": changes}
    content |= {"parents": [node.parent] if node.parent else [], "predicted_sign": 1, "predicted_size": 0.01}
    return ProposalRecord(number, node.proposer, content, "accepted", "", node.id, START + 300.0 * number)
