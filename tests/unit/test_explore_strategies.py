"""The strategy rules of the instruction documents, each where it speaks and where it must not."""

import pytest

from lobula.exploration.policies import strategies
from lobula.exploration.policies.base import Propose, RunAgain
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.policies.strategies import Suggestion, suggest
from lobula.exploration.policies.ucb import ucb_rows
from lobula.exploration.records import RunState
from support.snapshots import METRIC, Story, a_study

LR, L1 = "training.lr", "training.coeff_W_L1"


def tree_study(**sections):
    return a_study(policy={"name": "ucb"}, **sections)


def chain(scores, story: Story | None = None, path: str | None = None) -> Story:
    """A line of nodes, each changing one field: another one every time, or always the same."""
    story = story or Story(tree_study(blocks={"n_iter": 24}))
    for number, score in enumerate(scores):
        field = path or (LR, L1)[number % 2]
        story.node(score, parent=len(story.nodes) or None, changes=[(field, 0.0, float(number))])
    return story


def asked(rule, story: Story) -> Suggestion | None:
    snapshot = story.snapshot()
    return rule(snapshot, ucb_rows(snapshot))


def said(story: Story) -> str:
    snapshot = story.snapshot()
    return suggest(snapshot, ucb_rows(snapshot)).strategy


def test_exploit_is_the_default_and_starts_from_the_highest_score() -> None:
    assert strategies.exploit(Story().snapshot(), []).parents == ()
    story = chain([0.5, 0.7, 0.6])
    rows = ucb_rows(story.snapshot())
    assert suggest(story.snapshot(), rows) == Suggestion("exploit", (rows[0].node,), f"highest UCB {rows[0].ucb:.3f}")


def test_failure_probe_after_three_successes_in_a_row() -> None:
    assert asked(strategies.failure_probe, chain([0.95, 0.95])) is None
    assert asked(strategies.failure_probe, chain([0.95, 0.95, 0.5])) is None
    found = asked(strategies.failure_probe, chain([0.2, 0.95, 0.95, 0.95]))
    assert found is not None
    assert found.strategy == "failure-probe"


def test_a_failed_run_ends_a_streak_and_a_lost_one_does_not() -> None:
    story = chain([0.95, 0.95, 0.95])
    story.node(state=RunState.INFRA, parent=3)
    assert strategies.success_streak(story.snapshot()) == 3
    story.node(state=RunState.NAN, parent=3)
    assert strategies.success_streak(story.snapshot()) == 0


def test_explore_after_a_quarter_of_a_block_outside_of_the_chain() -> None:
    story = Story(tree_study(blocks={"n_iter": 12}))
    story.node(0.5)
    story.node(0.6)  # a branch of its own
    for _ in range(3):
        story.node(0.95, parent=1 if len(story.nodes) == 2 else len(story.nodes))
    found = asked(strategies.explore, story)
    assert found is not None
    assert (found.strategy, found.parents) == ("explore", (2,))
    story.node(0.95, parent=5)
    assert asked(strategies.explore, story) is None  # the fourth: failure-probe has its turn
    assert asked(strategies.explore, chain([0.95] * 3)) is None  # a quarter of 24 is 6
    assert asked(strategies.explore, chain([0.95] * 6)).parents == ()  # type: ignore[union-attr]  # all is chain: root


def test_robustness_test_runs_the_best_config_again_once() -> None:
    story = chain([0.5, 0.95])
    found = asked(strategies.robustness_test, story)
    assert found is not None
    assert (found.parents, found.again) == ((2,), True)
    action = make_policy(story.study).decide(story.snapshot())
    assert isinstance(action, RunAgain)
    assert (action.node, action.pair.index) == (2, 1)
    story.run(2, 0.93)
    assert asked(strategies.robustness_test, story) is None
    assert asked(strategies.robustness_test, chain([0.5, 0.8])) is None  # good, yet not converged


def test_no_robustness_test_where_a_race_follows() -> None:
    story = chain([0.5, 0.95], Story(a_study()))
    assert isinstance(make_policy(story.study).decide(story.snapshot()), Propose)


