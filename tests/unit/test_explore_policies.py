"""Decisions are functions of a snapshot: tree scores as the documents have them, race, phases, certification."""

import math
from dataclasses import replace

import pytest

from lobula.exploration.panel import panel
from lobula.exploration.policies.base import NextBlock, NextPhase, Propose, RunAgain, Wait
from lobula.exploration.policies.race import groups, standing, winner
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.policies.ucb import select_parent, ucb_rows
from lobula.exploration.records import RunState
from support.snapshots import Story, a_study

CHAIN_SCORES = (0.93, 0.97, 0.94, 0.90, 0.98, 0.91, 0.96, 0.92, 0.95, 0.93, 0.97, 0.94)


def small_tree() -> Story:
    """1 (.9) has the children 2 (.8) and 3 (.7); 3 has the child 4 (.6)."""
    story = Story()
    story.node(0.9)
    story.node(0.8, parent=1)
    story.node(0.7, parent=1)
    story.node(0.6, parent=3)
    return story


# ------------------------------------------------------------------ tree scores


@pytest.mark.parametrize(
    ("form", "bonus"),
    [
        ("ucb", lambda n: 1.414 * math.sqrt(math.log(4) / n)),
        ("puct", lambda n: 1.414 * math.sqrt(4) / (1 + n)),
    ],
)
def test_scores_are_the_documents_formulas(form: str, bonus) -> None:
    rows = {row.node: row for row in ucb_rows(small_tree().snapshot(), form)}  # type: ignore[arg-type]
    assert {number: row.visits for number, row in rows.items()} == {1: 4, 2: 1, 3: 2, 4: 1}
    for number, r2 in ((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)):
        assert rows[number].ucb == pytest.approx(r2 + bonus(rows[number].visits))
        assert rows[number].value == r2


def test_dual_score_weighs_both_metrics() -> None:
    study = a_study(policy={"name": "ucb_dual", "c": 2.0}, objective={"second": "gnn.cell_types.accuracy"})
    story = Story(study)
    story.node(0.5, second=1.0)
    story.node(0.9, second=0.2, parent=1)
    rows = ucb_rows(story.snapshot())
    assert [row.node for row in rows] == [2, 1]
    assert rows[0].ucb == pytest.approx(0.6 * 0.9 + 0.4 * 0.2 + 2.0 * math.sqrt(math.log(2)))
    assert rows[1].ucb == pytest.approx(0.6 * 0.5 + 0.4 * 1.0 + 2.0 * math.sqrt(math.log(2) / 2))
    assert (rows[0].value, rows[0].second) == (0.9, 0.2)


def test_first_line_of_the_documents_example() -> None:
    story = Story(a_study(policy={"name": "ucb"}))
    story.node(0.934)
    story.node(0.997, parent=1)
    first = ucb_rows(story.snapshot())[0]
    assert (first.node, first.parent, first.visits) == (2, 1, 1)
    assert first.ucb == pytest.approx(2.175, abs=1e-3)


def test_rows_are_sorted_and_a_block_begins_at_its_root() -> None:
    story = small_tree()
    scores = [row.ucb for row in ucb_rows(story.snapshot())]
    assert scores == sorted(scores, reverse=True)
    story.block = 1
    assert ucb_rows(story.snapshot()) == []
    assert select_parent([]) == ()
    story.node(0.5, parent=4)  # a parent from outside of the block is its root
    assert [(row.node, row.parent, row.visits) for row in ucb_rows(story.snapshot())] == [(5, None, 1)]


def test_what_is_said_about_the_next_parent_changes_nothing() -> None:
    story = small_tree()
    plain = ucb_rows(story.snapshot())
    story.nodes = [replace(node, note="Next: parent=4") for node in story.nodes]
    assert ucb_rows(story.snapshot()) == plain
    assert {row.node: row.parent for row in plain} == {1: None, 2: 1, 3: 1, 4: 3}


def test_negative_scores_count_and_failures_are_low() -> None:
    story = Story(a_study(policy={"name": "ucb"}))
    story.node(-0.5)
    story.node(state=RunState.NAN, parent=1)
    story.node(0.4, parent=1)
    values = {row.node: row.value for row in ucb_rows(story.snapshot())}
    assert values == {1: -0.5, 2: -0.5, 3: 0.4}


