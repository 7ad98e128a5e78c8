r"""The message function where targets are noisy and equations have many inputs: steps uphill in the evidence.

There the residual of a curve's best weights does not tell whether the curve is right: a curve that makes the messages
less alike leaves less, because the weights then fit more of the noise. The evidence, with the weights integrated out,
does tell. Its slope is that of the log likelihood, in the mean over the posterior of the weights (Fisher's identity),

.. math:: \frac{d \log p(y_i)}{dg} = \frac{1}{\sigma_i^2} \big( M(\hat\theta_i)^T r_i
          - \langle M(\delta_i)^T D_i \delta_i \rangle \big),
          \qquad M(\theta)_{tk} = \sum_j \theta_j \phi_k(v_j(t))

with delta_i drawn from the posterior around its mean, the columns D_i of equation i and its residual r_i. The first
term is that of `curve_step`. Reference: Dempster, Laird & Rubin (1977); MacKay (1992), Bayesian interpolation.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from lobula.data.kept_steps import KeptSteps
from lobula.data.wiring import Wiring
from lobula.regression.circuit import LinearCircuit
from lobula.regression.curve import Curve, basis_of
from lobula.regression.curve_step import (
    SHORTEST,
    bounded_step,
    inverse_variances,
    misfit,
    settle_gauge,
    shrunk,
    weighted_normal,
)
from lobula.regression.dense_curve import basis_grams, equations_of
from lobula.regression.gram import Frames, NeuronGrams, accumulate, block_arrays, frame_blocks, pairs_are_cheaper
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import Solver, solve
from lobula.regression.threads import in_parallel

logger = logging.getLogger(__name__)

NOISY = 0.01
"""Share of a target's variance that is left, from which on it is noise, not the error of a curve."""
INPUTS_PER_FRAME = 0.02
"""With fewer, the weights have no room for noise."""
LEAST_EQUATIONS = 100
"""Noise is averaged over many."""
DRAWS = 4000
"""Draws from the posterior, of all equations together."""
TOLERANCE = 5e-6
"""Of the score, -2 log evidence per frame and equation."""


