r"""Weights that share a mean per pair of cell types: evidence ridge about common means, or the means alone.

For given means mu the equation of neuron i is that of `ridge` with another first column,

.. math:: y = k\,(v - X A \mu) + c + q I + X \delta + \varepsilon, \qquad \delta \sim N(0, 1/\alpha),
          \quad \varepsilon \sim N(0, 1/\beta)

X the regressors n_ij g_j and A (d, G) the group of each. Its products follow from those at hand (`about`), so
deviations delta, their strength lambda = alpha / beta by evidence, and the free k, c, q are those of evidence ridge.

The means pool all neurons. With k, c, q and delta integrated out and S = X' P X = V diag(s) V', z = V' X' P y (P
projects off the free columns), neuron i says of a change of mu, to first order,

.. math:: J_i = k^2 \beta\, A' V \mathrm{diag}\Big(\frac{s \lambda}{s + \lambda}\Big) V' A, \qquad
          h_i = -k \beta\, A' V \mathrm{diag}\Big(\frac{\lambda}{s + \lambda}\Big) z

and the Gauss-Newton step solves (sum J + gamma) mu_new = sum J mu + sum h, one small system per postsynaptic type;
with signs, by non-negative least squares. gamma, the inverse variance of all means, maximises their evidence. Hard
ties are the limit lambda -> infinity: the precision-weighted combination of the neurons with their full covariance. k
enters twice (it multiplies mu), so a few steps are needed; they end at the maximum of the marginal likelihood, up to
the residual variances, which are those of the step before. Reference: Efron & Morris (1973); MacKay (1992); Golub &
Pereyra (1973).
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression import ridge
from lobula.regression.gram import NeuronGrams, in_parallel
from lobula.regression.ridge import LinearCircuit, NeuronProblem
from lobula.regression.signed import bounded_minimum

logger = logging.getLogger(__name__)

MOST_ROUNDS = 40
TOLERANCE = 0.03
"""Change of a mean below which its equations are settled, in its standard errors."""
LOG_PRECISIONS = np.linspace(-8.0, 14.0, 221)
"""Grid of log10(gamma)."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Edges that share a mean: those with the same presynaptic type, postsynaptic type and sign of the source.

    Attributes:
        of_edge: (E,) group of every edge.
        block: (G,) postsynaptic type of every group; only groups of one block appear in one equation.
        sign: (G,) +1, -1, or 0 where the sign is open.
    """

    of_edge: np.ndarray
    block: np.ndarray
    sign: np.ndarray

    @classmethod
    def of(cls, pre_type: np.ndarray, post_type: np.ndarray, sign: np.ndarray) -> "Groups":
        """The groups of edges from their types and signs, each (E,)."""
        rows = np.stack([post_type, pre_type, sign.astype(np.int64)])
        found, of_edge = np.unique(rows, axis=1, return_inverse=True)
        return cls(of_edge.reshape(-1), found[0], found[2].astype(np.float64))

    @property
    def n_groups(self) -> int:
        """Number of groups G."""
        return len(self.block)


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
    plain = ridge.neuron_problems(grams, wiring)
    ratios = np.maximum(ridge.evidence_ratios(plain, grams.n_frames), floor)
    means = find_means(grams, wiring, groups, plain, ratios, hard, floor)
    mean = means.value[groups.of_edge]
    shifted = about(grams, wiring, mean)
    circuit = ridge.solve(shifted, wiring, ratio=np.inf if hard else None, floor=floor)
    return with_means(circuit, means, groups, wiring, grams.n_frames), mean, ratios


def find_means(
    grams: NeuronGrams,
    wiring: Wiring,
    groups: Groups,
    problems: list[NeuronProblem],
    ratios: np.ndarray,
    hard: bool,
    floor: float,
) -> Means:
    """The means, by Gauss-Newton from zero means: ``problems`` and ``ratios`` are those of plain evidence ridge."""
    n_frames, at = grams.n_frames, np.zeros(groups.n_groups)
    block, tie = neuron_blocks(wiring, groups), np.full(wiring.n_neurons, np.inf)
    for number in range(MOST_ROUNDS):
        if number > 0:
            ratios = tie if hard else np.maximum(ridge.evidence_ratios(problems, n_frames), floor)
        normal, rhs = pooled(problems, ratios * n_frames, tie if hard else ratios * n_frames, wiring, groups)
        means = solve_means(normal, rhs, groups, at)
        bound = TOLERANCE * np.sqrt(means.variance) + 1e-9 * np.abs(means.value).max(initial=0.0)
        moving = np.unique(groups.block[np.abs(means.value - at) > bound])
        if not len(moving):
            break
        at = np.where(np.isin(groups.block, moving), means.value, at)
        problems = moved(problems, np.flatnonzero(np.isin(block, moving)), grams, wiring, at[groups.of_edge])
    logger.debug("ties: %d groups, %d rounds", groups.n_groups, number + 1)
    return means


def neuron_blocks(wiring: Wiring, groups: Groups) -> np.ndarray:
    """(N,) block of every neuron's inputs, -1 for a neuron without."""
    block = np.full(wiring.n_neurons, -1)
    block[wiring.post] = groups.block[groups.of_edge]
    return block


