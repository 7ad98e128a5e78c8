"""What few runs can say: against published numbers, scipy, enumeration and simulated studies."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lobula.errors import ConfigError
from lobula.exploration.outcomes import failure_value, goal_value, observations
from lobula.exploration.records import RunState
from lobula.exploration.statistics import (
    chance_all_good,
    lower_bound,
    paired,
    pooled_rate,
    runs_needed,
    runs_to_robust,
    sign_flip,
    smallest_effect,
    subset_interval,
    upper_bound,
    verdict,
)
from lobula.exploration.variance import failure_rate, noise_floor, posteriors, variance_rows
from support.snapshots import Story, a_study


def test_four_good_seeds_are_two_to_one_for_a_config_that_fails_every_tenth_time() -> None:
    assert chance_all_good(4, 0.1) == pytest.approx(0.66, abs=0.005)


def test_runs_to_see_two_hundredths_of_r2() -> None:
    assert runs_needed(0.02) == 51
    assert runs_needed(0.02, correlation=0.7) == 16
    with pytest.raises(ConfigError, match="expected > 0"):
        runs_needed(0.0)


def test_the_sample_sizes_have_their_power() -> None:
    rng = np.random.default_rng(0)
    sd, rho, n = 0.0359, 0.7, 16
    both = rng.multivariate_normal([0.02, 0.0], sd**2 * np.array([[1, rho], [rho, 1]]), size=(2000, n))
    seen = stats.ttest_1samp(both[..., 0] - both[..., 1], 0.0, axis=1).pvalue < 0.05
    assert 0.73 < seen.mean() < 0.85  # normal quantiles promise .8, a t test of 16 pairs keeps a little less
    apart = rng.normal(0.02, sd, (2000, 51)), rng.normal(0.0, sd, (2000, 51))
    assert 0.77 < (stats.ttest_ind(*apart, axis=1).pvalue < 0.05).mean() < 0.83


def test_smallest_effect_is_what_a_t_test_sees() -> None:
    rng = np.random.default_rng(1)
    effect = smallest_effect(5, sd=1.0, correlation=0.5, paired=True)
    differences = rng.normal(effect, 1.0, (4000, 5))  # sd of a difference: sqrt(2 * .5)
    power = (stats.ttest_1samp(differences, 0.0, axis=1).pvalue < 0.05).mean()
    assert power == pytest.approx(0.8, abs=0.04)
    assert smallest_effect(1) == math.inf
    assert smallest_effect(51) == pytest.approx(0.02, rel=0.02)


def test_paired_comparison_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=8), rng.normal(size=8)
    found = paired(dict(enumerate(first)), {**dict(enumerate(second)), 99: 5.0})
    oracle = stats.ttest_rel(first, second)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(oracle.confidence_interval())
    assert found.difference == pytest.approx(np.mean(first - second))
    assert found.n == 8
    assert paired({0: 1.0}, {1: 1.0}) is None
    single = paired({0: 1.0}, {0: 0.5})
    assert single is not None
    assert (single.low, single.high, single.p_value) == (-math.inf, math.inf, 1.0)


def test_exact_interval_holds_the_centres_that_flipping_signs_does_not_refuse() -> None:
    rng = np.random.default_rng(1)
    for n in (6, 8):
        values = rng.normal(0.3, 1.0, n)
        low, high = subset_interval(values)
        step = 1e-6
        assert sign_flip(values - (low - step)) <= 0.05 < sign_flip(values - (low + step))
        assert sign_flip(values - (high + step)) <= 0.05 < sign_flip(values - (high - step))
    assert subset_interval([0.1] * 5) == (-math.inf, math.inf)
    many = rng.normal(0.3, 1.0, 40)
    assert subset_interval(many) == pytest.approx(stats.ttest_1samp(many, 0).confidence_interval(), abs=0.05)


def test_exact_interval_covers_and_bears_one_failure() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(400):
        low, high = subset_interval(0.5 + rng.standard_t(2, 6))
        covered += low <= 0.5 <= high
    assert covered / 400 == pytest.approx(1 - 2 / 64, abs=0.03)
    found = paired(dict(enumerate([0.93] * 6)), dict(enumerate([0.91, 0.90, 0.25, 0.92, 0.88, 0.91])))
    assert found is not None
    assert found.low < 0 < found.exact_low == pytest.approx(0.01)
    assert (found.n_better, found.p_value) == (6, 2 / 64)


def test_sign_flip_is_exact_for_few_pairs_and_close_for_many() -> None:
    values = np.array([0.3, 0.1, -0.05, 0.2])
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=4)]
    assert sign_flip(values) == np.mean([total >= abs(values.sum()) - 1e-12 for total in sums])
    assert sign_flip([0.1] * 5) == 2 / 2**5  # five pairs cannot reach .05
    many = np.random.default_rng(0).normal(0.4, 1.0, 30)
    assert sign_flip(many) == pytest.approx(stats.ttest_1samp(many, 0.0).pvalue, abs=0.02)


@pytest.mark.parametrize(("failed", "runs"), [(0, 4), (1, 5), (3, 7), (29, 30)])
def test_bounds_are_clopper_pearson(failed: int, runs: int) -> None:
    oracle = stats.binomtest(failed, runs)
    assert upper_bound(failed, runs) == pytest.approx(oracle.proportion_ci(0.9, "exact").high)
    assert lower_bound(failed, runs) == pytest.approx(oracle.proportion_ci(0.9, "exact").low)
    assert (upper_bound(4, 4), lower_bound(0, 4)) == (1.0, 0.0)


def test_verdicts_and_the_runs_they_still_need() -> None:
    four = verdict(4, 4)
    assert (four.name, four.runs_needed) == ("undetermined", 25)
    assert four.upper == pytest.approx(0.527, abs=1e-3)
    assert verdict(29, 29).name == "robust"
    assert verdict(28, 28).name == "undetermined"
    assert (verdict(1, 3).name, verdict(1, 3).runs_needed) == ("fragile", 0)
    once = verdict(9, 10)
    assert once.name == "undetermined"
    assert verdict(9 + once.runs_needed, 10 + once.runs_needed).name == "robust"
    assert runs_to_robust(0, 0.1) == math.ceil(math.log(0.05) / math.log(0.9))
    with pytest.raises(ConfigError, match="expected a part"):
        verdict(5, 4)


def test_a_robust_verdict_is_rarely_wrong() -> None:
    rng = np.random.default_rng(0)
    called = sum(verdict(int(rng.binomial(40, 0.89)), 40).name == "robust" for _ in range(500))
    assert called / 500 <= 0.05  # fails 11 % of the time


def test_pooled_rate() -> None:
    assert pooled_rate([]) == 0.0
    assert pooled_rate([(1, 4), (0, 5)]) == pytest.approx(1.5 / 10)


# ------------------------------------------------------------------ of a study


def panel_study(n_configs: int, n_pairs: int, sd: float, pair_sd: float, spread: float, seed: int) -> Story:
    rng = np.random.default_rng(seed)
    story = Story(a_study(seeds={"panel": n_pairs}))
    of_pair = rng.normal(0.0, pair_sd, n_pairs)
    for theta in rng.normal(0.8, spread, n_configs):
        node = story.node(theta + of_pair[0] + rng.normal(0, sd))
        for j in range(1, n_pairs):
            story.run(node, theta + of_pair[j] + rng.normal(0, sd))
    return story


def test_noise_floor_finds_what_was_put_in() -> None:
    floor = noise_floor(panel_study(40, 12, sd=0.02, pair_sd=0.03, spread=0.05, seed=0).snapshot())
    assert (floor.n_configs, floor.n_runs) == (40, 480)
    assert floor.paired_sd == pytest.approx(0.02, rel=0.1)
    assert floor.sd == pytest.approx(math.hypot(0.02, 0.03), rel=0.35)  # twelve pairs only
    assert floor.correlation == pytest.approx(1 - (floor.paired_sd / floor.sd) ** 2)


def test_noise_floor_without_replicates_is_unknown() -> None:
    story = Story()
    story.node(0.9)
    story.node(0.8)
    assert noise_floor(story.snapshot()).sd is None
    story.run(1, 0.7)
    floor = noise_floor(story.snapshot())
    assert floor.sd == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert floor.paired_sd is None


def test_failures_count_low_and_a_hopeless_config_is_no_collapse() -> None:
    story = Story()
    story.node(0.9)
    story.run(1, state=RunState.NAN)
    story.run(1, state=RunState.INFRA)
    story.node(state=RunState.CRASH)
    snapshot = story.snapshot()
    assert failure_value(snapshot) == 0.1
    assert observations(snapshot, story.nodes[0].config) == {0: 0.9, 1: 0.1}
    assert failure_rate(snapshot) == pytest.approx(1.5 / 3)  # of node 1 alone
    story.node(-3.0)
    assert failure_value(story.snapshot()) == -3.0


def test_goal_values() -> None:
    objective = a_study().objective
    assert goal_value(objective, [0.2, 0.8]) == 0.5
    robust = objective.model_copy(update={"goal": "robust"})
    assert goal_value(robust, [0.2, 0.8]) == pytest.approx(0.26)


def test_variance_table() -> None:
    story = Story(a_study(objective={"report": ["gnn.tau.r2"]}))
    story.node(0.95)
    for score in (0.93, 0.91):
        story.run(1, score)
    story.node(0.5)
    story.node(0.92, config=story.nodes[0].config, values=story.nodes[0].values)  # the same config asked for again
    story.node()
    first, second = variance_rows(story.snapshot())
    assert (first.nodes, first.n_runs) == ((1, 3), 4)
    spread = first.metrics["gnn.W.r2"]
    assert spread.cv == pytest.approx(100 * spread.sd / spread.mean)  # type: ignore[operator]
    assert first.verdict.name == "undetermined"
    assert (second.n_runs, second.metrics["gnn.W.r2"].sd, second.verdict.n_failed) == (1, None, 1)
    assert "gnn.tau.r2" not in first.metrics


def test_posteriors_shrink_luck_and_are_calibrated() -> None:
    rng = np.random.default_rng(3)
    covered, raw_error, error = [], [], []
    for _ in range(40):
        story = Story(a_study(seeds={"panel": 4}))
        thetas = rng.normal(0.8, 0.03, 12)
        for number, theta in enumerate(thetas):
            story.node(theta + rng.normal(0, 0.04))
            for _ in range(3 if number < 6 else 0):
                story.run(len(story.nodes), theta + rng.normal(0, 0.04))
        believed = list(posteriors(story.snapshot()).values())
        covered += [found.low <= theta <= found.high for found, theta in zip(believed, thetas, strict=True)]
        error += [(found.mean - theta) ** 2 for found, theta in zip(believed, thetas, strict=True)]
        raw_error += [(found.raw - theta) ** 2 for found, theta in zip(believed, thetas, strict=True)]
    assert 0.88 < np.mean(covered) < 0.98
    assert np.mean(error) < 0.75 * np.mean(raw_error)


def test_shrinkage_is_the_share_of_noise() -> None:
    story = panel_study(60, 2, sd=0.04, pair_sd=0.0, spread=0.04, seed=0)
    believed = posteriors(story.snapshot()).values()
    raw, mean = np.array([[found.raw, found.mean] for found in believed]).T
    slope = np.polyfit(raw, mean, 1)[0]
    assert slope == pytest.approx(0.04**2 / (0.04**2 + 0.04**2 / 2), abs=0.12)


def test_posterior_prefers_a_steady_config_over_a_lucky_run() -> None:
    story = Story()
    steady, lucky = story.node(0.92), story.node(0.93)
    for score in (0.93, 0.91, 0.92):
        story.run(steady, score)
    for score, again in ((0.86, 0.92), (0.83, 0.9), (0.91, 0.84), (0.82, 0.88), (0.85, 0.9), (0.9, 0.84)):
        story.run(story.node(score), again)
    believed = posteriors(story.snapshot())
    configs = [story.nodes[number - 1].config for number in (steady, lucky)]
    assert believed[configs[0]].value > believed[configs[1]].value
    assert believed[configs[1]].raw > believed[configs[0]].raw


def test_posterior_counts_failures() -> None:
    story = Story()
    for failing in (False, True):
        node = story.node(0.9)
        for _ in range(3):
            story.run(node, None if failing else 0.9, state=RunState.NAN if failing else RunState.SCORED)
    steady, failing = posteriors(story.snapshot()).values()
    assert failing.failure_rate > steady.failure_rate
    assert failing.value < steady.value
    assert (failing.n, failing.n_failed) == (1, 3)