@dataclass(frozen=True, eq=False)
class CurveProblem:
    """What determines a message function that all neurons share.

    Attributes:
        frames: a split of a recording.
        wiring: the graph, of the equations that count.
        target: "observed" or "drift".
        n_frames: frames of a round, spread evenly.
        own: terms of every neuron's own voltage.
        monotone: whether g does not decrease.
    """

    frames: Frames
    wiring: Wiring
    target: str
    n_frames: int
    own: OwnTerms
    monotone: bool

    @cached_property
    def fed(self) -> np.ndarray:
        """(Q,) neurons that have inputs."""
        return np.flatnonzero(self.wiring.in_degree > 0)

    def residual_misleads(self, solved: Callable[[], LinearCircuit]) -> bool:
        """Whether the curve has to be found by the evidence: noise, and many inputs for so many frames.

        Args:
            solved: the circuit for the best curve by its residual.
        """
        inputs = self.wiring.in_degree[self.fed].mean()
        if not pairs_are_cheaper(self.wiring, self.own) or inputs < INPUTS_PER_FRAME * self.n_frames:
            return False
        spans = frame_blocks(self.frames, self.target, self.n_frames)
        targets = [self.frames.target(self.target, span.start, span.stop)[::10, self.fed] for span in spans]
        variance = np.maximum(np.concatenate(targets).var(0), 1e-30)
        return bool(np.median(solved().residual_std[self.fed] ** 2 / variance) > NOISY)

    def step(self, curve: Curve, solver: Solver = solve) -> tuple[np.ndarray, float]:
        """(K,) step of the knot values uphill in the evidence, and the curve's score: -2 log evidence per frame and
        equation, up to a constant."""
        wiring, fed = self.wiring, self.fed
        grams = accumulate(self.frames, wiring, curve, self.target, self.n_frames, own=self.own)
        circuit, has_stimulus, n_frames = solver(grams, wiring), grams.has_stimulus, grams.n_frames
        draws, log_det = posterior_draws(grams, circuit, wiring, fed, -(-DRAWS // len(fed)))
        del grams
        slope = self._slope_of_draws(curve, draws, inverse_variances(circuit, fed), has_stimulus)
        products = basis_grams(self.frames, wiring, curve, circuit.theta, self.target, self.n_frames, self.own)
        normal, rhs = weighted_normal(products, curve.size, circuit, wiring, fed)
        score = misfit(circuit, fed) + float(log_det.mean()) / n_frames
        return bounded_step(normal, rhs - slope, [curve], self.monotone), score

    def _slope_of_draws(
        self, curve: Curve, draws: list[np.ndarray], weights: np.ndarray, has_stimulus: np.ndarray
    ) -> np.ndarray:
        """Mean of M'D delta (K,) over the draws, summed over equations by their weights (Q,)."""
        wiring, fed, n_draws, k_own = self.wiring, self.fed, len(draws[0]), self.own.n_terms
        theta, rest = np.zeros((n_draws, wiring.n_edges)), np.zeros((n_draws, len(fed), 3 + k_own))
        for row, (i, of) in enumerate(zip(fed, draws, strict=True)):
            edges = slice(wiring.indptr[i], wiring.indptr[i + 1])
            theta[:, edges], others = np.split(of, [edges.stop - edges.start], axis=1)
            rest[:, row, np.r_[:2, 3 - int(has_stimulus[i]) : 3 + k_own]] = others
        coefficients = np.concatenate([equations_of(wiring, row) for row in theta], axis=1)  # (N, D Q)
        slope, basis, weights = np.zeros(curve.size), basis_of(curve), np.tile(weights, n_draws) / n_draws
        for span in frame_blocks(self.frames, self.target, self.n_frames):
            voltage, external, _ = block_arrays(self.frames, wiring, self.target, span)
            v = voltage.T.astype(np.float64)
            e = np.zeros_like(v) if external is None else external.T
            rows = np.stack([v, np.ones_like(v), e, *self.own(v)])[:, fed]  # (R, Q, T)
            change = curve(voltage) @ coefficients + np.einsum("dqr,rqt->tdq", rest, rows).reshape(len(voltage), -1)
            slope += basis.total(voltage, (change * weights) @ coefficients.T)
        return slope


def evidence_curve(
    problem: CurveProblem,
    starts: list[Curve],
    sample: np.ndarray,
    n_rounds: int,
    steps: KeptSteps,
    first_round: int,
) -> tuple[Curve, list[dict[str, float]]]:
    """The curve of greatest evidence, by steps from the best of ``starts``, shortened where they do not help.

    Args:
        problem: what determines it.
        starts: curves to start from; the knots of the first are those of all.
        sample: (S,) voltages of the recording.
        n_rounds: most rounds.
        steps: keeps and shows rounds.
        first_round: number of the first.

    Returns:
        The curve, and one row per round: its number, number of knots, score.
    """
    rows: list[dict[str, float]] = []

    def stepped(curve: Curve) -> tuple[float, Curve]:
        *step, score = steps.once(lambda now: np.append(*problem.step(now)), curve).tolist()
        rows.append({"round": first_round + len(rows), "n_knots": curve.size, "evidence": score})
        steps.on_round(first_round + len(rows) - 1, score)
        return score, settle_gauge(curve.with_values(curve.values + np.array(step)), sample)

    tried = [(*stepped(start), start) for start in (one.resampled(starts[0].knots) for one in starts)]
    best_score, after, best = min(tried, key=lambda one: one[0])
    first_score, step, direction = best_score, 1.0, after.values - best.values
    for _ in range(n_rounds - len(starts)):
        curve = best.with_values(best.values + step * direction)
        score, after = stepped(curve)
        if abs(score - best_score) < TOLERANCE:
            break
        if score > best_score:
            if step <= SHORTEST:
                break
            step *= 0.3
            continue
        best, best_score, step, direction = curve, score, 1.0, after.values - curve.values
    logger.info("targets are noisy: message function by evidence, score %.6f -> %.6f", first_score, best_score)
    return best, rows


def posterior_draws(
    grams: NeuronGrams, circuit: LinearCircuit, wiring: Wiring, neurons: np.ndarray, n_draws: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Draws of the coefficients from their posterior, around its mean, and the log determinant of its precision,
    in units of lambda and the noise.

    Args:
        grams: products of ``[messages, v, 1, (I), (own terms), y]`` of every neuron.
        circuit: their solution.
        wiring: its graph.
        neurons: (Q,) which equations.
        n_draws: D of every equation.

    Returns:
        Per equation (D, p), coefficients of ``[messages, v, 1, (I), (own terms)]`` [1/s], and (Q,) determinants.
    """
    size = int(wiring.in_degree[neurons].max()) + 3 + grams.n_own
    directions = random_directions(len(neurons) * n_draws, size).reshape(len(neurons), n_draws, size)
    draws, log_det = [np.zeros(0)] * len(neurons), np.zeros(len(neurons))

    def task(row: int) -> None:
        i = int(neurons[row])
        matrix, strength = shrunk(grams.grams[i][:-1, :-1], circuit, i, wiring)
        factor, d = cholesky(matrix, lower=True), int(wiring.in_degree[i])
        found = solve_triangular(factor, directions[row, :, : len(matrix)].T, lower=True, trans="T")
        draws[row] = circuit.residual_std[i] * found.T
        log_det[row] = 2 * np.log(np.diag(factor)).sum() - d * np.log(strength)

    in_parallel(task, len(neurons))
    return draws, log_det


def random_directions(n: int, size: int) -> np.ndarray:
    """(n, size) random vectors of length sqrt(size), orthogonal as far as there is room: the mean of their products
    with a matrix scatters less than that of independent ones."""
    generator = np.random.default_rng(0)
    blocks = [np.linalg.qr(generator.standard_normal((size, min(size, n - start))))[0].T for start in range(0, n, size)]
    return np.sqrt(size) * np.concatenate(blocks)
