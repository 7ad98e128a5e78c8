"""Scores by group, by size, by horizon and of Dale's law against plain loops."""

import numpy as np
import pandas as pd
import pytest

from lobula.metrics import (
    compare,
    compare_groups,
    compare_sizes,
    dale_scores,
    group_moments,
    horizon_scores,
    pair_means,
)
from lobula.scoring import write_tables

RNG = np.random.default_rng(0)


def test_groups_are_compared_as_compare_does() -> None:
    true, group = RNG.normal(size=500), RNG.integers(0, 6, 500)
    learned = 0.7 * true + RNG.normal(size=500) * (0.1 + group)
    learned[:3] = np.nan
    group[group == 4] = 3  # group 4 is empty
    true[group == 2] = 1.5  # does not vary
    table = compare_groups(true, learned, group, 6)
    assert list(table["n"]) == list(np.bincount(group, minlength=6))
    assert table["n_nonfinite"].sum() == 3
    for k in (0, 1, 3, 5):
        wanted = compare(true[group == k], learned[group == k])
        for name in ("slope", "fit_r2", "rmse"):
            assert table[name][k] == pytest.approx(wanted[name]), (k, name)
    assert np.isnan(table["fit_r2"][2])
    assert np.isnan(table["rmse"][4])


def test_moments_of_groups_and_means_of_pairs() -> None:
    values, pre, post = RNG.normal(size=300), RNG.integers(0, 4, 300), RNG.integers(-1, 3, 300)
    values[:5] = np.nan
    moments = group_moments(values, post, 5)  # groups 3 and 4 are empty, -1 is none
    for k in range(3):
        own = values[(post == k) & np.isfinite(values)]
        assert moments.loc[k].tolist() == pytest.approx([len(own), own.mean(), own.std()])
    assert moments["n"].tolist()[3:] == [0, 0]
    assert moments[["mean", "std"]].iloc[3:].isna().all(axis=None)
    receiving = np.abs(post)
    means = pair_means(pre, receiving, values, 4)
    for i in range(4):
        for j in range(4):
            own = values[(receiving == i) & (pre == j)]
            assert means[i, j] == pytest.approx(np.nanmean(own)) if len(own) else np.isnan(means[i, j])


def test_weights_by_size() -> None:
    true = np.concatenate([np.zeros(50), RNG.normal(size=1000)])
    learned = true + 0.01 * RNG.normal(size=1050)
    learned[60] = np.inf
    table = compare_sizes(true, learned, 4)
    assert (table["n"][0], table["largest"][0]) == (50, 0.0)
    assert list(table["n"][1:]) == [250] * 4
    assert table["n_nonfinite"].sum() == 1
    assert np.isnan(table["sign_accuracy"][0])
    size = np.abs(true)
    edge = np.quantile(size[size > 0], [0.75, 1])
    own = (size >= edge[0]) & np.isfinite(learned)
    last = np.sqrt(np.mean((learned - true)[own] ** 2) / np.mean(true[own] ** 2))
    assert table["relative_error"].iloc[-1] == pytest.approx(last)
    assert table["relative_error"][1] > 5 * table["relative_error"].iloc[-1]


def test_dale() -> None:
    pre = np.array([0, 0, 0, 1, 1, 2])
    true = np.array([1.0, 2.0, 1.0, -1.0, -3.0, 2.0])
    perfect = dale_scores(true, true, pre, 4)
    assert perfect == {"minority_share": 0.0, "true_minority_share": 0.0, "sign_accuracy": 1.0, "n": 3}
    learned = np.array([1.0, 2.0, -1.0, -1.0, 4.0, 2.0])
    scores = dale_scores(true, learned, pre, 4)
    assert scores["minority_share"] == pytest.approx((1 / 4 + 1 / 5 + 0) / 3)
    assert scores["sign_accuracy"] == pytest.approx(2 / 3)


def test_horizon() -> None:
    true = np.cumsum(RNG.normal(size=(3, 21, 5)), axis=1)
    start, later = true[:, 0], true[:, 1:]
    perfect = horizon_scores(start, later, later, 0.02)
    assert (perfect["rmse"] == 0).all()
    np.testing.assert_allclose(perfect["skill"], 1)
    np.testing.assert_allclose(perfect["pearson"], 1)
    np.testing.assert_allclose(perfect["time_s"], 0.02 * np.arange(1, 21))
    still = horizon_scores(start, later, np.broadcast_to(start[:, None], later.shape), 0.02)
    np.testing.assert_allclose(still["skill"], 0, atol=1e-12)
    np.testing.assert_allclose(still["rmse"], still["persistence_rmse"])
    noisy = later + RNG.normal(size=later.shape)
    table, mean = horizon_scores(start, later, noisy, 0.02), later.mean((0, 1))
    wanted = np.corrcoef((later[:, 7] - mean).ravel(), (noisy[:, 7] - mean).ravel())[0, 1]
    assert table["pearson"][7] == pytest.approx(wanted)


def test_tables_are_files_of_numbers(tmp_path) -> None:
    table = horizon_scores(np.zeros((2, 3)), RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 4, 3)), 0.02)
    table.loc[0, "skill"] = np.nan
    write_tables(tmp_path / "scores", "gnn", {"by-horizon": table})
    read = pd.read_csv(tmp_path / "scores" / "gnn-by-horizon.csv")
    assert list(read) == list(table)
    np.testing.assert_allclose(read["rmse"], table["rmse"], rtol=1e-5)
    assert np.isnan(read["skill"][0])
