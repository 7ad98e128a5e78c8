"""Simulated studies: real policies, proposers and gate on a landscape whose truth is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from lobula.errors import ConfigError
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.proposals import Change, ConfigMutation, Proposal, Stop
from lobula.exploration.proposers.base import Request
from lobula.exploration.records import RunState
from lobula.exploration.simulator import Simulation, simulate
from lobula.exploration.study import Study
from lobula.exploration.surrogate import Surrogate, encode, fit_surrogate, synthetic
from support.snapshots import METRIC, Story, a_study

SPACE = ["training.lr", "training.lr_W", "training.coeff_g_phi_diff"]


class Wanderer:
    """Changes one field of the parent by a step on its own scale."""

    name = "wanderer"

    def __init__(self, study: Study, seed: int) -> None:
        self.dimensions, self.rng = study.dimensions(), np.random.default_rng(seed)

    def propose(self, request: Request) -> list[Proposal]:
        parents = request.parents[:1]
        known = request.snapshot.node(parents[0]).values if parents else {}
        dimension = self.dimensions[self.rng.integers(len(self.dimensions))]
        old = known.get(dimension.path, dimension.default)
        low, high = dimension.low or 0.0, dimension.high or 1.0
        step = 0.2 * float(self.rng.standard_normal())
        at = math.log(old / low) / math.log(high / low) if dimension.scale == "log" else (old - low) / (high - low)
        at = min(1.0, max(0.0, at + step))
        new = low * (high / low) ** at if dimension.scale == "log" else low + at * (high - low)
        new = min(high, max(low, new))
        change = Change(path=dimension.path, old=old, new=new)
        return [ConfigMutation(parents=parents, strategy=request.strategy, changes=(change,))]


class Stopper(Wanderer):
    """Wants to stop at once."""

    name = "stopper"

    def propose(self, request: Request) -> list[Proposal]:
        return [Stop(reason="seen enough")]


class Stubborn(Wanderer):
    """Proposes what the study may not change."""

    name = "stubborn"

    def propose(self, request: Request) -> list[Proposal]:
        return [ConfigMutation(changes=(Change(path="training.seed", old=0, new=1),))]


def noisy(study: Study, **settings) -> Surrogate:
    """A hill in which luck is as large as in the reference studies."""
    quiet = {"seed": 1, "drop": 0.3, "sd": 0.045, "correlation": 0.2, "failure": 0.0}
    return synthetic(study.dimensions(), **{**quiet, **settings})


def played(policy="staged", proposer=Wanderer, n: int = 3, surrogate=None, **sections) -> Simulation:
    settings = {
        "policy": {"name": policy} if isinstance(policy, str) else policy,
        "space": SPACE,
        "budget": {"n_runs": 20},
        **sections,
    }
    study = a_study(**settings)
    landscape = surrogate or noisy(study)
    return simulate(study, landscape, make_policy(study), lambda seed: proposer(study, seed), n, seed=0)


def test_a_race_takes_the_luck_out_of_what_is_reported() -> None:
    """Single-run winners are over-reported by about .1; the race removes most of it and costs no quality."""
    raced = played(n=12, budget={"n_runs": 40})
    unraced = played(n=12, budget={"n_runs": 40}, policy={"name": "staged", "race_share": 0.0})
    assert 0.06 < unraced.over_reported < 0.14
    assert unraced.over_reported == pytest.approx(unraced.single_over_reported)
    assert raced.over_reported < 0.4 * unraced.over_reported
    assert raced.mean("true") > unraced.mean("true") - 0.02
    assert abs(raced.certified_over_reported) < 0.02
    assert raced.mean("n_runs") <= 40
    assert raced.mean("n_certify") <= 12


def test_a_simulation_repeats_itself_and_policies_see_the_same_noise() -> None:
    assert played() == played()
    first, second = played("ucb"), played("ucb_scaled")
    assert first.n_repeats == second.n_repeats == len(first.outcomes)


@pytest.mark.parametrize("policy", ["staged", "ucb", "puct", "ucb_scaled"])
def test_every_policy_plays_to_its_end_within_its_budget(policy: str) -> None:
    found = played(policy, n=1, budget={"n_runs": 12})
    assert found.mean("n_runs") == 12
    assert 6 <= found.mean("n_certify") <= 12


def test_budgets_in_hours_and_blocks() -> None:
    hours = played(n=1, budget={"n_runs": None, "hours": 2.0})  # 600 s a run
    assert hours.mean("n_runs") == 12
    blocks = played(n=1, blocks={"path": "training.batch_size", "values": [1, 4]}, budget={"n_runs": 16})
    assert len(blocks.outcomes) == 2


def test_noise_without_luck_leaves_nothing_to_over_report() -> None:
    found = played(surrogate=noisy(a_study(space=SPACE), sd=0.0))
    assert found.over_reported == pytest.approx(0.0, abs=1e-9)
    assert found.single_over_reported == pytest.approx(0.0, abs=1e-9)


def test_what_fails_often_does_not_win_a_race() -> None:
    study = a_study(space=SPACE)
    edge = study.dimensions()[0]

    def risky(values) -> float:
        return 0.7 if encode([edge], values)[0] > 0.7 else 0.0

    cliff = Surrogate(
        mean=lambda at: 0.8 + 0.15 * encode([edge], at)[0], sd=lambda _: 0.01, failure=risky, correlation=0.0
    )
    robust = played(n=6, surrogate=cliff, objective={"goal": "robust"}, budget={"n_runs": 30})
    assert robust.mean("true") > robust.mean("single_true") + 0.3  # a config beyond the cliff is worth .1


def test_studies_in_which_everything_fails_end_without_an_outcome() -> None:
    broken = Surrogate(mean=lambda _: 0.5, sd=lambda _: 0.0, failure=lambda _: 1.0)
    found = played(surrogate=broken, n=2, budget={"n_runs": 8})
    assert (found.outcomes, found.n_repeats) == ((), 2)
    assert math.isnan(found.over_reported)
    assert ("studies", "2, of them 2 without a score") in found.rows()


def test_a_stop_goes_on_to_race_and_certification() -> None:
    found = played(proposer=Stopper, n=1)
    assert found.mean("n_runs") == 1  # the base, alone
    assert found.mean("n_certify") == 6


def test_a_proposer_that_is_always_refused_is_named() -> None:
    with pytest.raises(ConfigError, match=r"stubborn: .* refused"):
        played(proposer=Stubborn, n=1)


def test_results_are_plain() -> None:
    found = played(n=1)
    assert json.loads(json.dumps(found.to_dict()))["n_repeats"] == 1
    assert all(isinstance(word, str) for row in found.rows() for word in row)


# ------------------------------------------------------------------ surrogates


def past_runs(n: int = 40) -> tuple[Story, Surrogate]:
    """Runs of a known landscape, drawn at random, some on two pairs, some failed."""
    story = Story(a_study(space=SPACE))
    dimensions = story.study.dimensions()
    truth = synthetic(dimensions, seed=3, drop=0.6, sd=0.02, failure=0.05, correlation=0.0)
    rng = np.random.default_rng(0)
    for _ in range(n):
        values = {}
        for dimension in dimensions:
            low, high, at = dimension.low or 0.0, dimension.high or 1.0, rng.random()
            values[dimension.path] = low * (high / low) ** at if dimension.scale == "log" else low + at * (high - low)
        draws = [truth.draw(values, 0.0, rng) for _ in range(2)]
        states = [RunState.NAN if draw is None else RunState.SCORED for draw in draws]
        node = story.node(draws[0], values=values, state=states[0])
        if rng.random() < 0.5:
            story.run(node, draws[1], state=states[1])
    return story, truth


@pytest.mark.parametrize("kind", ["gp", "forest"])
def test_a_surrogate_learns_mean_noise_and_failures(kind) -> None:
    story, truth = past_runs()
    fitted = fit_surrogate(story.snapshot(), kind)
    values = [node.values for node in story.nodes]
    means = np.array([[fitted.mean(at), truth.mean(at)] for at in values])
    assert np.corrcoef(means.T)[0, 1] > 0.9
    sd = np.mean([fitted.sd(at) for at in values])
    assert sd == pytest.approx(np.mean([truth.sd(at) for at in values]), rel=0.5)
    assert np.mean([fitted.failure(at) for at in values]) == pytest.approx(
        np.mean([run.state is RunState.NAN for run in story.runs]), abs=0.05
    )
    assert played(surrogate=fitted, n=1).outcomes


def test_a_surrogate_needs_some_runs() -> None:
    story = Story(a_study(space=SPACE))
    for score in (0.9, 0.8, 0.7):
        story.node(score)
    with pytest.raises(ConfigError, match="got 3 scored runs"):
        fit_surrogate(story.snapshot())


def test_draws_have_the_spread_the_failures_and_the_correlation_they_should() -> None:
    surrogate = Surrogate(lambda _: 0.8, lambda _: 0.1, lambda _: 0.25, correlation=0.6)
    rng = np.random.default_rng(0)
    draws = [[surrogate.draw({}, z, rng) for _ in range(2)] for z in rng.standard_normal(6000)]
    kept = np.array([row for row in draws if None not in row], dtype=float)
    assert np.mean([row[0] is None for row in draws]) == pytest.approx(0.25, abs=0.02)
    assert kept.mean() == pytest.approx(0.8, abs=0.01)
    assert kept.std() == pytest.approx(0.1, rel=0.05)
    assert np.corrcoef(kept.T)[0, 1] == pytest.approx(0.6, abs=0.05)


def test_true_values_are_what_many_runs_give() -> None:
    surrogate = Surrogate(lambda _: 0.8, lambda _: 0.1, lambda _: 0.05)
    objective = a_study().objective
    rng = np.random.default_rng(0)
    draws = [surrogate.draw({}, z, rng) for z in rng.standard_normal(20000)]
    values = np.array([0.1 if draw is None else draw for draw in draws])
    assert surrogate.true_value(objective, {}) == pytest.approx(values.mean(), abs=0.005)
    robust = objective.model_copy(update={"goal": "robust"})
    assert surrogate.true_value(robust, {}) == pytest.approx(np.quantile(values, 0.1), abs=0.01)
    fragile = replace(surrogate, failure=lambda _: 0.2)
    assert fragile.true_value(robust, {}) == objective.failed


def test_encoding_is_the_unit_cube() -> None:
    study = a_study(space=[*SPACE, {"path": "training.batch_size", "choices": [1, 4]}])
    dimensions = study.dimensions()
    low = {d.path: d.low if d.kind != "choice" else 4 for d in dimensions}
    high = {d.path: d.high if d.kind != "choice" else 1 for d in dimensions}
    assert encode(dimensions, low) == pytest.approx([0, 0, 0, 0, 1])
    assert encode(dimensions, high) == pytest.approx([1, 1, 1, 1, 0])
    assert study.objective.metric == METRIC