def test_a_running_node_has_no_row_but_counts_as_a_visit_of_its_parent() -> None:
    story = Story(a_study(policy={"name": "ucb"}))
    story.node(0.9)
    story.node(parent=1)
    rows = ucb_rows(story.snapshot())
    assert [(row.node, row.visits) for row in rows] == [(1, 2)]


def test_replicates_pool() -> None:
    story = Story(a_study(policy={"name": "ucb"}))
    story.node(0.9)
    story.run(1, 0.7)
    assert ucb_rows(story.snapshot())[0].value == pytest.approx(0.8)


def test_lower_is_better_where_the_study_says_so() -> None:
    story = Story(
        a_study(policy={"name": "ucb", "c": 0.0}, objective={"direction": "lower", "converged": 0.1, "failed": 1})
    )
    story.node(0.5)
    story.node(0.2, parent=1)
    assert select_parent(ucb_rows(story.snapshot())) == (2,)


def grown(form: str, scores=CHAIN_SCORES) -> list[int | None]:
    """Parents of a search that always starts from the highest score."""
    story = Story()
    for score in scores:
        parents = select_parent(ucb_rows(story.snapshot(), form))  # type: ignore[arg-type]
        story.node(score, parent=parents[0] if parents else None)
    return [node.parent for node in story.nodes]


@pytest.mark.parametrize("form", ["ucb", "puct"])
def test_raw_scores_make_a_chain_of_close_results(form: str) -> None:
    assert grown(form) == [None, *range(1, len(CHAIN_SCORES))]


def test_scaled_scores_make_a_search_of_close_results() -> None:
    parents = grown("ucb_scaled")
    newest = sum(parent == number for number, parent in enumerate(parents[1:], start=1))
    assert newest <= len(parents) // 2
    assert len({parent for parent in parents if parent is not None}) >= 3  # nor does it stay at one node
    assert parents.count(2) >= 2  # .97, the best for long
    shrunk = [0.5 + (score - 0.5) / 100 for score in CHAIN_SCORES]
    assert grown("ucb_scaled", shrunk) == parents  # the unit of the scores does not matter


def test_staged_uses_the_scaled_form_and_the_documents_policies_the_raw_one() -> None:
    story = Story()
    for number, score in enumerate(CHAIN_SCORES):
        story.node(score, parent=number or None)
    assert ucb_rows(story.snapshot()) == ucb_rows(story.snapshot(), "ucb_scaled")
    raw = story.snapshot(study=a_study(policy={"name": "puct"}))
    assert ucb_rows(raw) == ucb_rows(story.snapshot(), "puct")


def race_of(scores: list[float], **study) -> Story:
    settings = {"policy": {"name": "staged", "n_race": 4}, "budget": {"n_runs": 40}, **study}
    story = Story(a_study(**settings), phase="race")
    story.node(scores[0], values={})
    for score in scores[1:]:
        story.node(score, parent=1)
    return story


def test_race_runs_every_entrant_on_the_same_pair_then_halves() -> None:
    story = race_of([0.5, 0.9, 0.8, 0.7, 0.6], budget={"n_runs": 20})  # 6 runs: 4 then 2
    policy = make_policy(story.study)
    asked = []
    for _ in range(4):
        action = policy.decide(story.snapshot())
        assert isinstance(action, RunAgain)
        asked.append((action.node, action.pair))
        story.run(action.node, state=RunState.RUNNING)
    assert asked == [(number, panel(story.study.seeds)[1]) for number in (2, 3, 4, 5)]
    assert isinstance(policy.decide(story.snapshot()), Wait)
    for k, score in enumerate((0.5, 0.7, 0.9, 0.8)):  # on pair 1 nodes 4 and 5 do better
        story.settle(6 + k, score)
    action = policy.decide(story.snapshot())
    assert isinstance(action, RunAgain)
    assert (action.node, action.pair.index) == (4, 2)  # means .7 .75 .8 .7: 4 and 3 go on


