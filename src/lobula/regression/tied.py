r"""Weights that share a mean per pair of cell types: evidence ridge about common means, or the means alone.

For given means mu the equation of neuron i is that of `ridge` with another first column,

.. math:: y = k\,(v - X A \mu) + c + q I + X \delta + \varepsilon, \qquad \delta \sim N(0, 1/\alpha),
          \quad \varepsilon \sim N(0, 1/\beta)

X the regressors n_ij g_j and A (d, G) the group of each. Its products follow from those at hand (`columns`), so
deviations delta, their strength lambda = alpha / beta by evidence, and the free k, c, q are those of evidence ridge.

The means pool all neurons. With k, c, q and delta integrated out and S = X' P X = V diag(s) V', z = V' X' P y (P
projects off the free columns), neuron i says of a change of mu, to first order,

.. math:: J_i = k^2 \beta\, A' V \mathrm{diag}\Big(\frac{s \lambda}{s + \lambda}\Big) V' A, \qquad
          h_i = -k \beta\, A' V \mathrm{diag}\Big(\frac{\lambda}{s + \lambda}\Big) z

and the Gauss-Newton step solves (sum J + gamma) mu_new = sum J mu + sum h, one small system per postsynaptic type;
with signs, by non-negative least squares. gamma, the inverse variance of all means, maximises their evidence. Hard
ties are the limit lambda -> infinity: the precision-weighted combination of the neurons with their full covariance.
There a neuron needs its regressors summed by group only, and evidence ridge on these sums gives the leaks of the first
step. k enters twice (it multiplies mu), so a few steps are needed; they end at the maximum of the marginal likelihood,
up to the residual variances, which are those of the step before. Reference: Efron & Morris (1973); MacKay (1992);
Golub & Pereyra (1973).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression import ridge
from lobula.regression.circuit import LinearCircuit
from lobula.regression.columns import Columns, Groups
from lobula.regression.equation import ROUNDING, NeuronProblem, fits, stacks
from lobula.regression.gram import NeuronGrams
from lobula.regression.signed import bounded_minimum
from lobula.regression.threads import in_parallel

MOST_ROUNDS = 40
TOLERANCE = 0.03
"""Change of a mean below which its equations are settled, in its standard errors."""
LOG_PRECISIONS = np.linspace(-8.0, 14.0, 221)
"""Grid of log10(gamma)."""


@dataclass(frozen=True, eq=False)
class Means:
    """Common strengths.

    Attributes:
        value: (G,) mu [a.u. per synapse].
        variance: (G,) posterior variance of mu.
        resolution: (G,) 1 = determined by the data, 0 = by the prior.
    """

    value: np.ndarray
    variance: np.ndarray
    resolution: np.ndarray


def tied_circuit(
    grams: NeuronGrams, wiring: Wiring, groups: Groups, hard: bool, floor: float = 0.0
) -> tuple[LinearCircuit, np.ndarray, np.ndarray]:
    """The circuit with common means, in units of the scaled regressors.

    Args:
        grams: products of the scaled regressors n_ij g_j.
        wiring: the graph of the fit.
        groups: which edges share a mean.
        hard: no deviations from the means.
        floor: lower bound on lambda / n_frames.

    Returns:
        The circuit, its regularisation that of the deviations (infinite for hard ties); the mean of every edge (E,);
        lambda / n_frames of plain evidence ridge (N,).
    """

    def evidence(problems: list[NeuronProblem]) -> np.ndarray:
        return np.maximum(ridge.evidence_ratios(problems, grams), floor)

    live = grams.message_std[wiring.pre] > ridge.SILENT_STD
    edges = Columns(grams.grams, wiring.indptr, groups.of_edge, live, grams.n_frames)
    plain = edges.problems(np.zeros(groups.n_groups))
    ratios = evidence(plain)
    if hard:
        sums, rigid = edges.summed(), np.full(wiring.n_neurons, np.inf)
        first = sums.problems(np.zeros(groups.n_groups))
        means, _, _ = settled(sums, groups, first, evidence(first), lambda problems: rigid, rigid)
        problems, strength = edges.problems(means.value), rigid
    else:
        means, problems, strength = settled(edges, groups, plain, ratios, evidence)
    circuit = with_means(ridge.solve_problems(problems, strength, grams, wiring), means, groups, wiring, grams.n_frames)
    return circuit, means.value[groups.of_edge], ratios


def settled(
    columns: Columns,
    groups: Groups,
    problems: list[NeuronProblem],
    ratios: np.ndarray,
    strength: Callable[[list[NeuronProblem]], np.ndarray],
    first: np.ndarray | None = None,
) -> tuple[Means, list[NeuronProblem], np.ndarray]:
    """Gauss-Newton steps from means of zero until none moves.

    Args:
        columns: the regressors.
        groups: which of them share a mean.
        problems: the equations about zero.
        ratios: (N,) lambda / n_frames under which their leaks are found.
        strength: lambda / n_frames of the deviations from later means.
        first: (N,) lambda / n_frames of the deviations in the first step; default ``ratios``.

    Returns:
        The means, the equations about them, and lambda / n_frames of their deviations (N,).
    """
    at, n_frames, block = np.zeros(groups.n_groups), columns.n_frames, neuron_blocks(columns, groups)
    tie = ratios if first is None else first
    for _ in range(MOST_ROUNDS):
        means = solve_means(*pooled(columns, problems, ratios * n_frames, tie * n_frames, groups), groups, at)
        bound = TOLERANCE * np.sqrt(means.variance) + 1e-9 * np.abs(means.value).max(initial=0.0)
        moving = np.unique(groups.block[np.abs(means.value - at) > bound])
        if not len(moving):
            break
        at = np.where(np.isin(groups.block, moving), means.value, at)
        problems = columns.problems(at, np.flatnonzero(np.isin(block, moving)), problems)
        ratios = tie = strength(problems)
    return replace(means, value=at), problems, tie


def neuron_blocks(columns: Columns, groups: Groups) -> np.ndarray:
    """(N,) block of every neuron's regressors, -1 for a neuron without."""
    block = np.full(len(columns.grams), -1)
    block[np.repeat(np.arange(len(block)), np.diff(columns.indptr))] = groups.block[columns.group]
    return block


