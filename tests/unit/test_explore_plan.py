"""The plan says before a study what the policy will do in it."""

import json
import math

import numpy as np
import pytest

from lobula.errors import ConfigError
from lobula.exploration.plan import expected_maximum, plan_study
from support.snapshots import a_study


def test_default_study() -> None:
    plan = plan_study(a_study(), run_seconds=600.0)
    assert [(phase.name, phase.n_runs) for phase in plan.phases] == [("search", 28), ("race", 12), ("certify", 12)]
    assert plan.n_runs == 52
    hours = [phase.hours for phase in plan.phases]
    assert hours == pytest.approx([28 / 24, 4 / 6, 3 / 6])  # a round waits for its last run
    assert (plan.effect_paired, plan.effect_unpaired, plan.runs_to_robust) == (16, 51, 29)
    assert plan.measured


def test_without_a_time_the_limit_is_an_upper_bound() -> None:
    plan = plan_study(a_study(budget={"run_seconds": 1200.0}))
    assert (plan.run_seconds, plan.measured) == (1200.0, False)
    assert any("at most" in value for _, value in plan.rows())


def test_budget_in_hours_and_none() -> None:
    plan = plan_study(a_study(budget={"n_runs": None, "hours": 4.0}), run_seconds=720.0)
    assert sum(phase.n_runs or 0 for phase in plan.phases[:2]) == 20
    endless = plan_study(a_study(budget={"n_runs": None}))
    assert (endless.phases[0].n_runs, endless.n_runs, endless.hours, endless.luck) == (None, None, None, None)
    assert ("all", "no limit") in endless.rows()


def test_blocks_multiply_races_and_certifications() -> None:
    study = a_study(blocks={"path": "signal.fill", "values": [1.0, 0.5], "n_iter": 10}, budget={"n_runs": 80})
    plan = plan_study(study, 600.0)
    assert [(phase.name, phase.n_runs) for phase in plan.phases] == [("search", 20), ("race", 24), ("certify", 24)]


def test_tree_searches_have_no_race_and_certification_can_be_left_out() -> None:
    plan = plan_study(a_study(policy={"name": "ucb", "certify": False}), 600.0)
    assert [(phase.name, phase.n_runs) for phase in plan.phases] == [("search", 40)]
    assert [power.name for power in plan.power] == ["panel"]


def test_pairing_pays_and_a_fragile_config_often_passes() -> None:
    panel, holdout = plan_study(a_study(), 600.0).power
    assert panel.paired is not None
    assert panel.unpaired is not None
    assert panel.paired < panel.unpaired
    assert panel.passes == pytest.approx(0.66, abs=0.005)
    assert holdout.passes < panel.passes
    quieter = plan_study(a_study(), 600.0, sd=0.01).power[0]
    assert quieter.paired == pytest.approx(panel.paired * 0.01 / 0.03587, rel=1e-3)
    single = plan_study(a_study(seeds={"panel": 1}), 600.0).power[0]
    assert (single.paired, single.unpaired) == (None, None)


def test_luck_is_the_expected_best_of_equals() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 28)).max(axis=1)
    assert expected_maximum(28) == pytest.approx(draws.mean(), rel=0.02)
    assert expected_maximum(1) == 0.0
    plan = plan_study(a_study(), 600.0)
    assert plan.luck == pytest.approx(plan.sd * draws.mean(), rel=0.02)


def test_rows_and_dict_can_be_printed() -> None:
    plan = plan_study(a_study(), 600.0)
    assert json.loads(json.dumps(plan.to_dict()))["phases"][0]["name"] == "search"
    assert all(isinstance(label, str) and isinstance(value, str) for label, value in plan.rows())
    assert math.isfinite(json.loads(json.dumps(plan.to_dict()))["hours"])


@pytest.mark.parametrize(("seconds", "failure"), [(0.0, 0.1), (60.0, 0.0), (60.0, 1.0)])
def test_nonsense_is_refused(seconds: float, failure: float) -> None:
    with pytest.raises(ConfigError, match="plan: got"):
        plan_study(a_study(), seconds, failure=failure)
