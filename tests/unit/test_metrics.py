"""Scores against hand-made cases: sign, slope, non-finite values, chance."""

import numpy as np
import pytest

from lobula.metrics import cluster_scores, compare, compare_weights, hungarian_accuracy, summary


def test_fit_r2_is_blind_where_r2_is_not() -> None:
    true = np.linspace(0, 1, 50)
    scores = compare(true, -3 * true + 10)
    assert scores["fit_r2"] == pytest.approx(1.0)
    assert scores["slope"] == pytest.approx(-3.0)
    assert scores["r2"] < 0


def test_non_finite_values_and_outliers_are_counted() -> None:
    true = np.arange(6.0)
    learned = np.array([0.0, 1.0, np.nan, np.inf, 4.0, 50.0])
    scores = compare(true, learned)
    assert (scores["n"], scores["n_nonfinite"], scores["n_outliers"]) == (6, 2, 1)
    assert scores["fit_r2"] < 0.8 < scores["fit_r2_no_outliers"]


def test_a_constant_estimate_has_no_r2() -> None:
    assert np.isnan(compare(np.arange(5.0), np.ones(5))["fit_r2"])


def test_identifiable_edges_are_scored_apart() -> None:
    true = np.array([1.0, -1.0, 2.0, -2.0])
    learned = np.array([1.0, -1.0, 2.0, 5.0])
    scores = compare_weights(true, learned, np.array([True, True, True, False]))
    assert scores["sign_accuracy"] == 0.75
    assert scores["identifiable"]["share"] == 0.75
    assert scores["identifiable"]["r2"] == pytest.approx(1.0)


def test_clusters_stand_beside_chance() -> None:
    true = np.repeat(np.arange(4), 25)
    relabelled = (true + 2) % 4
    scores = cluster_scores(true, relabelled)
    assert scores["accuracy"] == scores["ari"] == scores["nmi"] == pytest.approx(1.0)
    assert scores["chance_accuracy"] < 0.5
    assert hungarian_accuracy(true, np.zeros(100, int)) == 0.25


def test_prediction_of_the_mean_explains_nothing() -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_normal((400, 3))
    scores = summary(true, np.broadcast_to(true.mean(0), true.shape), "one_step")
    assert scores["one_step_fraction_explained"] == pytest.approx(0.0)
    assert summary(true, true, "x")["x_pearson"] == pytest.approx(1.0)


def test_relative_error_is_that_of_the_vector() -> None:
    true = np.array([3.0, 0.0, 4.0, 1.0])
    assert compare(true, true)["relative_error"] == 0.0
    assert compare(true, np.array([3.0, 1.0, 4.0, np.nan]))["relative_error"] == pytest.approx(0.2)
    assert compare(true, 0.5 * true)["relative_error"] == pytest.approx(0.5)
    assert np.isnan(compare(np.zeros(3), np.ones(3))["relative_error"])