def pooled(
    columns: Columns, problems: list[NeuronProblem], fit: np.ndarray, tie: np.ndarray, groups: Groups
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Sum of J by block and sum of h (G,).

    Args:
        columns: the regressors.
        problems: every neuron's equation about the present means.
        fit: (N,) lambda under which k and the residual variance are taken.
        tie: (N,) lambda of the deviations that are integrated out.
        groups: which regressors share a mean.
    """
    fed = np.flatnonzero(np.diff(columns.indptr) > 0)
    k, variance = np.zeros((2, len(problems)))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0),) * 3] * len(fed)

    batches = stacks([problems[i].shape for i in fed], [problems[i].vectors.size for i in fed])

    def fitted(row: int) -> None:
        some = fed[batches[row]]
        found = fits([problems[i] for i in some], fit[some])
        k[some], variance[some] = found.free[:, 0], found.residual_var

    in_parallel(fitted, len(batches))
    beta = 1.0 / (variance + 1e-3 * np.median(variance[fed]) + 1e-12)

    def task(row: int) -> None:
        i = int(fed[row])
        problem = problems[i]
        local, column = np.unique(columns.group[columns.span(i)][problem.live], return_inverse=True)
        rotated = np.zeros((len(problem.s), len(local)))
        np.add.at(rotated.T, column, problem.vectors)
        share = 1.0 / (1.0 + problem.s / tie[i])
        normal = (k[i] ** 2 * beta[i]) * (rotated.T * (problem.s * share)) @ rotated
        parts[row] = local, normal, (-k[i] * beta[i]) * rotated.T @ (share * problem.z)

    in_parallel(task, len(fed))
    members = {int(b): np.flatnonzero(groups.block == b) for b in np.unique(groups.block)}
    normal = {b: np.zeros((len(m), len(m))) for b, m in members.items()}
    rhs = np.zeros(groups.n_groups)
    for local, own_normal, own_rhs in parts:
        if len(local):
            block = int(groups.block[local[0]])
            place = np.searchsorted(members[block], local)
            normal[block][np.ix_(place, place)] += own_normal
            rhs[local] += own_rhs
    return normal, rhs


def solve_means(normal: dict[int, np.ndarray], rhs: np.ndarray, groups: Groups, present: np.ndarray) -> Means:
    """The Gauss-Newton step from the present means (G,), with their prior."""
    members = {block: np.flatnonzero(groups.block == block) for block in normal}
    spectra = {block: spectrum(a, rhs[members[block]] + a @ present[members[block]]) for block, a in normal.items()}
    gamma = means_precision(*(np.concatenate([part[k] for part in spectra.values()]) for k in (0, 1)))
    value, variance, resolution = np.zeros((3, groups.n_groups))
    for block, (s, t, vectors) in spectra.items():
        m, inverse = members[block], vectors / (s + gamma)
        variance[m] = np.einsum("jk,jk->j", inverse, vectors)
        resolution[m] = np.einsum("jk,jk->j", inverse * s, vectors)
        value[m] = inverse @ t
        sign = groups.sign[m]
        if np.any(sign * value[m] < 0):
            value[m] = bounded_minimum((vectors * (s + gamma)) @ vectors.T, vectors @ t, sign)
    return Means(value, variance, resolution)


def spectrum(normal: np.ndarray, rhs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (m,), rotated right-hand side (m,) and eigenvectors (m, m); directions that are rounding are 0."""
    s, vectors = np.linalg.eigh((normal + normal.T) / 2)
    null = s <= ROUNDING * s.max(initial=0.0)
    return np.where(null, 0.0, s), np.where(null, 0.0, vectors.T @ rhs), vectors


def means_precision(s: np.ndarray, t: np.ndarray) -> float:
    """gamma that maximises the evidence of all means; eigenvalues s (G,) and rotated right-hand side t (G,)."""
    gamma = 10.0 ** LOG_PRECISIONS[:, None]
    evidence = 0.5 * (np.log(gamma / (s + gamma)) + t**2 / (s + gamma)).sum(1)
    return float(10.0 ** LOG_PRECISIONS[np.argmax(evidence)])


def with_means(circuit: LinearCircuit, means: Means, groups: Groups, wiring: Wiring, n_frames: int) -> LinearCircuit:
    """The circuit whose theta are deviations delta about means, with theta = delta - k mu.

    A deviation that nothing is known of has the spread of its prior. What the data do not say of an edge its mean
    does, so a share 1 - resolution of the mean's error is its own.

    Args:
        circuit: about the means; its regularisation is the strength of the ties.
        means: the means.
        groups: which edges share one.
        wiring: the graph of the fit.
        n_frames: frames of the fit.
    """
    k, own = circuit.k[wiring.post], circuit.resolution
    with np.errstate(divide="ignore", invalid="ignore"):  # a neuron that never moves has no leak
        spread = circuit.residual_std / np.sqrt(circuit.regularisation * n_frames) / np.abs(circuit.k)
    deviation = np.where(np.isfinite(circuit.weight_stderr), circuit.weight_stderr, spread[wiring.post])
    error = np.sqrt(deviation**2 + (1.0 - own) ** 2 * means.variance[groups.of_edge])
    return replace(
        circuit,
        theta=circuit.theta - k * means.value[groups.of_edge],
        theta_stderr=np.abs(k) * error,
        weight_stderr=error,
        resolution=own + (1.0 - own) * means.resolution[groups.of_edge],
    )
