"""The gate: what becomes a node, and what gets a reason."""

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.explore import LR, add_baseline, add_node, make_study, mutation

from lobula.config import load_config
from lobula.errors import DuplicateProposalError, ProposalError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.gate import QUEUE, Gate, NewNode, with_code
from lobula.exploration.identity import config_id
from lobula.exploration.journal import Journal
from lobula.exploration.panel import panel
from lobula.exploration.proposals import parse_proposal
from lobula.exploration.records import NodeRecord, ProposalRecord, RunRecord, RunState, Snapshot
from lobula.exploration.study import Study

STUDY = make_study(
    frozen=["training.lr_W"],
    blocks={"n_iter": 4, "path": "simulation.process_noise", "values": [0.05, 0.5]},
    space=["training.lr", "training.batch_size", "training.coeff_W_L1", "model.activation", "model.g_phi_positive"],
    seeds={"panel": 2},
)
GATE = Gate(STUDY, "base")
BASE, DIMENSIONS = STUDY.base_config(), STUDY.dimensions()
DIFF = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n"


def as_record(new: NewNode, number: int, proposal: int | None = None) -> NodeRecord:
    return NodeRecord(
        id=number,
        block=new.block,
        parent=new.parent,
        other_parents=new.other_parents,
        config=new.config,
        values=new.values,
        changes=new.changes,
        proposer="test",
        strategy=new.strategy,
        proposal=proposal,
        code=new.code,
    )


def grown(*contents: dict[str, Any], study: Study = STUDY, gate: Gate = GATE) -> Snapshot:
    """What a study knows after a baseline and these proposals."""
    snapshot = Snapshot(study)
    snapshot = replace(snapshot, nodes=(as_record(gate.baseline(snapshot), 1),))
    for content in contents:
        node = as_record(gate.check(content, snapshot), len(snapshot.nodes) + 1)
        snapshot = replace(snapshot, nodes=(*snapshot.nodes, node))
    return snapshot


TREE = grown(
    mutation("training.lr", LR, 8.1e-4, 1),
    mutation("training.batch_size", 8, 16, 1),
    mutation("training.coeff_W_L1", 0.0, 8.1e-05, 2),
)


def reason(content: Any, snapshot: Snapshot = TREE, gate: Gate = GATE) -> str:
    with pytest.raises(ProposalError) as caught:
        gate.check(content, snapshot)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def test_a_mutation_becomes_the_config_that_it_says() -> None:
    node = GATE.check(mutation("training.coeff_W_L1", 0.0, 8.1e-05, 3, hypothesis="sparse\nis better"), TREE)

    assert (node.block, node.parent, node.other_parents) == (0, 3, ())
    assert node.changes == (("training.coeff_W_L1", 0.0, 8.1e-05),)
    assert dict(node.values) == {"training.batch_size": 16, "training.coeff_W_L1": 8.1e-05}
    assert (node.resolved.training.batch_size, node.resolved.training.coeff_W_L1) == (16, 8.1e-05)
    assert node.config == config_id(node.resolved, "base")
    assert node.hypothesis == "sparse is better"
    assert node.resolved == BASE.with_values(node.values)


def test_typed_and_plain_proposals_are_the_same() -> None:
    content = mutation("training.lr", LR, 0.005)

    assert GATE.check(parse_proposal(content), TREE) == GATE.check(json.loads(json.dumps(content)), TREE)


