"""Equations of neurons with the free columns projected out and the rest diagonalised; those of one shape at a time.

Most neurons have a few dozen inputs, so a decomposition takes less time than the calls around it: what has the same
shape is stacked.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-11
"""Directions with less than this share of the largest squared norm are rounding, not data: confounded sources."""
AT_ONCE = 1 << 20
"""Elements of a stack: bounds its memory, and leaves enough stacks for all threads."""


@dataclass(frozen=True)
class NeuronProblem:
    """One neuron's equation; lambda is still open.

    Attributes:
        live: (d,) bool, sources whose message varies; the others get weight 0 and infinite uncertainty.
        inverse: (u, u) inverse of the free columns' products.
        gain: (u, d') coefficients of the live messages on the free columns.
        offset: (u,) those of the target.
        s, z, vectors: eigenvalues (d',), rotated right-hand side (d',), eigenvectors (d', d').
        rss0: residual sum of squares without messages.
        dof: frames less free columns.
    """

    live: np.ndarray
    inverse: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    s: np.ndarray
    z: np.ndarray
    vectors: np.ndarray
    rss0: float
    dof: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sources, live sources, free columns."""
        return len(self.live), len(self.s), len(self.offset)


@dataclass(frozen=True)
class NeuronFits:
    """Solutions of B neurons with d sources and u free columns each.

    Attributes:
        free: (B, u) coefficients of the free columns.
        theta: (B, d) coefficients of the messages.
        free_cov: (B, u, u) posterior covariances of the former.
        theta_var: (B, d) posterior variances of the latter.
        theta_k_cov: (B, d) their covariances with the first free coefficient.
        resolution: (B, d).
        residual_var: (B,).
    """

    free: np.ndarray
    theta: np.ndarray
    free_cov: np.ndarray
    theta_var: np.ndarray
    theta_k_cov: np.ndarray
    resolution: np.ndarray
    residual_var: np.ndarray


def stacks(shapes: Sequence[Hashable], sizes: Iterable[int]) -> list[np.ndarray]:
    """Positions of equal shapes, in stacks of `AT_ONCE` elements at most, the largest elements first.

    Args:
        shapes: one per position.
        sizes: elements of each.
    """
    alike: dict[Hashable, list[int]] = {}
    size: dict[Hashable, int] = {}
    for i, (shape, elements) in enumerate(zip(shapes, sizes, strict=True)):
        alike.setdefault(shape, []).append(i)
        size[shape] = max(elements, 1)
    found = []
    for shape in sorted(alike, key=lambda shape: -size[shape]):
        members, step = np.array(alike[shape]), max(1, AT_ONCE // size[shape])
        found += [members[start : start + step] for start in range(0, len(members), step)]
    return found


def equations(grams: np.ndarray, n_frames: int, live: np.ndarray) -> list[NeuronProblem]:
    """Equations of neurons of one shape.

    Args:
        grams: (B, p, p) products of ``[messages (d), v, 1, (I), (own terms), y]``.
        n_frames: frames summed.
        live: (d,) bool, sources whose message varies.
    """
    d = len(live)
    free, cross = grams[:, d:-1, d:-1].copy(), grams[:, d:-1, :d][:, :, live]
    every = np.arange(free.shape[1])
    diagonal = free[:, every, every]
    free[:, every, every] += np.where(diagonal > 0, 1e-14 * diagonal, 1.0)
    inverse = np.linalg.inv(free)
    solved = np.linalg.solve(free, np.concatenate([cross, grams[:, d:-1, -1:]], axis=2))
    gain, offset = solved[:, :, :-1], solved[:, :, -1]
    projected = grams[:, :d, :d][:, live][:, :, live] - cross.transpose(0, 2, 1) @ gain
    rhs = grams[:, :d, -1][:, live] - np.einsum("buj,bu->bj", cross, offset)
    s, vectors = np.linalg.eigh((projected + projected.transpose(0, 2, 1)) / 2)
    null = s < ROUNDING * np.einsum("bpp->bp", grams)[:, :-1].max(axis=1, keepdims=True)
    s, z = np.where(null, 0.0, s), np.where(null, 0.0, np.einsum("bjk,bj->bk", vectors, rhs))
    rss0 = grams[:, -1, -1] - np.einsum("bu,bu->b", grams[:, d:-1, -1], offset)
    dof = max(n_frames - len(every), 1)
    return [
        NeuronProblem(live, inverse[b], gain[b], offset[b], s[b], z[b], vectors[b], float(rss0[b]), dof)
        for b in range(len(grams))
    ]


def fits(problems: Sequence[NeuronProblem], lam: np.ndarray) -> NeuronFits:
    """Solutions of problems of one shape for strengths lambda (B,)."""

    def stacked(name: str) -> np.ndarray:
        return np.stack([getattr(problem, name) for problem in problems])

    live, s, z, vectors, gain = (stacked(name) for name in ("live", "s", "z", "vectors", "gain"))
    shrunk = 1.0 / (s + lam[:, None])
    rss = np.array([p.rss0 for p in problems]) - np.einsum("bk,bk->b", z, shrunk * z)
    residual_var = np.maximum(rss, 0.0) / np.array([p.dof for p in problems])
    rotated = gain @ vectors
    found = vectors @ np.stack([shrunk * z, shrunk * rotated[:, 0]], axis=2)
    spread = vectors**2 @ np.stack([shrunk, shrunk * s], axis=2)
    theta, variance, k_cov, resolution = (np.zeros(live.shape) for _ in range(4))
    variance[~live] = np.inf
    theta[live] = found[:, :, 0].ravel()
    variance[live] = (residual_var[:, None] * spread[:, :, 0]).ravel()
    k_cov[live] = (-residual_var[:, None] * found[:, :, 1]).ravel()
    resolution[live] = spread[:, :, 1].ravel()
    free_cov = stacked("inverse") + (rotated * shrunk[:, None]) @ rotated.transpose(0, 2, 1)
    return NeuronFits(
        free=stacked("offset") - (gain @ found[:, :, :1])[:, :, 0],
        theta=theta,
        free_cov=residual_var[:, None, None] * free_cov,
        theta_var=variance,
        theta_k_cov=k_cov,
        resolution=resolution,
        residual_var=residual_var,
    )
