r"""A message function for every sender, where everybody is an input of everybody.

A sender's function is a common one and a deviation, :math:`g_j(v) = g(v) + \sum_k d_{jk} \phi_k(v)`, with cubic splines
:math:`\phi_k` through few common knots. All that the equations need is in one matrix of products of g and all
:math:`\phi_k` of all senders. With the circuit solved for given functions (variable projection), all deviations take a
Gauss-Newton step together. The projection P off the messages is nearly the same for all equations, so that their normal
equations need no sum over neurons but an elementwise product,

.. math:: \sum_i w_i\, \theta_{ij} \theta_{il}\, \phi_k(v_j)' P\, \phi_m(v_l)
          = \Big(\sum_i w_i\, \theta_{ij} \theta_{il}\Big)\, S_{jk,lm}

with S the products of the basis, projected, and w_i the inverse residual variance of equation i; the gradient is exact.
Reference: Golub & Pereyra (1973), variable projection; Kaufman (1975).
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf

from lobula.data.wiring import Wiring
from lobula.regression.curve import Curve
from lobula.regression.gram import Frames, block_arrays, frame_blocks, stimulated
from lobula.regression.own_terms import OwnTerms

BLOCK = 1_000
FIRST_SPREAD = 0.3
"""Prior standard deviation of a deviation, in units of the common function."""
JITTER = 1e-12
ROUNDING = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
"""Added to the diagonal of a Gauss-Newton step, in units of its mean: the first that makes up for rounding."""


@dataclass(frozen=True, eq=False)
class SenderCurves:
    """Message functions of all neurons.

    Attributes:
        base: the common function.
        knots: (K,) voltages of the deviations [a.u.].
        values: (N, K) deviations at the knots [a.u.].
    """

    base: Curve
    knots: np.ndarray
    values: np.ndarray

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages (T, N) at voltages (T, N)."""
        messages = np.empty(voltage.shape)
        for j, row in enumerate(self.values):
            v = voltage[:, j].astype(np.float64)
            messages[:, j] = self.base(v) + CubicSpline(self.knots, row, bc_type="natural")(v)
        return messages

    def on_grid(self, grid: np.ndarray) -> np.ndarray:
        """(P, N) functions at voltages (P,)."""
        return self.base(grid)[:, None] + CubicSpline(self.knots, self.values.T, bc_type="natural")(grid)

    @property
    def coefficients(self) -> np.ndarray:
        """(N, 1 + K) of the common function and the splines."""
        return np.column_stack([np.ones(len(self.values)), self.values])


@dataclass(frozen=True, eq=False)
class Products:
    """Products, over frames and without means, of the bases of all neurons (N B) and of every neuron's rows.

    Attributes:
        basis: (N B, N B).
        cross: (M, N B, N) with the rows v, (I), (own terms), y of every neuron.
        rows: (N, M, M) of the rows with each other.
        n_frames: number of frames.
    """

    basis: np.ndarray
    cross: np.ndarray
    rows: np.ndarray
    n_frames: int


def products(
    frames: Frames, wiring: Wiring, base: Curve, knots: np.ndarray, target: str, max_frames: int, own: OwnTerms
) -> Products:
    """Products of a common function and of splines through knots (K,), from at most that many frames."""
    n, k = wiring.n_neurons, len(knots) + 1
    unit = CubicSpline(knots, np.eye(k - 1), bc_type="natural")
    basis, sums, total = np.zeros((n * k, n * k)), np.zeros(n * k), 0
    cross, rows, row_sums = np.zeros(0), np.zeros(0), np.zeros(0)
    for span in frame_blocks(frames, target, max_frames, BLOCK):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        driven = [] if external is None else [external * stimulated(wiring, True)]
        voltage = voltage.astype(np.float64)
        terms = own(np.ascontiguousarray(voltage.T)).transpose(0, 2, 1)
        parts = np.stack([voltage, *driven, *terms, y]).astype(np.float64)
        columns = np.concatenate([base(voltage)[..., None], unit(voltage)], axis=2).reshape(len(voltage), n * k)
        if not total:
            m = len(parts)
            cross, rows, row_sums = np.zeros((m, n * k, n)), np.zeros((n, m, m)), np.zeros((m, n))
        basis += columns.T @ columns
        for held, part in zip(cross, parts, strict=True):
            held += columns.T @ part
        rows += np.einsum("atn,btn->nab", parts, parts, optimize=True)
        sums, row_sums, total = sums + columns.sum(0), row_sums + parts.sum(1), total + len(voltage)
    basis -= np.outer(sums, sums) / total
    cross -= sums[:, None] * row_sums[:, None] / total
    rows -= row_sums.T[:, :, None] * row_sums.T[:, None] / total
    return Products(basis, cross, rows, total)