REFUSED = [
    (mutation("training.lr_w", LR, 0.01), "training.lr_w: no such field; did you mean lr_W?"),
    (mutation("trainig.lr", LR, 0.01), "did you mean training.lr?"),
    (mutation("training.coef_W_L1", 0, 1e-5), "did you mean coeff_W_L1?"),
    (mutation("training", None, 1), "training: no such field"),
    (mutation("", None, 1), "no such field"),
    (mutation("training.seed", 0, 1), "training.seed: a seed"),
    (mutation("simulation.seed", 0, 1), "simulation.seed: a seed"),
    (mutation("training.lr_W", LR, 0.01), "training.lr_W: frozen by the study"),
    (mutation("simulation.process_noise", 0.05, 0.1), "fixed within a block"),
    (mutation("training.regime", "one_step", "recurrent"), "may change between blocks only"),
    (mutation("training.rounds", 2, 1), "not in the space of this study"),
    (mutation("name", "fly-small", "x"), "not in the space of this study"),
    (mutation("training.lr", LR, 0.5), "training.lr: got 0.5, expected a number from 0.0001 to 0.02"),
    (mutation("training.lr", LR, -LR), "got -0.002"),
    (mutation("training.lr", LR, "8.1e-05"), "got '8.1e-05', expected a number"),
    (mutation("training.lr", LR, True), "got True, expected a number"),
    (mutation("training.lr", LR, None), "got None, expected a number"),
    (mutation("training.lr", LR, [0.01]), "expected a number"),
    (mutation("training.lr", LR, math.nan), "got 'nan', expected a number"),
    (mutation("training.lr", LR, math.inf), "got 'inf', expected a number"),
    (mutation("training.batch_size", 8, 16.0), "got 16.0, expected an integer from 1 to 64"),
    (mutation("training.batch_size", 8, 65), "got 65, expected an integer from 1 to 64"),
    (mutation("model.activation", "relu", "tahn"), "did you mean tanh?"),
    (mutation("model.g_phi_positive", False, 1), "got 1, expected one of False, True"),
    (mutation("training.lr", 0.001, 0.01), "old: got 0.001, but the base has 0.002"),
    (mutation("training.lr", LR, 0.01, 2), "old: got 0.002, but node 2 has 0.00081"),
    (mutation("model.g_phi_positive", 0, True), "old: got 0, but the base has False"),
    ({"kind": "config", "changes": [{"path": "training.lr", "new": 0.01}]}, "got no old"),
    (mutation("training.lr", LR, LR), "new is the parent's value"),
    (mutation("training.lr", LR, 0.01, 9), "parents: got 9, expected a node"),
    (mutation("training.lr", LR, 0.01, -1), "parents: got -1, expected a node"),
    (mutation("training.lr", LR, 0.01, 1, 2), "parents: got 2, expected at most 1"),
    (mutation("training.lr", LR, 8.1e-4), "node 2 has this config"),
    (mutation("training.lr", 8.1e-4, LR, 2), "node 1 has this config"),
    ({"kind": "config", "changes": []}, "changes"),
    ({"kind": "stop"}, "stop"),
    ({"kind": "replicate", "parents": [1, 2]}, "expected at most 1"),
    ({"kind": "recombine", "parents": [2]}, "two different nodes"),
    ({"kind": "recombine", "parents": [2, 2]}, "two different nodes"),
    ({"kind": "recombine", "parents": [2, 3], "take": ["training.coeff_W_L1"]}, "nothing there"),
    ({"kind": "recombine", "parents": [4, 2]}, "nothing there"),
    ({"kind": "recombine", "parents": [2, 3], "take": ["training.seed"]}, "a seed"),
    ({"kind": "ablate", "parents": [2], "paths": ["training.batch_size"]}, "nothing to ablate"),
    ({"kind": "ablate", "paths": ["training.lr"]}, "expected the node to ablate"),
    ({"kind": "ablate", "parents": [2], "paths": ["training.lr"]}, "node 1 has this config"),
    ({"kind": "ablate", "parents": [4], "paths": ["training.lr", "training.lr"]}, "got it twice"),
    ({"kind": "code", "diff": DIFF}, "does not change code"),
    ({"kind": "config", "parents": [1.0], "changes": [{"path": "a", "old": 1, "new": 2}]}, "parents"),
    ({"kind": "nonsense"}, "proposal"),
    ({}, "proposal"),
    (None, "proposal"),
    ("lower the learning rate to 8.1e-05", "proposal"),
]


@pytest.mark.parametrize(("content", "expected"), REFUSED)
def test_what_is_not_allowed_gets_its_reason(content: Any, expected: str) -> None:
    assert expected in reason(content)


