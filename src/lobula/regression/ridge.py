"""Evidence ridge: every neuron's equation solved in closed form, with its own strength of regularisation.

For neuron i the model is linear (`gram`): y = X_u b_u + X_h theta + noise, where X_u = [v_i, 1, (I_i), (own terms)] is
free and
theta ~ N(0, 1 / alpha) is shrunk, noise ~ N(0, 1 / beta). The prior is on the weights themselves, the same for a busy
and for a quiet source: standardising the regressors, as is usual, would let the weights of rarely active sources run
away. How much, lambda = alpha / beta, is `shrinkage`. Reference: Rasmussen & Williams (2006), ch. 2.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from scipy.linalg import pinvh
from scipy.linalg.lapack import dpotrf, dpotri

from lobula.data.wiring import Wiring
from lobula.regression.circuit import LinearCircuit
from lobula.regression.dense import DenseProblem, is_dense
from lobula.regression.equation import ROUNDING, NeuronFits, NeuronProblem, equations, fits, stacks
from lobula.regression.gram import NeuronGrams
from lobula.regression.shrinkage import LOG_RATIOS, log_evidence, population_ratios
from lobula.regression.threads import in_parallel

MOST_KEPT = 1.5e8
"""Elements of eigenvectors that are kept at a time (1.2 GB)."""
MOST_ASKED = 8
"""Neurons whose evidence decides where they are not."""
LEAST_LAMBDA = 1e-13
"""Of the largest squared norm: what keeps a decomposition positive."""
FRAMES_PER_WEIGHT = 10
"""Independent frames that are left to evidence at least: with fewer than weights, it prefers to have no weights."""
Recount = Callable[[LinearCircuit], np.ndarray]
"""Redundancy of frames (N,), `redundancy`, by what a circuit leaves."""
SILENT_STD = 1e-6
"""A source whose message varies less than this (a.u.) carries no information."""


def solve(
    grams: NeuronGrams,
    wiring: Wiring,
    ratio: float | None = None,
    floor: float = 0.0,
    recount: Recount | None = None,
) -> LinearCircuit:
    """Evidence ridge for every neuron.

    Args:
        grams: from `gram.accumulate`.
        wiring: the graph of the fit.
        ratio: fixed lambda / n_frames (None: evidence and population decide).
        floor: lower bound on lambda / n_frames.
        recount: the redundancy of frames after a first solution (N,); a second one follows where it is not 1.
    """
    n, active = wiring.n_neurons, grams.message_std > SILENT_STD
    dense = DenseProblem(grams, wiring, active) if is_dense(wiring, grams, active) else None
    alone = dense is None and float((wiring.in_degree.astype(float) ** 2).sum()) > MOST_KEPT
    problems = [] if dense or alone else neuron_problems(grams, wiring)

    def solved(counted: NeuronGrams) -> LinearCircuit:
        if dense:
            return dense_circuit(dense, counted, wiring, ratio, floor)
        if ratio is not None:
            ratios = np.full(n, ratio)
        else:
            ratios = sampled_ratios(counted, wiring) if alone else evidence_ratios(problems, counted)
        return solve_problems(problems, np.maximum(ratios, floor), counted, wiring)

    return twice(solved, grams, wiring, recount)


def twice(
    solved: Callable[[NeuronGrams], LinearCircuit], grams: NeuronGrams, wiring: Wiring, recount: Recount | None
) -> LinearCircuit:
    """The circuit, and where frames turn out to repeat each other, the circuit with frames counted anew."""
    circuit = solved(grams)
    if recount is None:
        return circuit
    most = grams.n_frames / (FRAMES_PER_WEIGHT * np.maximum(wiring.in_degree, 1))
    redundancy = np.clip(recount(circuit), 1.0, np.maximum(most, 1.0))
    if (redundancy == 1).all():
        return circuit
    del circuit  # of 8,000 neurons it takes 2 GB
    return solved(replace(grams, redundancy=redundancy))


def solve_problems(
    problems: list[NeuronProblem], ratios: np.ndarray, grams: NeuronGrams, wiring: Wiring
) -> LinearCircuit:
    """The circuit for strengths lambda / n_frames (N,); without problems each equation is set up again and dropped."""
    n, e = wiring.n_neurons, wiring.n_edges
    n_own = grams.n_own
    own_gain = np.zeros((n, n_own))
    per_neuron = {name: np.zeros(n) for name in ("k", "c", "q", "k_stderr", "c_stderr", "rv")}
    per_edge = {name: np.zeros(e) for name in ("theta", "theta_stderr", "weight_stderr", "resolution")}

    def task(row: int) -> None:
        some = chosen[row]
        lam = ratios[some] * grams.n_frames
        if problems:
            fit = fits([problems[i] for i in some], lam)
        else:
            fit = direct_fit(grams, wiring, int(some[0]), float(lam[0]))
        more = np.ones(len(some)) if grams.redundancy is None else np.sqrt(grams.redundancy[some])
        per_neuron["k"][some], per_neuron["c"][some] = fit.free[:, 0], fit.free[:, 1]
        if grams.has_stimulus[some[0]]:
            per_neuron["q"][some] = fit.free[:, 2]
        own_gain[some] = fit.free[:, fit.free.shape[1] - n_own :]
        per_neuron["k_stderr"][some] = more * np.sqrt(fit.free_cov[:, 0, 0])
        per_neuron["c_stderr"][some] = more * np.sqrt(fit.free_cov[:, 1, 1])
        per_neuron["rv"][some] = fit.residual_var
        edges = wiring.indptr[some][:, None] + np.arange(fit.theta.shape[1])
        per_edge["theta"][edges] = fit.theta
        per_edge["theta_stderr"][edges] = more[:, None] * np.sqrt(fit.theta_var)
        per_edge["resolution"][edges] = fit.resolution
        k, k_var = fit.free[:, :1], fit.free_cov[:, 0, :1]
        stderr = stderr_of_weight(fit.theta, fit.theta_var, fit.theta_k_cov, k, k_var)
        per_edge["weight_stderr"][edges] = more[:, None] * stderr

    if problems:
        chosen = stacks([p.shape for p in problems], [p.vectors.size for p in problems])
    else:
        chosen = list(np.arange(n)[:, None])
    in_parallel(task, len(chosen))
    return LinearCircuit(
        k=per_neuron["k"],
        c=per_neuron["c"],
        q=per_neuron["q"],
        k_stderr=per_neuron["k_stderr"],
        c_stderr=per_neuron["c_stderr"],
        residual_std=np.sqrt(per_neuron["rv"]),
        regularisation=ratios,
        message_mean=grams.message_mean,
        message_std=grams.message_std,
        own_gain=own_gain,
        theta=per_edge["theta"],
        theta_stderr=per_edge["theta_stderr"],
        weight_stderr=per_edge["weight_stderr"],
        resolution=per_edge["resolution"],
    )


def dense_circuit(
    problem: DenseProblem, grams: NeuronGrams, wiring: Wiring, ratio: float | None, floor: float
) -> LinearCircuit:
    """The circuit of neurons that have all others as inputs; arguments as in `solve`."""
    n, fed = wiring.n_neurons, problem.fed
    problem.redundancy = np.ones(len(fed)) if grams.redundancy is None else grams.redundancy[fed]
    ratios = problem.ratios() if ratio is None else np.full(len(fed), ratio)
    ratios = np.maximum(ratios, floor)
    column = np.full(n, -1)
    column[problem.live] = np.arange(len(problem.live))
    n_free = problem.rows.shape[1]  # the target's row for the offset's
    free, cov = np.zeros((n, n_free)), np.zeros((n, n_free, n_free))
    residual_var, regularisation = np.zeros(n), np.ones(n)
    regularisation[fed] = ratios
    silent = {"theta": 0.0, "theta_stderr": np.inf, "weight_stderr": np.inf, "resolution": 0.0}
    per_edge = {name: np.full(wiring.n_edges, value) for name, value in silent.items()}
    for chosen, fit in problem.solve(ratios):
        some = fed[chosen]
        free[some], cov[some], residual_var[some] = fit.free, fit.free_cov, fit.residual_var
        edges = np.arange(wiring.indptr[some[0]], wiring.indptr[some[-1] + 1])  # sorted by post
        edges = edges[column[wiring.pre[edges]] >= 0]
        row = np.searchsorted(some, wiring.post[edges])
        at = row, column[wiring.pre[edges]]
        theta, variance = fit.theta[at], fit.theta_var[at]
        per_edge["theta"][edges], per_edge["theta_stderr"][edges] = theta, np.sqrt(variance)
        per_edge["resolution"][edges] = fit.resolution[at]
        k, k_var = fit.free[row, 0], fit.free_cov[row, 0, 0]
        per_edge["weight_stderr"][edges] = stderr_of_weight(theta, variance, fit.theta_k_cov[at], k, k_var)
    for i in np.setdiff1d(np.arange(n), fed):
        free[i], cov[i], residual_var[i] = fit_alone(grams.grams[i], grams.n_frames)
    has = bool(grams.has_stimulus[fed[0]])
    return LinearCircuit(
        k=free[:, 0],
        c=free[:, 1],
        q=free[:, 2] if has else np.zeros(n),
        k_stderr=np.sqrt(np.maximum(cov[:, 0, 0], 0.0)),  # below 0: rounding
        c_stderr=np.sqrt(np.maximum(cov[:, 1, 1], 0.0)),
        residual_std=np.sqrt(residual_var),
        regularisation=regularisation,
        message_mean=grams.message_mean,
        message_std=grams.message_std,
        own_gain=free[:, free.shape[1] - grams.n_own :],
        theta=per_edge["theta"],
        theta_stderr=per_edge["theta_stderr"],
        weight_stderr=per_edge["weight_stderr"],
        resolution=per_edge["resolution"],
    )


def fit_alone(gram: np.ndarray, n_frames: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Free coefficients, their covariance and the residual variance of a neuron without inputs, from its products."""
    matrix, rhs = gram[:-1, :-1], gram[:-1, -1]
    inverse = pinvh(matrix, rtol=ROUNDING)  # own terms of a saturated neuron are a constant
    residual_var = max(float(gram[-1, -1] - rhs @ inverse @ rhs), 0.0) / max(n_frames - len(rhs), 1)
    return inverse @ rhs, residual_var * inverse, residual_var


