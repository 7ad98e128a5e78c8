"""A study claims what its hidden pairs say, not what it was chosen by."""

import pytest

from lobula.exploration.certificate import certificates, compare
from lobula.exploration.records import RunState
from support.snapshots import Story, a_study


def certified() -> Story:
    story = Story(a_study(seeds={"holdout": 3}), phase="certify")
    story.node(0.5, values={})
    story.node(0.99, parent=1)
    for score, base in ((0.95, 0.6), (0.85, 0.6), (0.93, 0.5)):
        story.run(2, score, of_holdout=True)
        story.run(1, base, of_holdout=True)
    return story


def test_certificate_compares_winner_and_base_on_hidden_pairs() -> None:
    (found,) = certificates(certified().snapshot())
    assert (found.winner, found.baseline, found.block) == (2, 1, None)
    assert (found.panel, found.holdout) == (0.99, pytest.approx(0.91))
    assert found.difference is not None
    assert (found.difference.n, found.difference.difference) == (3, pytest.approx((0.35 + 0.25 + 0.43) / 3))
    assert (found.verdict.n_runs, found.verdict.n_failed) == (3, 1)  # .85 has not converged


def test_a_failed_hidden_run_counts() -> None:
    story = certified()
    failed = story.runs[2].id
    story.settle(failed, state=RunState.NAN)
    (found,) = certificates(story.snapshot())
    assert found.holdout == pytest.approx((0.1 + 0.85 + 0.93) / 3)
    assert found.verdict.n_failed == 2


def test_nothing_is_claimed_before_there_is_anything() -> None:
    assert certificates(Story().snapshot()) == []
    story = Story()
    story.node(0.9, values={})
    (found,) = certificates(story.snapshot())
    assert (found.winner, found.baseline, found.holdout, found.difference) == (1, 1, None, None)
    assert found.verdict.name == "undetermined"


def test_configs_compare_on_common_pairs_only() -> None:
    story = Story()
    story.node(0.9)
    story.node(0.7)
    story.run(1, 0.1)
    first, second = (node.config for node in story.nodes)
    found = compare(story.snapshot(), first, second)
    assert found is not None
    assert (found.n, found.difference) == (1, pytest.approx(0.2))
    assert compare(story.snapshot(), first, second, holdout=True) is None
