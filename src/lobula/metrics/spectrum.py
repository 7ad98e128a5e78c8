"""Spectra of the weights: eigenvalues, singular values, and whether two circuits share their main directions."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

DENSE_NEURONS = 1200
"""Up to here matrices are dense and the spectrum is whole; beyond, only its largest part is computed."""

_TOLERANCE = 1e-4
_MAX_ITERATIONS = 300


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The largest eigenvalues and singular values of a matrix of weights.

    Attributes:
        eigenvalues: (K,) complex, largest magnitude first.
        singular_values: (M,) largest first.
        left: (N, M) left singular vectors: patterns of receivers.
        right: (N, M) right singular vectors: patterns of senders.
        is_complete: whether all N of both values are there.
    """

    eigenvalues: np.ndarray
    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    is_complete: bool

    @property
    def radius(self) -> float:
        """Spectral radius, the largest magnitude of an eigenvalue; NaN for an empty matrix."""
        return float(np.abs(self.eigenvalues).max()) if len(self.eigenvalues) else float("nan")


def weight_spectrum(weights: scipy.sparse.spmatrix, n_values: int = 48) -> Spectrum:
    """Spectrum of a matrix of weights.

    Args:
        weights: (N, N) sparse, rows postsynaptic; weights that are not finite count as 0.
        n_values: eigenvalues and singular values beyond `DENSE_NEURONS` neurons; singular vectors always.
    """
    matrix = scipy.sparse.csr_matrix(weights, dtype=np.float64)
    matrix.data = np.where(np.isfinite(matrix.data), matrix.data, 0.0)
    n = matrix.shape[0]
    if n <= DENSE_NEURONS or matrix.count_nonzero() == 0:
        return _dense(matrix, n_values)
    start = np.random.default_rng(0).standard_normal(n)
    left, values, right = scipy.sparse.linalg.svds(matrix, k=n_values, tol=_TOLERANCE, v0=start, solver="arpack")
    order = np.argsort(-values)
    try:
        eigenvalues = scipy.sparse.linalg.eigs(
            matrix, k=n_values, v0=start, tol=_TOLERANCE, maxiter=_MAX_ITERATIONS, return_eigenvectors=False
        )
    except scipy.sparse.linalg.ArpackNoConvergence as error:  # those that did converge are right
        eigenvalues = error.eigenvalues
    return Spectrum(_largest_first(eigenvalues), values[order], left[:, order], right[order].T, False)


def spectral_radius(weights: scipy.sparse.spmatrix) -> float:
    """Largest magnitude of an eigenvalue of an (N, N) matrix, from all of them: a second for 1,000 neurons, times N^3.

    At the rim of a random matrix eigenvalues lie so close that iterations for the largest take no less.
    """
    return float(np.abs(np.linalg.eigvals(weights.toarray())).max(initial=0.0))


def alignment(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(M, M') absolute cosines between the columns of two sets of unit vectors (N, M) and (N, M')."""
    return np.abs(first.T @ second)


def subspace_alignment(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(M,) how far the spans of the first k columns agree, k = 1..M: mean squared cosine of their principal angles.

    1 where both span the same space, k / N by chance. Unlike single cosines it does not mind that vectors of equal
    singular values may turn into each other.

    Args:
        first: (N, M) orthonormal columns.
        second: (N, M) orthonormal columns.
    """
    shared = np.square(first.T @ second)
    return np.diag(shared.cumsum(0).cumsum(1)) / np.arange(1, len(shared) + 1)


def _dense(matrix: scipy.sparse.csr_matrix, n_vectors: int) -> Spectrum:
    full = matrix.toarray()
    left, values, right = np.linalg.svd(full)
    return Spectrum(_largest_first(np.linalg.eigvals(full)), values, left[:, :n_vectors], right[:n_vectors].T, True)


def _largest_first(eigenvalues: np.ndarray) -> np.ndarray:
    """Sorted by magnitude; pairs of conjugates in a fixed order."""
    return eigenvalues[np.lexsort((-eigenvalues.imag, -eigenvalues.real.round(9), -np.abs(eigenvalues).round(9)))]