def stderr_of_weight(
    theta: np.ndarray, variance: np.ndarray, k_cov: np.ndarray, k: np.ndarray, k_var: np.ndarray
) -> np.ndarray:
    """Standard error of -theta / k from variances and covariance, each (E,) or of one neuron."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = theta / k
        return np.sqrt(np.maximum(variance - 2 * share * k_cov + share**2 * k_var, 0.0)) / np.abs(k)


def direct_fit(grams: NeuronGrams, wiring: Wiring, i: int, lam: float) -> NeuronFits:
    """One neuron's solution for a known strength lambda, without a decomposition: for many inputs."""
    inputs = wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]]
    d, gram = len(inputs), grams.grams[i]
    live = grams.message_std[inputs] > SILENT_STD
    kept = np.r_[np.flatnonzero(live), np.arange(d, len(gram) - 1)]
    n_live, n_free = int(live.sum()), len(gram) - 1 - d
    matrix, rhs = gram[np.ix_(kept, kept)], gram[kept, -1]
    diagonal = np.diag(matrix)
    lam = max(lam, LEAST_LAMBDA * float(diagonal.max()))
    jitter = np.where(diagonal > 0, 1e-14 * diagonal, 1.0)
    jitter[:n_live] = lam
    inverse = inverse_of(matrix + np.diag(jitter))
    found = inverse @ rhs
    residual_var = max(float(gram[-1, -1] - rhs @ found), 0.0) / max(grams.n_frames - n_free, 1)
    theta, variance, resolution, k_cov = np.zeros(d), np.full(d, np.inf), np.zeros(d), np.zeros(d)
    theta[live] = found[:n_live]
    variance[live] = residual_var * np.diag(inverse)[:n_live]
    resolution[live] = 1.0 - lam * np.diag(inverse)[:n_live]
    k_cov[live] = residual_var * inverse[:n_live, n_live]
    free_cov = residual_var * inverse[n_live:, n_live:]
    parts = found[n_live:], theta, free_cov, variance, k_cov, resolution, np.array(residual_var)
    return NeuronFits(*(part[None] for part in parts))


