"""What is spent, what the race costs, and how many slots go to configs that are known already."""

import pytest

from lobula.exploration.policies.base import Propose, RunAgain
from lobula.exploration.policies.budget import race_sizes, runs_left
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.records import RunState
from lobula.exploration.study import PolicySettings
from support.snapshots import Story, a_study


@pytest.mark.parametrize(
    ("share", "n_race", "n_panel", "n_runs", "sizes"),
    [
        (0.3, 6, 4, 40, (6, 4, 2)),
        (0.3, 6, 4, 36, (5, 3, 2)),
        (0.3, 6, 4, 20, (4, 2)),
        (0.3, 6, 4, 10, (2,)),
        (0.3, 6, 4, 6, ()),
        (0.3, 6, 1, 40, ()),
        (0.0, 6, 4, 40, ()),
        (0.3, 6, 4, 100, (6, 6, 6)),
        (0.5, 4, 8, 40, (4, 4, 4, 2, 2, 2, 2)),
    ],
)
def test_race_sizes_keep_to_the_share(share, n_race, n_panel, n_runs, sizes) -> None:
    found = race_sizes(PolicySettings(race_share=share, n_race=n_race), n_panel, n_runs)
    assert found == sizes
    assert sum(found) <= share * n_runs


def test_budget_counts_open_runs_and_forgives_lost_ones_up_to_a_point() -> None:
    story = Story(a_study(budget={"n_runs": 4}))
    story.node(0.9)
    story.node()
    story.node(state=RunState.INFRA)
    assert runs_left(story.snapshot()) == 2
    for _ in range(5):
        story.node(state=RunState.LOST)
    assert runs_left(story.snapshot()) == 0


def test_budget_in_hours() -> None:
    story = Story(a_study(budget={"n_runs": None, "hours": 1.0, "run_seconds": 1800.0}))
    assert runs_left(story.snapshot()) == 2  # nothing known of the time of a run but its limit
    story.node(0.9)
    assert runs_left(story.snapshot()) == pytest.approx(5)  # 600 s each
    story.node()
    assert runs_left(story.snapshot()) == pytest.approx(4)


def test_replicate_slots_start_with_the_base_then_give_the_best_three_runs_each() -> None:
    study = a_study(policy={"name": "ucb", "replicate": 0.5}, engine={"slots": 4}, seeds={"panel": 16})
    story, policy = Story(study), make_policy(study)
    story.node(0.5, values={})
    for pair in (1, 2, 3):
        action = policy.decide(story.snapshot())
        assert isinstance(action, RunAgain)
        assert (action.node, action.pair.index) == (1, pair)
        story.run(1, 0.5)
    kinds = []
    for _ in range(24):
        action = policy.decide(story.snapshot())
        if isinstance(action, RunAgain):
            story.run(action.node, 0.8 - 0.02 * action.node)
        else:
            assert isinstance(action, Propose)
            story.node(0.8 - 0.02 * len(story.nodes), parent=1)
        kinds.append(type(action).__name__)
    assert kinds[:8].count("RunAgain") >= 2
    assert kinds[-8:].count("RunAgain") <= 2  # from half of the slots to a quarter
    best = sorted(story.nodes, key=lambda node: -story.scores_of(node.id)[0])[:3]
    assert all(len(story.snapshot().runs_of(node.config)) >= 3 for node in best)
