"""Classical proposers: reproducible, never twice the same, away from failures, and better than luck."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lobula.errors import ProposerError
from lobula.exploration.proposals import Ablate, ConfigMutation, Recombine, Replicate
from lobula.exploration.proposers.axes import axes_of
from lobula.exploration.proposers.base import Proposer, Request
from lobula.exploration.proposers.cmaes import CmaEsProposer
from lobula.exploration.proposers.history import History
from lobula.exploration.proposers.mutator import MutatorProposer
from lobula.exploration.proposers.optuna import OptunaProposer
from lobula.exploration.proposers.random import RandomProposer
from lobula.exploration.proposers.replay import ReplayProposer
from lobula.exploration.records import RunState
from support.hand_made_study import SPACE, HandMade, study

CLASSICAL: dict[str, Any] = {
    "tpe": lambda seed: OptunaProposer("tpe", seed=seed, n_startup=4),
    "gp": lambda seed: OptunaProposer("gp", seed=seed, n_startup=4),
    "cmaes": lambda seed: CmaEsProposer(seed=seed),
    "random": lambda seed: RandomProposer(seed=seed),
    "mutator": lambda seed: MutatorProposer(seed=seed),
}


def bowl(values: Mapping[str, Any]) -> float:
    """A score with one best place: lr 2e-2, warm-up .15, five layers, tanh, penalty off or small."""
    off = 2.0 * (math.log10(max(values["training.coeff_W_L1"], 1e-6)) + 6) / 4
    return (
        1.0
        - (math.log10(values["training.lr"]) - math.log10(2e-2)) ** 2 / 4
        - 20 * (values["training.warmup_fraction"] - 0.15) ** 2
        - 0.05 * abs(values["model.n_layers"] - 5)
        - (0.0 if values["model.activation"] == "tanh" else 0.2)
        - 0.1 * off
    )


def explore(proposer: Proposer, n: int) -> tuple[HandMade, list[float]]:
    """One proposal after the other, each scored before the next."""
    made, values = HandMade(), []
    for _ in range(n):
        [proposal] = proposer.propose(Request(made.snapshot))
        values.append(made.try_out(proposal, bowl, proposer.name))
    return made, values


def started(n: int = 6) -> HandMade:
    """A study in which some random configs were scored."""
    return explore(RandomProposer(seed=9), n)[0]


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_block_begins_with_its_base(name: str) -> None:
    proposer, made = CLASSICAL[name](0), HandMade()
    [first] = proposer.propose(Request(made.snapshot))
    assert isinstance(first, Replicate)
    assert first.strategy == "baseline"
    made.propose(first)
    [second] = proposer.propose(Request(made.snapshot))
    assert isinstance(second, ConfigMutation), "the base was asked for already"


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_restarted_controller_gets_the_same_answer_and_another_seed_another(name: str) -> None:
    request = Request(started().snapshot, n=2)
    assert CLASSICAL[name](3).propose(request) == CLASSICAL[name](3).propose(request)
    assert CLASSICAL[name](3).propose(request) != CLASSICAL[name](4).propose(request)


@pytest.mark.parametrize("name", CLASSICAL)
def test_values_are_in_the_space_and_nothing_is_proposed_twice(name: str) -> None:
    made, _ = explore(CLASSICAL[name](1), 8 if name == "gp" else 14)
    ranges = {entry["path"]: entry for entry in SPACE}
    base = made.base()
    for node in made.nodes:
        for path, value in node.values.items():
            entry = ranges[path]
            inside = value in entry["choices"] if "choices" in entry else entry["low"] <= value <= entry["high"]
            assert inside or value == base[path], f"{path}: {value}"
            assert isinstance(value, type(base[path]))
    assert len({node.config for node in made.nodes}) == len(made.nodes)


@pytest.mark.parametrize("name", CLASSICAL)
def test_parallel_slots_and_refused_proposals_are_not_asked_again(name: str) -> None:
    made, proposer = started(), CLASSICAL[name](0)
    four = proposer.propose(Request(made.snapshot, n=4))
    assert len(four) == 4
    for proposal in four:
        made.propose(proposal, name)
    made.reject(len(made.proposals), "not this one")
    more = proposer.propose(Request(made.snapshot, n=4))
    seen = [_values(made, proposal) for proposal in (*four, *more)]
    assert len({json.dumps(values, sort_keys=True) for values in seen}) == 8


def _values(made: HandMade, proposal: Any) -> dict[str, Any]:
    parent = made.snapshot.node(proposal.parents[0]).values if proposal.parents else {}
    return {**made.base(), **parent, **{change.path: change.new for change in proposal.changes}}


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_an_optimiser_changes_the_best_node_or_the_wanted_parent(name: str) -> None:
    made = started()
    best = max(made.runs, key=lambda run: run.metrics["gnn.W.r2"]).node
    [proposal] = CLASSICAL[name](0).propose(Request(made.snapshot))
    assert proposal.parents == (best,)
    [wanted] = CLASSICAL[name](0).propose(Request(made.snapshot, parents=(2,)))
    assert wanted.parents == (2,)
    values = {**made.base(), **made.snapshot.node(2).values}
    assert all(change.old == values[change.path] for change in wanted.changes)


def test_failures_are_bad_values_and_failures_of_the_machine_none() -> None:
    made = started(4)
    before = History(made.snapshot)
    failed, lost, both = (made.accept(made.propose(p)) for p in RandomProposer(7).propose(Request(made.snapshot, n=3)))
    made.run(failed, state=RunState.NAN)
    made.run(lost, state=RunState.INFRA)
    made.run(both, value=0.9)
    made.run(both, state=RunState.OOM, pair=1)
    history = History(made.snapshot)
    scores = {tried.node.id: tried.score for tried in history.observed}
    worst = min(tried.score for tried in before.observed)
    assert lost.id not in scores
    assert scores[failed.id] < worst, "a failure is worse than the worst score"
    assert scores[failed.id] < scores[both.id] < 0.9, "a config that failed once is between"


def test_one_disastrous_score_does_not_hide_the_others() -> None:
    made = started(6)
    node = made.accept(made.propose(RandomProposer(7).propose(Request(made.snapshot))[0]))
    made.run(node, value=-1e6)
    scores = sorted(tried.score for tried in History(made.snapshot).observed)
    assert scores[0] > -10
    assert scores[0] <= scores[1]


def test_direction_lower_is_turned() -> None:
    made = HandMade(study(objective={"metric": "gnn.W.error", "direction": "lower"}))
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.3)
    [proposal] = RandomProposer(0).propose(Request(made.snapshot))
    made.try_out(proposal, lambda _: 0.1)
    assert History(made.snapshot).best == made.nodes[1]


def test_a_new_block_begins_with_its_base_and_the_best_of_the_block_before() -> None:
    made = HandMade(study(blocks={"n_iter": 4, "path": "simulation.process_noise", "values": [0.0, 0.05]}))
    for proposal in RandomProposer(0).propose(Request(made.snapshot, n=4)):
        made.try_out(proposal, bowl)
    best = max(made.runs, key=lambda run: run.metrics["gnn.W.r2"])
    made.block = 1
    first, second, third = OptunaProposer().propose(Request(made.snapshot, n=3))
    assert first.strategy == "baseline"
    assert {change.path: change.new for change in second.changes} == made.snapshot.node(best.node).values
    assert third.parents == ()


def test_an_axis_is_a_way_there_and_back() -> None:
    for axis in axes_of(study()):
        for unit in np.linspace(0, 1, 41):
            value = axis.value(unit)
            place = axis.unit(value)
            again = axis.value(place)
            assert again == value or math.isclose(again, value, rel_tol=1e-3), axis.path


def test_a_penalty_that_is_off_stays_off_in_a_share_of_the_draws() -> None:
    axis = next(axis for axis in axes_of(study()) if axis.path == "training.coeff_W_L1")
    assert axis.dimension.default == 0.0
    values = [axis.value(unit) for unit in np.linspace(0, 1, 1001)]
    off = [value for value in values if value == 0.0]
    assert 0.15 < len(off) / len(values) < 0.25
    assert min(value for value in values if value) == pytest.approx(1e-6)
    assert max(values) == pytest.approx(1e-2)


def test_whole_numbers_are_equally_likely() -> None:
    axis = next(axis for axis in axes_of(study()) if axis.path == "model.n_layers")
    counts = np.bincount([axis.value(unit) for unit in np.linspace(0, 1, 5001)], minlength=7)[2:]
    assert counts.min() > 0.9 * counts.mean()


@pytest.mark.parametrize(("strategy", "n_least"), [("exploit", 0.0), ("explore", 0.2), ("failure-probe", 0.0)])
def test_the_mutator_changes_one_parameter_by_a_step_of_the_strategy(strategy: str, n_least: float) -> None:
    made = started()
    axes = {axis.path: axis for axis in axes_of(made.definition)}
    for seed in range(20):
        [proposal] = MutatorProposer(seed).propose(Request(made.snapshot, parents=(3,), strategy=strategy))
        [change] = proposal.changes
        axis = axes[change.path]
        if axis.is_choice:
            continue
        moved = abs(axis.unit(change.new) - axis.unit(change.old))
        if strategy == "failure-probe":
            assert axis.unit(change.new) in (pytest.approx(0.0, abs=0.11), pytest.approx(1.0, abs=0.11))
        elif axis.dimension.kind == "float":
            assert moved >= n_least - 1e-6
            assert strategy != "exploit" or moved <= 0.21, "the share that is off is one step"


def test_the_mutator_leaves_the_recent_dimensions_where_it_is_to_switch() -> None:
    made = HandMade()
    made.try_out(Replicate(strategy="baseline"), bowl)
    for lr in (0.004, 0.006, 0.008, 0.01):
        old = made.nodes[-1].values.get("training.lr", 0.002)
        change = {"path": "training.lr", "old": old, "new": lr}
        made.try_out(ConfigMutation(parents=(len(made.nodes),), changes=(change,)), bowl)
    for seed in range(20):
        request = Request(made.snapshot, parents=(5,), strategy="switch-dimension")
        [proposal] = MutatorProposer(seed).propose(request)
        assert proposal.changes[0].path != "training.lr"


def test_the_mutator_replicates_recombines_and_ablates() -> None:
    made = started()
    ask = MutatorProposer(0).propose
    [again] = ask(Request(made.snapshot, parents=(2,), strategy="robustness-test"))
    assert again == Replicate(parents=(2,), hypothesis=again.hypothesis)
    [both] = ask(Request(made.snapshot, parents=(2, 3), strategy="recombine"))
    assert isinstance(both, Recombine)
    assert both.parents == (2, 3)
    assert set(both.take) < set(made.nodes[1].values) | set(made.nodes[2].values)
    [less] = ask(Request(made.snapshot, parents=(2,), strategy="ablate"))
    assert isinstance(less, Ablate)
    assert less.paths[0] in made.nodes[1].values


def test_an_exhausted_space_is_an_error_not_a_loop() -> None:
    made = HandMade(study(space=[{"path": "model.activation", "choices": ["relu", "tanh"]}]))
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.5)
    [only] = OptunaProposer().propose(Request(made.snapshot, n=3))
    made.try_out(only, lambda _: 0.6)
    for make in CLASSICAL.values():
        with pytest.raises(ProposerError, match="no new valid config"):
            make(0).propose(Request(made.snapshot))


def test_replay_gives_the_answers_in_order_and_says_when_they_are_spent(tmp_path: Any) -> None:
    changes = [{"path": "training.lr", "old": 0.002, "new": new} for new in (0.003, 0.004, 0.005)]
    lines = [{"kind": "config", "changes": [change]} for change in changes]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(map(json.dumps, (lines[0], {"error": "login expired"}, lines[1:]))))
    made, replay = HandMade(), ReplayProposer(path)
    [first] = replay.propose(Request(made.snapshot, n=3))
    made.propose(first, "replay")
    with pytest.raises(ProposerError, match="replay: login expired"):
        replay.propose(Request(made.snapshot))
    made.fail("replay")
    both = replay.propose(Request(made.snapshot, n=3))
    assert [proposal.changes[0].new for proposal in (first, *both)] == [0.003, 0.004, 0.005]
    for proposal in both:
        made.propose(proposal, "replay")
    with pytest.raises(ProposerError, match="are spent"):
        replay.propose(Request(made.snapshot))
    made.proposals = [replace(record, proposer="tpe") for record in made.proposals]
    made.events = []
    assert replay.propose(Request(made.snapshot)) == [first], "proposals of others do not count"


@pytest.fixture(scope="module")
def luck() -> list[float]:
    """Best of 30 random configs, by seed."""
    return [max(explore(RandomProposer(seed), 30)[1]) for seed in range(4)]


@pytest.mark.parametrize("name", ["tpe", "cmaes"])
def test_an_optimiser_beats_random_search(name: str, luck: list[float]) -> None:
    """Best of 30 on a bowl in five dimensions, over four seeds."""
    best = [max(explore(CLASSICAL[name](seed), 30)[1]) for seed in range(4)]
    assert np.mean(best) > np.mean(luck) + 0.02
    assert sum(a > b for a, b in zip(best, luck, strict=True)) >= 3