def inverse_of(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a positive definite matrix (P, P): a third of the work of solving for the unit matrix."""
    factor, failed = dpotrf(matrix, lower=True, clean=False)
    if failed:
        raise np.linalg.LinAlgError(f"regression: a matrix of size {len(matrix)} is not positive definite")
    inverse, _ = dpotri(factor, lower=True, overwrite_c=True)
    lower = np.tril(inverse)
    return lower + np.tril(lower, -1).T


def sampled_ratios(grams: NeuronGrams, wiring: Wiring) -> np.ndarray:
    """(N,) lambda / n_frames where not all equations fit in memory: some neurons speak for all."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    chosen = fed[np.unique(np.linspace(0, len(fed) - 1, min(len(fed), MOST_ASKED)).astype(int))]
    problems = neuron_problems(grams, wiring, chosen)
    return np.full(wiring.n_neurons, np.exp(np.log(evidence_ratios(problems, grams, chosen)).mean()))


def neuron_problems(grams: NeuronGrams, wiring: Wiring, neurons: np.ndarray | None = None) -> list[NeuronProblem]:
    """The projected, diagonalised equation of every neuron, or of some."""
    active = grams.message_std > SILENT_STD
    chosen = np.arange(wiring.n_neurons) if neurons is None else neurons
    live = [active[grams.columns[wiring.indptr[i] : wiring.indptr[i + 1]]] for i in chosen]
    shapes = [(len(of), bool(grams.has_stimulus[i]), of.tobytes()) for i, of in zip(chosen, live, strict=True)]
    problems: dict[int, NeuronProblem] = {}

    def task(row: int) -> None:
        some = batches[row]
        products = np.stack([grams.grams[chosen[k]] for k in some])
        problems.update(zip(some.tolist(), equations(products, grams.n_frames, live[some[0]]), strict=True))

    batches = stacks(shapes, [(len(of) + 3) ** 2 for of in live])
    in_parallel(task, len(batches))
    return [problems[k] for k in range(len(chosen))]


def evidence_ratios(problems: list[NeuronProblem], grams: NeuronGrams, neurons: np.ndarray | None = None) -> np.ndarray:
    """(N,) lambda / n_frames by evidence and population; 1 where no input is active (nothing to shrink).

    Args:
        problems: the equations of all neurons, or of some.
        grams: what they are from.
        neurons: which some.
    """
    n_frames, repeated = grams.n_frames, np.ones(len(problems))
    if grams.redundancy is not None:
        repeated = grams.redundancy if neurons is None else grams.redundancy[neurons]
    fed = np.flatnonzero([len(p.s) > 0 for p in problems])
    evidence, variance = np.empty((2, len(fed), len(LOG_RATIOS)))
    lam = n_frames * 10.0**LOG_RATIOS

    def task(row: int) -> None:
        some = batches[row]
        of = [problems[i] for i in fed[some]]
        s, z = np.stack([p.s for p in of]), np.stack([p.z for p in of])
        rss0, dof = np.array([p.rss0 for p in of]), np.array([p.dof for p in of])
        evidence[some], variance[some] = log_evidence(s, z**2, rss0, dof, lam, repeated[fed[some]])

    sizes = [len(problems[i].s) for i in fed]
    batches = stacks(sizes, [len(lam) * size for size in sizes])
    in_parallel(task, len(batches))
    ratios = np.ones(len(problems))
    ratios[fed] = population_ratios(evidence, variance, n_frames, repeated[fed])
    return ratios


class Solver(Protocol):
    """Gram matrices in, the circuit out: `solve`, or the same with a prior (`prior.WeightPrior`)."""

    def __call__(
        self, grams: NeuronGrams, wiring: Wiring, *, floor: float = 0.0, recount: Recount | None = None
    ) -> LinearCircuit: ...