def test_a_field_is_changed_once() -> None:
    change = {"path": "training.lr", "old": LR, "new": 0.01}

    assert "got it twice" in reason({"kind": "config", "changes": [change, {**change, "new": 0.02}]})


def test_a_duplicate_names_the_node_that_has_it() -> None:
    with pytest.raises(DuplicateProposalError) as caught:
        GATE.check(mutation("training.coeff_W_L1", 0.0, 8.1e-05, 2), TREE)

    assert caught.value.node == 4


def test_a_parent_of_another_block_is_refused() -> None:
    later = replace(TREE, block=1)

    assert "is of block 0, expected one of block 1" in reason(mutation("training.lr", LR, 0.01, 1), later)
    node = GATE.check(mutation("training.lr", LR, 8.1e-4), later)
    assert (node.block, node.resolved.simulation.process_noise) == (1, 0.5)


def test_a_penalty_that_is_off_may_be_off_again_although_its_range_starts_above_zero() -> None:
    snapshot = grown(mutation("training.coeff_W_L1", 0.0, 8.1e-05, 1), mutation("training.batch_size", 8, 16, 2))
    node = GATE.check(mutation("training.coeff_W_L1", 8.1e-05, 0, 3), snapshot)

    assert node.changes == (("training.coeff_W_L1", 8.1e-05, 0.0),)
    assert dict(node.values) == {"training.batch_size": 16}


def test_a_whole_number_for_a_real_field_is_the_same_config() -> None:
    study = make_study(space=["training.coeff_g_phi_diff"])
    gate = Gate(study)
    as_int = gate.check(mutation("training.coeff_g_phi_diff", 1, 10), Snapshot(study))
    as_float = gate.check(mutation("training.coeff_g_phi_diff", 1.0, 10.0), Snapshot(study))

    assert as_int == as_float
    assert type(as_int.values["training.coeff_g_phi_diff"]) is float


def test_configs_that_do_not_fit_together_are_refused() -> None:
    choices = {"path": "spline.sharing", "choices": ["all", "type"]}
    study = make_study(
        base="signal-sparse", space=[choices], set=["training.estimators=[spline]", "update.form=spline"]
    )
    gate = Gate(study)

    assert "expected signal.fill=1" in reason(mutation("spline.sharing", "all", "type"), Snapshot(study), gate)


def test_recombination_takes_what_the_second_parent_has_of_its_own() -> None:
    all_of_it = GATE.check({"kind": "recombine", "parents": [3, 4]}, TREE)
    one = GATE.check({"kind": "recombine", "parents": [3, 4], "take": ["training.coeff_W_L1"]}, TREE)

    own = {"training.batch_size": 16}
    assert dict(all_of_it.values) == own | {"training.lr": 8.1e-4, "training.coeff_W_L1": 8.1e-05}
    assert (all_of_it.parent, all_of_it.other_parents) == (3, (4,))
    assert dict(one.values) == own | {"training.coeff_W_L1": 8.1e-05}
    assert one.changes == (("training.coeff_W_L1", 0.0, 8.1e-05),)


def test_ablation_puts_fields_back() -> None:
    node = GATE.check({"kind": "ablate", "parents": [4], "paths": ["training.lr"]}, TREE)

    assert dict(node.values) == {"training.coeff_W_L1": 8.1e-05}
    assert node.changes == (("training.lr", 8.1e-4, LR),)


def test_a_replicate_has_the_config_of_its_parent_until_the_panel_is_used_up() -> None:
    node = GATE.check({"kind": "replicate", "parents": [2]}, TREE)
    assert (node.config, node.parent, node.changes) == (TREE.nodes[1].config, 2, ())

    runs = [RunRecord(j + 1, 2, node.config, pair, RunState.OK) for j, pair in enumerate(panel(STUDY.seeds))]
    assert GATE.check({"kind": "replicate", "parents": [2]}, replace(TREE, runs=runs[:1])).config == node.config
    assert "node 2 has had all 2 pairs" in reason({"kind": "replicate", "parents": [2]}, replace(TREE, runs=runs))
    assert GATE.check({"kind": "replicate"}, TREE).config == GATE.baseline(TREE).config == TREE.nodes[0].config