def test_race_is_decided_by_differences_on_common_pairs_and_survives_failures() -> None:
    story = race_of([0.5, 0.9, 0.89, 0.7], budget={"n_runs": 10})  # one round of two
    collapsed = story.run(2, 0.3)
    story.run(3, 0.4)
    assert winner(story.snapshot(), story.nodes).id == 3  # type: ignore[union-attr]
    story.settle(collapsed, state=RunState.LOST)
    assert winner(story.snapshot(), story.nodes).id == 2  # type: ignore[union-attr]
    story.settle(collapsed, state=RunState.OOM)
    assert winner(story.snapshot(), story.nodes).id == 3  # type: ignore[union-attr]


def test_a_run_lost_on_a_hard_pair_is_no_advantage() -> None:
    story = race_of([0.5, 0.89, 0.9], budget={"n_runs": 10})
    story.run(2, state=RunState.LOST)
    story.run(3, 0.4)  # alone on a pair that may be hard
    assert winner(story.snapshot(), story.nodes).id == 3  # type: ignore[union-attr]


def test_robust_goal_prefers_the_config_without_a_bad_run() -> None:
    for goal, best in (("mean", 2), ("robust", 3)):
        story = race_of([0.5, 0.99, 0.85], objective={"goal": goal}, policy={"name": "staged", "n_race": 2})
        for risky, steady in ((0.99, 0.85), (0.45, 0.84), (0.99, 0.85)):
            story.run(2, risky)
            story.run(3, steady)
        assert winner(story.snapshot(), story.nodes).id == best  # type: ignore[union-attr]


def test_entrants_do_not_change_while_the_race_is_on() -> None:
    story = race_of([0.5, 0.9, 0.8, 0.7, 0.6, 0.55], budget={"n_runs": 20})
    before = {number for number, _ in standing(story.snapshot(), story.nodes).ranking[:4]}
    story.run(2, 0.1)  # the favourite collapses; node 6 must not enter half-way
    now = standing(story.snapshot(), story.nodes)
    assert before == {2, 3, 4, 5}
    assert set(now.missing) == {3, 4, 5}


def test_failed_configs_do_not_enter() -> None:
    story = race_of([0.5, 0.9, 0.8])
    story.node(state=RunState.CRASH)
    story.node(state=RunState.LOST)
    assert {number for number, _ in standing(story.snapshot(), story.nodes).ranking} == {1, 2, 3}


def test_blocks_that_fix_a_field_race_apart() -> None:
    study = a_study(blocks={"path": "signal.fill", "values": [1.0, 0.5]}, budget={"n_runs": 40})
    story = Story(study, phase="race")
    story.node(0.9, values={})
    story.node(0.95, parent=1)
    story.block = 1
    story.node(0.3, values={})
    story.node(0.4, parent=3)
    assert [[node.id for node in nodes] for nodes in groups(story.snapshot())] == [[1, 2], [3, 4]]
    asked = []
    while isinstance(action := make_policy(study).decide(story.snapshot()), RunAgain):
        asked.append(action.node)
        story.run(action.node, {1: 0.9, 2: 0.8, 3: 0.5, 4: 0.3}[action.node])
    assert set(asked) == {1, 2, 3, 4}
    assert [winner(story.snapshot(), nodes).id for nodes in groups(story.snapshot())] == [1, 3]  # type: ignore[union-attr]


# ------------------------------------------------------------------ phases


def test_a_study_begins_with_its_base_and_then_asks_at_the_root() -> None:
    story = Story()
    policy = make_policy(story.study)
    first = policy.decide(story.snapshot())
    assert first == Propose((), "baseline", first.reason)  # type: ignore[union-attr]
    story.node(values={})
    second = policy.decide(story.snapshot())
    assert second == Propose((), "exploit", second.reason)  # type: ignore[union-attr]


