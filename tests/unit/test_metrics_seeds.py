"""Figures over seeds: spread, differences with intervals, collapses, directions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lobula.metrics import QUANTITIES, Quantity, curves_over_seeds, difference, has_collapsed, spread, worse_by


def test_spread_of_a_few_seeds():
    over = spread([0.9, 0.8, 1.0], "higher")
    assert (over.n, over.median, over.worst) == (3, 0.9, 0.8)
    assert over.mean == pytest.approx(0.9)
    assert over.sd == pytest.approx(0.1)
    assert over.cv == pytest.approx(0.1 / 0.9)


@pytest.mark.parametrize(("better", "worst"), [("higher", 0.7), ("lower", 1.2), ("one", 0.7), ("same", None)])
def test_worst_knows_its_direction(better, worst):
    assert spread([0.7, 1.2, 1.0], better).worst == worst


def test_spread_of_one_and_of_none():
    over = spread([0.5], "higher")
    assert (over.n, over.sd, over.cv, over.mean, over.worst) == (1, None, None, 0.5, 0.5)
    assert spread([], "higher") is None
    assert spread([0.0, 0.0], "lower").cv is None


def test_curves_over_seeds_leave_out_what_is_missing():
    first = pd.DataFrame({"iteration": [1, 2, 4], "phase": ["a", "a", "b"], "W": [0.1, np.nan, 0.7]})
    second = pd.DataFrame({"iteration": [1, 2, 3], "phase": ["a", "b", "b"], "W": ["0.3", "0.5", "0.6"], "tau": 1.0})
    table = curves_over_seeds([first, second], ["W", "tau"])
    assert table["quantity"].tolist() == ["W"] * 4 + ["tau"] * 3
    found = table[table["quantity"] == "W"]
    assert found["iteration"].tolist() == [1, 2, 3, 4]
    assert found["phase"].tolist() == ["a", "b", "b", "b"]
    assert found["n"].tolist() == [2, 1, 1, 1]
    assert found["median"].tolist() == pytest.approx([0.2, 0.5, 0.6, 0.7])
    assert (found["low"].iloc[0], found["high"].iloc[0]) == (0.1, 0.3)


def test_paired_interval_is_that_of_scipy(rng):
    first = dict(enumerate(rng.standard_normal(6)))
    second = {seed: value + 0.3 + 0.01 * rng.standard_normal() for seed, value in first.items()}
    found = difference(first, second)
    expected = stats.ttest_rel(list(second.values()), list(first.values())).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.n == (6, 6)
    assert "paired" in found.method
    assert found.is_clear


def test_unpaired_interval_is_that_of_scipy(rng):
    first, second = dict(enumerate(rng.standard_normal(5))), {10 + k: x for k, x in enumerate(rng.standard_normal(4))}
    found = difference(first, second)
    a, b = np.array(list(second.values())), np.array(list(first.values()))
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.n == (5, 4)
    assert "Welch" in found.method


def test_only_shared_seeds_are_paired():
    found = difference({0: 1.0, 1: 2.0, 2: 9.0}, {0: 1.5, 1: 2.7, 5: 0.0})
    assert (found.n, found.first, found.mean) == ((2, 2), 1.5, pytest.approx(0.6))


def test_one_seed_has_no_interval():
    found = difference({0: 1.0, 1: 3.0}, {1: 3.5})
    assert (found.mean, found.low, found.high, found.n) == (0.5, None, None, (1, 1))
    assert not found.is_clear
    assert difference({}, {0: 1.0}) is None


@pytest.mark.parametrize(
    ("better", "value", "worse"),
    [("higher", 0.8, 0.1), ("lower", 0.8, -0.1), ("one", 0.8, 0.1), ("one", 1.05, -0.05), ("same", 0.8, 0.1)],
)
def test_worse_by(better, value, worse):
    assert worse_by(better, 0.9, value) == pytest.approx(worse)


def test_collapse_is_measured_against_the_ceiling():
    scores = {"gnn": {"W": {"fit_r2": 0.4}}, "ridge": {"W": {"fit_r2": 0.5}}, "ceiling": {"W": {"fit_r2": 0.9}}}
    assert has_collapsed(scores, "gnn")
    assert not has_collapsed(scores, "ridge")
    assert has_collapsed({"gnn": {"W": {"fit_r2": None}}}, "gnn")  # NaN, as JSON holds it
    assert not has_collapsed({"gnn": {"prediction": {}}}, "gnn")  # no truth, no score of weights


def test_quantities_read_scores():
    by_name = {quantity.name: quantity for quantity in QUANTITIES}
    scores = {"W": {"fit_r2": 0.5, "r2": None, "identifiable": {"fit_r2": 0.7}, "n_nonfinite": 0}}
    assert by_name["W.identifiable.fit_r2"].of(scores) == 0.7
    assert by_name["W.n_nonfinite"].of(scores) == 0.0
    assert by_name["W.r2"].of(scores) is None
    assert by_name["tau.r2"].of(scores) is None


def test_tolerance_is_spread_with_floors():
    quantity = Quantity("x", "x", "higher", 0.01, 0.1)
    assert quantity.tolerance(1.0, 1.0) == 3.0
    assert quantity.tolerance(1.0, 0.0) == 0.1
    assert quantity.tolerance(0.0, 0.0) == 0.01
    assert Quantity("x", "x", "same", 0.01, repeats=True).tolerance(1.0, 5.0) == 0.01