def moved(
    problems: list[NeuronProblem], neurons: np.ndarray, grams: NeuronGrams, wiring: Wiring, mean: np.ndarray
) -> list[NeuronProblem]:
    """The problems, those of some neurons about other means, (E,)."""
    found = list(problems)

    def task(row: int) -> None:
        i = int(neurons[row])
        found[i] = NeuronProblem.from_gram(gram_about(i, grams, wiring, mean), grams.n_frames, problems[i].live)

    in_parallel(task, len(neurons))
    return found


def about(grams: NeuronGrams, wiring: Wiring, mean: np.ndarray) -> NeuronGrams:
    """The products with v - sum_j mean_ij n_ij g_j in place of v; (E,) means."""
    return replace(grams, grams=[gram_about(i, grams, wiring, mean) for i in range(wiring.n_neurons)])


def gram_about(i: int, grams: NeuronGrams, wiring: Wiring, mean: np.ndarray) -> np.ndarray:
    """`about` of one neuron."""
    edges = slice(wiring.indptr[i], wiring.indptr[i + 1])
    d, gram = edges.stop - edges.start, grams.grams[i].copy()
    gram[d] -= mean[edges] @ gram[:d]
    gram[:, d] -= gram[:, :d] @ mean[edges]
    return gram


def pooled(
    problems: list[NeuronProblem], fit: np.ndarray, tie: np.ndarray, wiring: Wiring, groups: Groups
) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Sum of J by block and sum of h (G,).

    Args:
        problems: every neuron's equation about the present means.
        fit: (N,) lambda under which k and the residual variance are taken.
        tie: (N,) lambda of the deviations that are integrated out.
        wiring: the graph of the fit.
        groups: which edges share a mean.
    """
    fed = np.flatnonzero(wiring.in_degree > 0)
    k, variance = np.zeros((2, wiring.n_neurons))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [(np.zeros(0),) * 3] * len(fed)

    def fitted(row: int) -> None:
        found = problems[fed[row]].solve(fit[fed[row]])
        k[fed[row]], variance[fed[row]] = found.free[0], found.residual_var

    in_parallel(fitted, len(fed))
    beta = 1.0 / (variance + 1e-3 * np.median(variance[fed]) + 1e-12)

    def task(row: int) -> None:
        i = fed[row]
        problem, own = problems[i], groups.of_edge[wiring.indptr[i] : wiring.indptr[i + 1]]
        local, column = np.unique(own[problem.live], return_inverse=True)
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
    full = {block: rhs[m] + normal[block] @ present[m] for block, m in members.items()}
    spectra = {block: np.linalg.eigh((a + a.T) / 2) for block, a in normal.items()}
    s = np.concatenate([np.maximum(values, 0.0) for values, _ in spectra.values()])
    t = np.concatenate([vectors.T @ full[block] for block, (_, vectors) in spectra.items()])
    gamma = means_precision(s, t)
    value, variance, resolution = np.zeros((3, groups.n_groups))
    for block, m in members.items():
        values, vectors = np.maximum(spectra[block][0], 0.0), spectra[block][1]
        inverse = vectors / (values + gamma)
        variance[m] = np.einsum("jk,jk->j", inverse, vectors)
        resolution[m] = np.einsum("jk,jk->j", inverse * values, vectors)
        value[m] = inverse @ (vectors.T @ full[block])
        sign = groups.sign[m]
        if np.any(sign * value[m] < 0):
            value[m] = bounded_minimum(normal[block] + gamma * np.eye(len(m)), full[block], sign)
    return Means(value, variance, resolution)


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