def test_recombine_the_two_best_distant_nodes_once() -> None:
    story = Story(tree_study())
    story.node(0.5, values={})
    story.node(0.96, parent=1, values={LR: 1.0})
    story.node(0.97, parent=2, values={LR: 1.0, L1: 9.0})  # made from 2: not distant
    assert asked(strategies.recombine, story) is None
    story.node(0.95, parent=1, values={L1: 2.0})
    found = asked(strategies.recombine, story)
    assert found is not None
    assert found.parents == (3, 4)
    story.node(parent=3, other_parents=(4,))  # asked for, still running
    assert asked(strategies.recombine, story) is None


def test_recombine_needs_nodes_that_differ_in_two_fields_and_have_converged() -> None:
    story = Story(tree_study())
    story.node(0.5, values={})
    story.node(0.95, parent=1, values={LR: 1.0})
    story.node(0.96, parent=1, values={LR: 2.0})
    assert asked(strategies.recombine, story) is None
    story.node(0.85, parent=1, values={L1: 2.0})
    assert asked(strategies.recombine, story) is None


def test_forced_branch_when_all_converge_in_a_line() -> None:
    story = chain([0.95, 0.98, 0.96, 0.97])
    rows = ucb_rows(story.snapshot())
    found = asked(strategies.forced_branch, story)
    assert found is not None
    assert found.parents[0] in {row.node for row in rows[2:]}
    story.node(0.96, parent=found.parents[0])
    assert asked(strategies.forced_branch, story) is None  # it has branched
    assert asked(strategies.forced_branch, chain([0.95, 0.98, 0.96, 0.5])) is None


def test_switch_dimension_after_four_changes_of_one_field() -> None:
    assert asked(strategies.switch_dimension, chain([0.5, 0.6, 0.7], path=LR)) is None
    assert asked(strategies.switch_dimension, chain([0.5, 0.6, 0.7, 0.6])) is None
    found = asked(strategies.switch_dimension, chain([0.5, 0.6, 0.7, 0.6], path=LR))
    assert found is not None
    assert LR in found.reason


def test_boundary_skip_after_three_partial_results_around_it() -> None:
    story = chain([0.95, 0.96])
    ids = [story.node(0.5, parent=2, strategy="failure-probe", changes=[(path, 0, 1)]) for path in (LR, L1, LR)]
    found = asked(strategies.boundary_skip, story)
    assert found is not None
    assert not set(found.parents) & set(ids)
    assert asked(strategies.boundary_skip, chain([0.95, 0.5, 0.5])) is None
    assert asked(strategies.boundary_skip, chain([0.5, 0.5, 0.5])) is None  # partial, but of different fields
    assert asked(strategies.boundary_skip, chain([0.5, 0.5, 0.5], path=LR)) is not None


def test_dual_form_needs_both_metrics_for_a_success() -> None:
    study = a_study(policy={"name": "ucb_dual"}, objective={"second": "gnn.cell_types.accuracy"})
    story = Story(study)
    for _ in range(3):
        story.node(0.95, second=0.5)
    assert METRIC in story.runs[0].metrics
    assert strategies.success_streak(story.snapshot()) == 0
    for _ in range(3):
        story.node(0.95, second=0.95)
    assert strategies.success_streak(story.snapshot()) == 3


@pytest.mark.parametrize(
    ("story", "strategy"),
    [
        (lambda: chain([0.5] * 4, path=LR), "boundary-skip"),  # also four changes of one field
        (lambda: chain([0.95] * 4, path=LR), "switch-dimension"),  # also a line in which all converge
        (lambda: chain([0.95] * 4), "forced-branch"),  # also single runs of a good config
        (lambda: chain([0.5, 0.95, 0.95, 0.95]), "robustness-test"),  # also three successes
    ],
)
def test_precedence(story, strategy: str) -> None:
    assert said(story()) == strategy


def test_rules_look_at_the_current_block_only() -> None:
    story = chain([0.95] * 6)
    story.block = 1
    story.node(0.5)
    assert said(story) == "exploit"