def test_a_queue_that_is_full_takes_nothing_more() -> None:
    pair, most, proposal = panel(STUDY.seeds)[0], QUEUE * STUDY.engine.slots, mutation("training.lr", LR, 7e-3)
    runs = tuple(RunRecord(j + 1, 1, f"config {j}", pair, RunState.ACCEPTED) for j in range(most))
    assert f"queue: {most} runs wait for a slot, expected" in reason(proposal, replace(TREE, runs=runs))
    assert GATE.check(proposal, replace(TREE, runs=runs[1:])).values["training.lr"] == 7e-3


def test_a_study_may_ask_for_few_changes_at_a_time() -> None:
    changes = [
        {"path": "training.lr", "old": LR, "new": 0.01},
        {"path": "training.batch_size", "old": 8, "new": 4},
    ]
    content = {"kind": "config", "changes": changes, "strategy": "exploit"}
    study = STUDY.model_copy(update={"policy": STUDY.policy.model_copy(update={"max_changes": 1})})
    strict = Gate(study, "base")

    assert len(GATE.check(content, TREE).changes) == 2
    assert "changes: got 2, expected at most 1 at a time for exploit" in reason(content, TREE, strict)
    assert len(strict.check({**content, "strategy": "optimiser"}, TREE).changes) == 2


@pytest.fixture(scope="module")
def code_gate() -> Gate:
    return Gate(STUDY.model_copy(update={"code": STUDY.code.model_copy(update={"allowed": True, "after": 4})}), "base")


def test_code_comes_late_in_a_block_and_alone(code_gate: Gate) -> None:
    early = replace(TREE, nodes=TREE.nodes[:3])
    content = {"kind": "code", "parents": [2], "diff": DIFF}

    assert "after 3 iterations of the block, expected 4 first" in reason(content, early, code_gate)
    assert "changes: no such field" in reason({**content, "changes": []}, TREE, code_gate)
    assert "unicode" in reason({**content, "diff": "\ud800"}, TREE, code_gate)

    node = code_gate.check(content, TREE)
    assert (node.diff, node.code, node.parent) == (DIFF, None, 2)
    assert dict(node.values) == dict(TREE.nodes[1].values)


def test_patched_code_is_another_config_and_is_handed_down(code_gate: Gate) -> None:
    content = {"kind": "code", "parents": [2], "diff": DIFF}
    patched = with_code(code_gate.check(content, TREE), "c0ffee")
    told = ProposalRecord(1, "agent", content, "accepted", node=5)
    later = replace(TREE, nodes=(*TREE.nodes, as_record(patched, 5, 1)), proposals=(told,))

    child = code_gate.check(mutation("training.batch_size", 8, 4, 5), later)
    assert patched.config not in {node.config for node in TREE.nodes}
    assert (child.code, child.config) == ("c0ffee", config_id(child.resolved, "c0ffee"))
    assert "node 5 is this patch" in reason(content, later, code_gate)
    assert code_gate.check({**content, "parents": [3]}, later).diff == DIFF


