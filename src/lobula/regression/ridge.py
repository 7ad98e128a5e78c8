"""Evidence ridge: every neuron's equation solved in closed form, with its own strength of regularisation.

For neuron i the model is linear (`gram`): y = X_u b_u + X_h theta + noise, where X_u = [v_i, 1, (I_i)] is free and
theta ~ N(0, 1 / alpha) is shrunk, noise ~ N(0, 1 / beta). The prior is on the weights themselves, the same for a busy
and for a quiet source: standardising the regressors, as is usual, would let the weights of rarely active sources run
away. How much, lambda = alpha / beta, is `shrinkage`. Reference: Rasmussen & Williams (2006), ch. 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve

from lobula.data.wiring import Wiring
from lobula.errors import MissingInputError, StoreError
from lobula.regression.gram import CPU, Frames, MessageFunction, NeuronGrams, accumulate, in_parallel
from lobula.regression.shrinkage import LOG_RATIOS, log_evidence, population_ratios

ROUNDING = 1e-11
"""Directions with less than this share of the largest squared norm are rounding, not data: confounded sources."""
SILENT_STD = 1e-6
"""A source whose message varies less than this (a.u.) carries no information."""


@dataclass(frozen=True)
class LinearCircuit:
    """dv_i/dt = k_i v_i + c_i + q_i I_i + sum_j theta_ij g_j(v_j), with uncertainties.

    Attributes:
        k: (N,) leak [1/s], negative for a stable neuron.
        c: (N,) offset [a.u./s].
        q: (N,) gain of the external input [1/s]; 0 where there is none.
        theta: (E,) coefficients of the messages [1/s], in the order of the wiring.
        theta_stderr: (E,) posterior standard deviation of theta.
        k_stderr, c_stderr: (N,) posterior standard deviations.
        weight_stderr: (E,) standard error of -theta/k, with their covariance.
        resolution: (E,) diagonal of the resolution matrix: 1 = determined by the data, 0 = by the prior.
        residual_std: (N,) standard deviation of the noise on the target [a.u./s].
        regularisation: (N,) lambda / n_frames.
        message_mean, message_std: (N,) statistics of the messages the fit used.
    """

    k: np.ndarray
    c: np.ndarray
    q: np.ndarray
    theta: np.ndarray
    theta_stderr: np.ndarray
    k_stderr: np.ndarray
    c_stderr: np.ndarray
    weight_stderr: np.ndarray
    resolution: np.ndarray
    residual_std: np.ndarray
    regularisation: np.ndarray
    message_mean: np.ndarray
    message_std: np.ndarray

    @property
    def tau(self) -> np.ndarray:
        """(N,) time constants -1/k [s]."""
        with np.errstate(divide="ignore"):
            return -1.0 / self.k

    @property
    def v_rest(self) -> np.ndarray:
        """(N,) resting potentials -c/k [a.u.]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self.c / self.k

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with path.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "LinearCircuit":
        """Reads what `save` wrote.

        Raises:
            MissingInputError: if there is nothing.
            StoreError: if the file is truncated or foreign.
        """
        if not path.exists():
            raise MissingInputError(f"circuit: {path} does not exist; run the train stage first")
        try:
            with np.load(path) as arrays:
                return cls(**arrays)
        except (OSError, ValueError, TypeError, KeyError, BadZipFile) as error:
            raise StoreError(
                f"circuit: {path} is truncated or foreign ({type(error).__name__}); train again"
            ) from error

    def weight(self, wiring: Wiring) -> np.ndarray:
        """(E,) synaptic weights -theta_ij / k_i, in units of the message function."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self.theta / self.k[wiring.post]


@dataclass(frozen=True)
class NeuronFit:
    """Solution of one neuron: free coefficients, message coefficients and their joint covariance diagonal."""

    free: np.ndarray
    theta: np.ndarray
    free_cov: np.ndarray
    theta_var: np.ndarray
    theta_k_cov: np.ndarray
    resolution: np.ndarray
    residual_var: float


@dataclass(frozen=True)
class NeuronProblem:
    """One neuron's equation with the free columns projected out and the rest diagonalised; lambda is still open.

    Attributes:
        live: (d,) bool, sources whose message varies; the others get weight 0 and infinite uncertainty.
        factor: Cholesky factor of the free columns' products.
        gain: (u, d') coefficients of the live messages on the free columns.
        offset: (u,) those of the target.
        s, z, vectors: eigenvalues (d',), rotated right-hand side (d',), eigenvectors (d', d').
        rss0: residual sum of squares without messages.
        dof: frames less free columns.
    """

    live: np.ndarray
    factor: tuple[np.ndarray, bool]
    gain: np.ndarray
    offset: np.ndarray
    s: np.ndarray
    z: np.ndarray
    vectors: np.ndarray
    rss0: float
    dof: int

    @classmethod
    def from_gram(cls, gram: np.ndarray, n_frames: int, live: np.ndarray) -> "NeuronProblem":
        """From the (p, p) products of ``[messages (d), v, 1, (I), y]``; ``live`` (d,) bool."""
        d = len(live)
        free = gram[d:-1, d:-1]
        jitter = np.where(np.diag(free) > 0, 0.0, 1.0)
        factor = cho_factor(free + np.diag(jitter + 1e-14 * np.diag(free)), lower=True)
        cross = gram[d:-1, :d][:, live]
        solved = cho_solve(factor, np.column_stack([cross, gram[d:-1, -1]]))
        projected = gram[:d, :d][np.ix_(live, live)] - cross.T @ solved[:, :-1]
        rhs = gram[:d, -1][live] - cross.T @ solved[:, -1]
        s, vectors = np.linalg.eigh((projected + projected.T) / 2)
        null = s < ROUNDING * float(np.diag(gram)[:-1].max())
        return cls(
            live=live,
            factor=factor,
            gain=solved[:, :-1],
            offset=solved[:, -1],
            s=np.where(null, 0.0, s),
            z=np.where(null, 0.0, vectors.T @ rhs),
            vectors=vectors,
            rss0=float(gram[-1, -1] - gram[d:-1, -1] @ solved[:, -1]),
            dof=max(n_frames - len(free), 1),
        )

    def solve(self, lam: float) -> NeuronFit:
        """The solution for a strength lambda."""
        d, live = len(self.live), self.live
        inverse = self.vectors / (self.s + lam)
        covariance = inverse @ self.vectors.T
        residual_var = max(self.rss0 - float(self.z @ (self.z / (self.s + lam))), 0.0) / self.dof
        theta, variance, resolution, k_cov = np.zeros(d), np.full(d, np.inf), np.zeros(d), np.zeros(d)
        theta[live] = inverse @ self.z
        variance[live] = residual_var * np.diag(covariance)
        resolution[live] = np.einsum("jk,jk->j", inverse * self.s, self.vectors)
        k_cov[live] = -residual_var * (covariance @ self.gain[0])
        free_cov = cho_solve(self.factor, np.eye(len(self.offset))) + self.gain @ covariance @ self.gain.T
        return NeuronFit(
            free=self.offset - self.gain @ theta[live],
            theta=theta,
            free_cov=residual_var * free_cov,
            theta_var=variance,
            theta_k_cov=k_cov,
            resolution=resolution,
            residual_var=residual_var,
        )


def solve(grams: NeuronGrams, wiring: Wiring, ratio: float | None = None, floor: float = 0.0) -> LinearCircuit:
    """Evidence ridge for every neuron.

    Args:
        grams: from `gram.accumulate`.
        wiring: the graph of the fit.
        ratio: fixed lambda / n_frames (None: evidence and population decide).
        floor: lower bound on lambda / n_frames.
    """
    problems = neuron_problems(grams, wiring)
    if ratio is None:
        ratios = np.maximum(evidence_ratios(problems, grams.n_frames), floor)
    else:
        ratios = np.full(wiring.n_neurons, max(ratio, floor))
    return solve_problems(problems, ratios, grams, wiring)


def solve_problems(
    problems: list[NeuronProblem], ratios: np.ndarray, grams: NeuronGrams, wiring: Wiring
) -> LinearCircuit:
    """The circuit for given strengths lambda / n_frames (N,); ``grams`` gives its frames and messages."""
    n, e = wiring.n_neurons, wiring.n_edges
    per_neuron = {name: np.zeros(n) for name in ("k", "c", "q", "k_stderr", "c_stderr", "rv")}
    per_edge = {name: np.zeros(e) for name in ("theta", "theta_stderr", "weight_stderr", "resolution")}

    def task(i: int) -> None:
        span = slice(wiring.indptr[i], wiring.indptr[i + 1])
        fit = problems[i].solve(ratios[i] * grams.n_frames)
        k = fit.free[0]
        per_neuron["k"][i], per_neuron["c"][i] = fit.free[:2]
        per_neuron["q"][i] = fit.free[2] if grams.has_stimulus[i] else 0.0
        per_neuron["k_stderr"][i], per_neuron["c_stderr"][i] = np.sqrt(np.diag(fit.free_cov)[:2])
        per_neuron["rv"][i] = fit.residual_var
        per_edge["theta"][span] = fit.theta
        per_edge["theta_stderr"][span] = np.sqrt(fit.theta_var)
        per_edge["resolution"][span] = fit.resolution
        with np.errstate(divide="ignore", invalid="ignore"):
            share = fit.theta / k
            variance = fit.theta_var - 2 * share * fit.theta_k_cov + share**2 * fit.free_cov[0, 0]
            per_edge["weight_stderr"][span] = np.sqrt(np.maximum(variance, 0.0)) / abs(k)

    in_parallel(task, n)
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
        **per_edge,
    )


def neuron_problems(grams: NeuronGrams, wiring: Wiring) -> list[NeuronProblem]:
    """The projected, diagonalised equation of every neuron."""
    active = grams.message_std > SILENT_STD
    problems: list[NeuronProblem | None] = [None] * wiring.n_neurons

    def task(i: int) -> None:
        inputs = wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]]
        problems[i] = NeuronProblem.from_gram(grams.grams[i], grams.n_frames, active[inputs])

    in_parallel(task, wiring.n_neurons)
    return [p for p in problems if p is not None]


def evidence_ratios(problems: list[NeuronProblem], n_frames: int) -> np.ndarray:
    """(N,) lambda / n_frames by evidence and population; 1 where no input is active (nothing to shrink)."""
    fed = np.flatnonzero([len(p.s) > 0 for p in problems])
    evidence, variance = np.empty((2, len(fed), len(LOG_RATIOS)))
    lam = n_frames * 10.0**LOG_RATIOS

    def task(row: int) -> None:
        p = problems[fed[row]]
        evidence[row], variance[row] = log_evidence(p.s, p.z**2, p.rss0, p.dof, lam)

    in_parallel(task, len(fed))
    ratios = np.ones(len(problems))
    ratios[fed] = population_ratios(evidence, variance, n_frames)
    return ratios


class Solver(Protocol):
    """Gram matrices in, the circuit out: `solve`, or the same with a prior (`prior.WeightPrior`)."""

    def __call__(self, grams: NeuronGrams, wiring: Wiring, *, floor: float = 0.0) -> LinearCircuit: ...


def fit_circuit(
    frames: Frames,
    wiring: Wiring,
    message: MessageFunction,
    target: str = "observed",
    max_frames: int | None = None,
    on_block: Callable[[int], None] | None = None,
    device: torch.device = CPU,
    solver: Solver = solve,
) -> LinearCircuit:
    """Evidence ridge on a recording, given the message function.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        message: g, maps voltages (T, N) to messages (T, N).
        target: "observed" or "drift".
        max_frames: use at most this many frames, spread evenly (None: all).
        on_block: called with the number of frames done.
        device: where the Gram matrices are computed; they are solved on the CPU.
        solver: what solves them.
    """
    return solver(accumulate(frames, wiring, message, target, max_frames, on_block, device), wiring)