@pytest.mark.parametrize("blocks", [{}, {"n_iter": 50}])
def test_search_keeps_the_share_of_the_race_waits_and_goes_on(blocks) -> None:
    story = Story(a_study(budget={"n_runs": 40}, blocks=blocks))
    story.node(0.5, values={})
    policy = make_policy(story.study)
    while isinstance(policy.decide(story.snapshot()), Propose):
        story.node(0.5 + 0.001 * len(story.nodes), parent=1)
        assert len(story.nodes) < 100
    assert len(story.nodes) == 28
    assert policy.decide(story.snapshot()) == NextPhase("race", "the search has had its share of the budget")
    story.settle(28, state=RunState.RUNNING)
    assert isinstance(policy.decide(story.snapshot()), Wait)
    story.settle(28, state=RunState.OK)
    assert isinstance(policy.decide(story.snapshot()), Wait)  # its score is still to come


def test_certification_runs_winner_and_base_on_every_hidden_pair_then_ends() -> None:
    story = race_of([0.5, 0.9, 0.8], budget={"n_runs": 8}, seeds={"holdout": 2})
    story.run(2, 0.7)
    story.run(3, 0.9)
    policy = make_policy(story.study)
    assert policy.decide(story.snapshot()) == NextPhase("certify", "the race is over")
    story.phase = "certify"
    asked = []
    while isinstance(action := policy.decide(story.snapshot()), RunAgain):
        asked.append((action.node, action.pair.index, action.pair.holdout))
        story.run(action.node, 0.1, of_holdout=True)  # a bad hold-out does not change who is certified
    assert asked == [(3, 0, True), (1, 0, True), (3, 1, True), (1, 1, True)]
    assert action == NextPhase("done", "after certify")
    story.phase = "done"
    assert isinstance(policy.decide(story.snapshot()), Wait)


def test_a_stop_ends_proposals_and_what_there_is_is_judged() -> None:
    story = Story()
    story.node(0.5, values={})
    story.node(0.9, parent=1)
    story.stop()
    assert make_policy(story.study).decide(story.snapshot()) == NextPhase("race", "a proposal to stop")
    tree = story.snapshot(study=a_study(policy={"name": "ucb"}))
    assert make_policy(tree.study).decide(tree) == NextPhase("certify", "a proposal to stop")


def test_a_study_in_which_nothing_was_scored_ends() -> None:
    story = Story(a_study(budget={"n_runs": 3}))
    for _ in range(3):
        story.node(state=RunState.CRASH)
    policy = make_policy(story.study)
    assert isinstance(policy.decide(story.snapshot()), NextPhase)
    assert policy.decide(story.snapshot(phase="race")) == NextPhase("done", "after race")


def test_one_failed_slot_does_not_end_a_study() -> None:
    story = Story()
    story.node(0.5, values={})
    story.node(state=RunState.TIMEOUT, parent=1)
    assert isinstance(make_policy(story.study).decide(story.snapshot()), Propose)


def test_blocks_wait_for_their_last_run_and_follow_each_other() -> None:
    study = a_study(policy={"name": "ucb"}, blocks={"n_iter": 3, "path": "signal.fill", "values": [1.0, 0.5]})
    story, policy = Story(study), make_policy(study)
    story.node(0.2, values={})
    story.node(0.3, parent=1)
    story.node(parent=1)
    assert isinstance(policy.decide(story.snapshot()), Wait)
    story.settle(3, state=RunState.CRASH)
    assert isinstance(policy.decide(story.snapshot()), NextBlock)
    story.block = 1
    assert policy.decide(story.snapshot()) == Propose((), "baseline", "start of the block: its base, unchanged")
    for _ in range(3):
        story.node(0.2)
    assert isinstance(policy.decide(story.snapshot()), NextPhase)


def test_blocks_without_a_length_share_the_budget() -> None:
    study = a_study(policy={"name": "puct"}, blocks={"path": "signal.fill", "values": [1.0, 0.5]}, budget={"n_runs": 6})
    story, policy = Story(study), make_policy(study)
    for _ in range(3):
        assert not isinstance(policy.decide(story.snapshot()), NextBlock)
        story.node(0.2)
    assert isinstance(policy.decide(story.snapshot()), NextBlock)


def test_the_same_snapshot_gives_the_same_action() -> None:
    story = small_tree()
    policy = make_policy(story.study)
    assert policy.decide(story.snapshot()) == policy.decide(story.snapshot())