def test_a_recipe_that_changes_under_a_running_study_changes_nothing(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("training: {lr: 0.004}\n")
    study = make_study(base=str(recipe))
    with Journal.create(StudyFolder(tmp_path / "study"), study) as journal:
        add_baseline(journal, Gate(study, base=journal.base))
        recipe.write_text("training: {lr: 0.001}\n")

        node = add_node(journal, Gate(study, base=journal.base), mutation("training.batch_size", 8, 4, 1))
        assert journal.config(node.config).training.lr == 0.004


# ---------------------------------------------------------------- anything at all


def garbage(rng: random.Random, depth: int = 0) -> Any:
    """A random value as JSON, and what some parsers make of JSON, may hold."""
    kind = rng.randrange(12 if depth < 4 else 9)
    if kind < 9:
        numbers = [0, -1, 10**30, 0.0, -0.0, 8.1e-05, -1e308, 5e-324, math.nan, math.inf]
        words = ["", "config", "nan", "training.lr", "\ud800", "a\nb", "x" * 500, "8.1e-05", "kind", "\0"]
        return rng.choice([None, True, False, rng.random(), *numbers, *words])
    if kind == 9:
        return [garbage(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {garbage_key(rng): garbage(rng, depth + 1) for _ in range(rng.randrange(5))}


def garbage_key(rng: random.Random) -> Any:
    names = ["kind", "parents", "changes", "path", "old", "new", "strategy", "take", "paths", "diff", "hypothesis"]
    return rng.choice([*names, rng.choice(["", "x", "predicted_sign", 1, None])])


def near_valid(rng: random.Random) -> Any:
    """A proposal that would pass, with up to two of its places changed."""
    dimension = rng.choice(DIMENSIONS)
    good: list[dict[str, Any]] = [
        mutation(dimension.path, dimension.default, rng.choice([dimension.high, dimension.low, *dimension.choices])),
        mutation("training.coeff_W_L1", 0.0, 10 ** rng.uniform(-9, 0), rng.randrange(6)),
        {"kind": "recombine", "parents": [3, 4], "take": ["training.lr"]},
        {"kind": "ablate", "parents": [4], "paths": ["training.lr"]},
        {"kind": "replicate", "parents": [rng.randrange(6)]},
        {"kind": "code", "parents": [2], "diff": DIFF},
        {"kind": "stop", "reason": "done"},
    ]
    content: Any = json.loads(json.dumps(rng.choice(good)))
    for _ in range(rng.randrange(3)):
        place, key = rng.choice(list(places(content)) or [(content, "kind")])
        place[key] = garbage(rng, 2)
    return content


def places(value: Any) -> Any:
    """Every (container, key) within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places(inner)


def test_ten_thousand_proposals_are_accepted_or_get_a_reason_and_change_nothing(tmp_path: Path) -> None:
    rng = random.Random(0)
    reasons, accepted, begin = [], [], time.process_time()
    with Journal.create(StudyFolder(tmp_path), STUDY, "base") as journal:
        add_baseline(journal, GATE)
        for node in TREE.nodes[1:]:
            (change,) = node.changes
            add_node(journal, GATE, mutation(*change, node.parent))
        before = journal.snapshot(events=True)
        for make in alternating(near_valid, garbage):
            try:
                accepted.append(GATE.check(make(rng), before))
            except ProposalError as error:
                reasons.append(str(error))
        assert journal.snapshot(events=True) == before
    assert time.process_time() - begin < 15
    assert all(new.resolved == BASE.with_values(new.values) for new in accepted)
    assert all(text and "\n" not in text and text.encode() for text in reasons)
    assert 500 < len(accepted) < 2_000  # the near misses are near


def test_what_was_refused_is_kept_with_its_reason_and_is_no_node(tmp_path: Path) -> None:
    rng = random.Random(1)
    reasons = []
    with Journal.create(StudyFolder(tmp_path), STUDY, "base") as journal:
        for _ in range(60):
            content = garbage(rng)
            with pytest.raises(ProposalError) as caught:
                GATE.check(content, journal.snapshot())
            reasons.append(str(caught.value))
            journal.reject(journal.propose("agent\ud800", {"sent": content}), reasons[-1])
        after = journal.snapshot()
        assert (after.nodes, after.runs) == ((), ())
        assert [proposal.reason for proposal in after.proposals] == reasons
        assert journal.verify() == 1 + 2 * 60


def alternating(*makers: Callable[[random.Random], Any]) -> list[Callable[[random.Random], Any]]:
    return [makers[j % len(makers)] for j in range(10_000)]


def test_nesting_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        assert "proposal" in reason({"kind": "config", "parents": deep})
        assert "expected a number" in reason(mutation("training.lr", LR, deep))
    finally:
        while deep:  # one by one: freeing it at once is deep, too
            deep = deep.pop()


def test_the_base_of_the_study_is_the_recipe() -> None:
    assert GATE.baseline(Snapshot(STUDY)).resolved == load_config("fly-small")
