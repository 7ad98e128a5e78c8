"""Spectra of weights and activity against dense numpy, and the confusion of clusters with types."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

from lobula.metrics import (
    activity_spectrum,
    alignment,
    confusion_counts,
    expected_residual,
    hungarian_accuracy,
    subspace_alignment,
    weight_spectrum,
)
from lobula.metrics.spectrum import DENSE_NEURONS


def random_matrix(n: int, rng: np.random.Generator, per_row: float = 20) -> scipy.sparse.csr_matrix:
    matrix = scipy.sparse.random(n, n, per_row / n, random_state=rng, data_rvs=rng.standard_normal).tocsr()
    return matrix + scipy.sparse.diags(np.linspace(0, 12, n))  # apart from each other: quick for Arnoldi


def test_small_spectra_are_whole(rng: np.random.Generator) -> None:
    matrix = random_matrix(60, rng, 6)
    found = weight_spectrum(matrix, n_values=10)
    dense = matrix.toarray()
    assert found.is_complete
    assert np.allclose(found.singular_values, np.linalg.svd(dense, compute_uv=False))
    expected = np.linalg.eigvals(dense)
    assert np.allclose(np.sort(np.abs(found.eigenvalues))[::-1], np.sort(np.abs(expected))[::-1])
    assert found.radius == pytest.approx(np.abs(expected).max())
    rebuilt = found.left * found.singular_values[:10]
    assert np.allclose(dense @ found.right, rebuilt)


def test_large_spectra_hold_the_largest_values(rng: np.random.Generator) -> None:
    n = DENSE_NEURONS + 50
    matrix = random_matrix(n, rng, 8)
    found = weight_spectrum(matrix, n_values=12)
    assert not found.is_complete
    dense = matrix.toarray()
    assert np.allclose(found.singular_values, np.linalg.svd(dense, compute_uv=False)[:12], rtol=1e-3)
    assert found.radius == pytest.approx(np.abs(np.linalg.eigvals(dense)).max(), rel=1e-3)
    again = weight_spectrum(matrix, n_values=12)
    assert np.array_equal(found.eigenvalues, again.eigenvalues)
    assert np.array_equal(found.left, again.left)


def test_spectra_of_nothing_and_of_what_is_not_finite() -> None:
    empty = weight_spectrum(scipy.sparse.csr_matrix((5, 5)))
    assert empty.radius == 0
    assert not empty.singular_values.any()
    broken = scipy.sparse.csr_matrix(np.diag([3.0, np.nan, 1.0]))
    assert weight_spectrum(broken).singular_values.tolist() == [3.0, 1.0, 0.0]


def test_alignment_is_one_for_the_same_directions_and_small_for_others(rng: np.random.Generator) -> None:
    first, _, _ = np.linalg.svd(rng.standard_normal((200, 8)), full_matrices=False)
    other, _, _ = np.linalg.svd(rng.standard_normal((200, 8)), full_matrices=False)
    assert np.allclose(alignment(first, -first), np.eye(8), atol=1e-12)
    assert np.allclose(subspace_alignment(first, first), 1.0)
    assert subspace_alignment(first, other).max() < 0.25
    turn, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    turned = first @ turn  # the same space, other axes
    assert alignment(first, turned).diagonal().mean() < 0.8
    assert subspace_alignment(first, turned)[-1] == pytest.approx(1.0)

    angles = scipy.linalg.subspace_angles(first[:, :5], other[:, :5])
    assert subspace_alignment(first, other)[4] == pytest.approx(np.mean(np.cos(angles) ** 2))


@pytest.mark.parametrize("shape", [(40, 100), (100, 40)])
def test_activity_spectrum_is_that_of_the_centred_svd(shape: tuple[int, int], rng: np.random.Generator) -> None:
    voltage = rng.standard_normal(shape) @ np.diag(np.geomspace(1, 1e-3, shape[1])) + 7.0
    values = np.linalg.svd(voltage - voltage.mean(0), compute_uv=False) ** 2
    found = activity_spectrum(voltage.astype(np.float32))
    assert np.allclose(found.share, values / values.sum(), atol=1e-6)
    share = np.cumsum(values) / values.sum()
    for part in (0.9, 0.99):
        assert found.rank(part) == int((share < part).sum() + 1)
    assert found.share.sum() == pytest.approx(1.0)


def test_activity_that_does_not_move_has_rank_zero() -> None:
    assert activity_spectrum(np.full((10, 4), 3.0)).rank(0.9) == 0


def test_planted_activity_has_its_rank(rng: np.random.Generator) -> None:
    voltage = rng.standard_normal((300, 3)) @ np.linalg.qr(rng.standard_normal((50, 3)))[0].T
    assert activity_spectrum(voltage).rank(0.999) == 3


def test_expected_residual_is_what_simulated_noise_leaves(rng: np.random.Generator) -> None:
    dt, tau, sigma, noise, n = 0.02, 0.05, 0.05, 0.03, 200_000
    hidden = np.zeros(n)
    for t in range(1, n):
        hidden[t] = hidden[t - 1] * (1 - dt / tau) + sigma * rng.standard_normal()
    seen = hidden + noise * rng.standard_normal(n)
    left = np.diff(seen) / dt + seen[:-1] / tau  # what the true leak leaves
    assert left.std() == pytest.approx(expected_residual(sigma, noise, dt, np.array([tau]))[0], rel=0.01)
    assert expected_residual(0.05, 0.0, 0.02) == pytest.approx(2.5)


def test_confusion_brings_matching_clusters_to_the_diagonal(rng: np.random.Generator) -> None:
    true = rng.integers(0, 5, 400)
    cluster = np.array([12, 3, 40, 7, 5])[true]
    cluster[:20] = 99
    counts, labels, matched = confusion_counts(true, cluster, 5)
    assert labels.tolist() == [12, 3, 40, 7, 5, 99]
    assert matched.tolist() == [0, 1, 2, 3, 4, -1]
    assert counts.sum() == 400
    assert np.array_equal(counts.sum(1), np.bincount(true, minlength=5))
    assert np.trace(counts[:, :5]) / 400 == pytest.approx(hungarian_accuracy(true, cluster))
    fewer, _, _ = confusion_counts(true, true // 2, 5)
    assert fewer.shape == (5, 3)