@dataclass(frozen=True, eq=False)
class Solved:
    """All equations solved for given functions.

    Attributes:
        theta: (N, N) coefficients, row sender, column receiver.
        free: (N, F) leak, (input), (own terms).
        variance: (N,) residual variance.
        factor: (N, N) lower Cholesky factor of the products of the messages and lambda; the rest is not defined.
        mixed: (N, N B) products of the messages with the bases.
        residual: (N B, N) products of the bases with the residuals.
    """

    theta: np.ndarray
    free: np.ndarray
    variance: np.ndarray
    factor: np.ndarray
    mixed: np.ndarray
    residual: np.ndarray


def solved(data: Products, curves: SenderCurves, ratio: float, loops: bool, with_residual: bool = True) -> Solved:
    """Ridge with lambda / n_frames for every neuron; ``loops``: whether neurons are inputs of themselves."""
    values = curves.coefficients
    n, k = values.shape
    lam, every = ratio * data.n_frames, np.arange(n)
    mixed = np.matmul(values[:, None], data.basis.reshape(n, k, n * k))[:, 0]
    gram = np.einsum("jnk,nk->jn", mixed.reshape(n, n, k), values)
    factor = cho_factor(gram + lam * np.eye(n), lower=True)
    inverse = cho_solve(factor, np.eye(n))
    across = np.einsum("jk,fjki->fji", values, data.cross.reshape(-1, n, k, n))
    if not loops:
        across[:, every, every] = 0.0
    solution = inverse @ across
    if not loops:
        solution -= inverse / np.diag(inverse) * solution[:, every, every][:, None]
    table = data.rows - np.einsum("fji,gji->ifg", across, solution)
    size = np.arange(table.shape[1] - 1)
    table[:, size, size] += JITTER * np.maximum(data.rows[:, size, size], 1e-300)
    free = np.linalg.solve(table[:, :-1, :-1], table[:, :-1, -1:])[..., 0]
    theta = solution[-1] - np.einsum("fji,if->ji", solution[:-1], free)
    rss = table[:, -1, -1] - np.einsum("if,if->i", free, table[:, :-1, -1])
    variance = np.maximum(rss, 1e-15 * data.rows[:, -1, -1]) / data.n_frames
    residual = np.zeros((0, n))
    if with_residual:
        residual = data.cross[-1] - np.einsum("fqi,if->qi", data.cross[:-1], free) - mixed.T @ theta
    return Solved(theta, free, variance, factor[0], mixed, residual)


def gauss_newton(data: Products, curves: SenderCurves, at: Solved, targets: np.ndarray) -> np.ndarray:
    """(N, K) step of all deviations, from the equations of some neurons, (N,) bool."""
    n, k = curves.values.shape
    weights = np.where(targets, 1.0 / (at.variance + 1e-3 * np.median(at.variance[targets])), 0.0)
    deviating = np.arange(n * (k + 1)).reshape(n, k + 1)[:, 1:].ravel()
    mixed = at.mixed[:, deviating]
    normal = data.basis[np.ix_(deviating, deviating)]
    projected = solve_triangular(at.factor, mixed, lower=True)  # times an inverse, rounding is larger than the rest
    normal -= projected.T @ projected
    blocks = normal.reshape(n, k, n, k)
    blocks *= ((at.theta * weights) @ at.theta.T)[:, None, :, None]
    bend = np.diff(np.eye(k), 2, axis=0)
    prior = (np.eye(k) + bend.T @ bend) / FIRST_SPREAD**2
    residual = at.residual[deviating].reshape(n, k, n)
    rhs = np.matmul(residual, (at.theta * weights)[:, :, None])[..., 0] - curves.values @ prior
    every = np.arange(n)
    blocks[every, :, every] += prior
    return _damped(normal, rhs.ravel()).reshape(n, k)


def _damped(normal: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Solution of normal equations (P, P) that rounding may have made indefinite; they are changed."""
    diagonal, mean = np.diag(normal).copy(), np.trace(normal) / len(normal)
    for share in ROUNDING:
        normal[np.diag_indices_from(normal)] = diagonal + share * mean
        factor, failed = dpotrf(normal, lower=True, clean=False)
        if not failed:
            return cho_solve((factor, True), rhs, check_finite=False)
    raise np.linalg.LinAlgError(
        f"message functions of senders: a step of {len(normal)} values is not positive definite"
    )
