r"""Evidence ridge for all neurons at once where everybody is an input of everybody.

All neurons share the products H = h h' of the messages; they differ in their free columns F_i (leak, offset, input, own
terms) and in whether they are an input of themselves. With the eigenvectors of H, and R = (H + lambda)^{-1} without
row and column i where there is no self-loop, everything is a low-rank change:

.. math:: T_i = [F_i\, y_i]' [F_i\, y_i] - [F_i\, y_i]' h' R\, h\, [F_i\, y_i], \qquad
          b_i = (T_{FF})^{-1} T_{Fy}, \quad \theta_i = R\, h\, (y_i - F_i b_i)

so N neurons cost a few products of (N, N) matrices instead of N decompositions; as R has no row i, products with a
neuron's own message may stay in h. Means are taken off first, which is what a free offset does: a sender that hardly
leaves saturation would else drown in its mean. Reference: Golub & Van Loan (2013), ch. 2.1.4
(Sherman-Morrison-Woodbury).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.linalg import eigh

from lobula.data.wiring import Wiring
from lobula.regression.gram import NeuronGrams
from lobula.regression.pair_grams import PairGrams
from lobula.regression.shrinkage import LOG_RATIOS, population_ratios

OFFSET = 1
"""Row of the constant in `PairGrams`."""
ROUNDING = 1e-13
"""Eigenvalues below this share of the largest are rounding."""
JITTER = 1e-14
MOST_ASKED = 128
SOLVED_AT_ONCE = 1000
"""Neurons: bounds the memory that a solution takes on the way."""
LEAST_MISFIT = 1e-15
"""Of the target's sum of squares: a residual below is rounding."""


@dataclass(frozen=True, eq=False)
class DenseFit:
    """Solutions of M neurons.

    Attributes:
        free: (M, F) coefficients of the free columns.
        free_cov: (M, F, F) their posterior covariance.
        theta: (M, L) coefficients of the messages of `DenseProblem.live`, row postsynaptic.
        theta_var: (M, L) their posterior variances.
        theta_k_cov: (M, L) their covariances with the first free coefficient.
        resolution: (M, L).
        residual_var: (M,).
    """

    free: np.ndarray
    free_cov: np.ndarray
    theta: np.ndarray
    theta_var: np.ndarray
    theta_k_cov: np.ndarray
    resolution: np.ndarray
    residual_var: np.ndarray


def is_dense(wiring: Wiring, grams: NeuronGrams, active: np.ndarray) -> bool:
    """Whether `solve_dense` applies: every neuron that has inputs has all active ones, itself perhaps excepted."""
    if not isinstance(grams.grams, PairGrams) or len(np.unique(grams.has_stimulus)) > 1:
        return False
    n_active = int(active.sum())
    if n_active == 0:  # nothing to decompose
        return False
    has_self = np.zeros(wiring.n_neurons, dtype=bool)
    has_self[wiring.post[wiring.pre == wiring.post]] = True
    live = np.bincount(wiring.post[active[wiring.pre]], minlength=wiring.n_neurons)
    fed = wiring.in_degree > 0
    expected = n_active - (active & ~has_self)
    return bool(fed.any() and (live[fed] == expected[fed]).all())


class DenseProblem:
    """All neurons' equations in the eigenvectors of the products of their messages.

    Args:
        grams: from `gram.accumulate`, of all pairs.
        wiring: the graph, for which `is_dense` holds.
        active: (N,) bool, sources whose message varies; the others get weight 0 and infinite uncertainty.
    """

    def __init__(self, grams: NeuronGrams, wiring: Wiring, active: np.ndarray) -> None:
        pairs = cast(PairGrams, grams.grams)
        self.fed = np.flatnonzero(wiring.in_degree > 0)
        self.live = np.flatnonzero(active)
        self.redundancy = np.ones(len(self.fed))
        kept = pairs.kept(int(self.fed[0]))
        self.n_frames, self.dof = grams.n_frames, max(grams.n_frames - len(kept) + 1, 1)
        kept = np.delete(kept, OFFSET)
        self.mean = pairs.rows[self.fed][:, OFFSET, kept] / self.n_frames
        self.rows = pairs.rows[self.fed][:, kept][:, :, kept]
        before = np.einsum("mff->mf", self.rows).copy()
        self.rows -= self.n_frames * self.mean[:, :, None] * self.mean[:, None, :]
        self.still = np.einsum("mff->mf", self.rows)[:, :-1] <= ROUNDING * before[:, :-1]
        message = pairs.cross[OFFSET][self.live, 0] / self.n_frames
        matrix = pairs.messages[np.ix_(self.live, self.live)] - self.n_frames * np.outer(message, message)
        s, self.vectors = eigh(matrix, overwrite_a=True, check_finite=False)
        null = s < ROUNDING * s[-1]
        self.s, self.message_mean = np.where(null, 0.0, s), self.vectors.T @ message
        position = np.full(wiring.n_neurons, -1)
        position[self.live] = np.arange(len(self.live))
        loops = np.zeros(wiring.n_neurons, dtype=bool)
        loops[wiring.post[wiring.pre == wiring.post]] = True
        self.own = np.where(loops, -1, position)[self.fed]
        self.without = np.flatnonzero(self.own >= 0)
        self.own_vector = np.zeros((len(self.live), len(self.fed)))
        self.own_vector[:, self.without] = self.vectors[self.own[self.without]].T
        self.cross = np.empty((len(kept), len(self.live), len(self.fed)))
        for row, rotated in zip(kept, self.cross, strict=True):
            centred = pairs.cross[row][self.live] - self.n_frames * np.outer(message, self.mean[:, row == kept])
            np.matmul(self.vectors.T, centred, out=rotated)
            rotated[null] = 0.0

    def ratios(self) -> np.ndarray:
        """(M,) lambda / n_frames by evidence and population; of many neurons, some speak for all: they are alike."""
        m = len(self.fed)
        asked = np.unique(np.linspace(0, m - 1, min(m, MOST_ASKED)).astype(int))
        found = population_ratios(*self.evidence(asked), self.n_frames, self.redundancy[asked])
        ratios = np.full(m, np.exp(np.log(found).mean()))
        ratios[asked] = found
        return ratios

    def reduced(
        self, lam: np.ndarray, chosen: np.ndarray | slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """T (M, F+1, F+1) for strengths lambda (M,), with (H + lambda)^-1 in eigenvectors (L, M), its elements (i, i)
        (M,) and, at i, its products with the columns (F+1, M); of all neurons, or some."""
        inverse = 1.0 / (self.s[:, None] + lam)
        own, cross = self.own_vector[:, chosen], self.cross[:, :, chosen]
        diagonal = np.where(self.own[chosen] >= 0, np.einsum("lm,lm,lm->m", own, inverse, own), 1.0)
        weighted = cross * inverse
        at_own = np.einsum("flm,lm->fm", weighted, own)
        table = self.rows[chosen] - np.einsum("flm,glm->mfg", weighted, cross)
        table += np.einsum("fm,gm->mfg", at_own, at_own / diagonal)
        every = np.arange(table.shape[1] - 1)
        size = self.rows[chosen][:, every, every]
        still = self.still[chosen]  # a voltage may be constant, an own term saturated, or an input nil
        table[:, every, every] += np.where(still, self.n_frames, JITTER * size)
        return table, inverse, diagonal, at_own

    def evidence(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(C, G) log evidence and residual variance over `LOG_RATIOS`, as `shrinkage.log_evidence` of some neurons."""
        found = np.empty((2, len(chosen), len(LOG_RATIOS)))
        size = len(self.s) - (self.own[chosen] >= 0)
        total = np.maximum(self.rows[chosen, -1, -1], 1e-300)
        for g, ratio in enumerate(10.0**LOG_RATIOS):
            lam = np.full(len(chosen), ratio * self.n_frames)
            table, _, diagonal, _ = self.reduced(lam, chosen)
            free = table[:, :-1, :-1]
            gain = np.linalg.solve(free, table[:, :-1, -1:])[..., 0]
            rss = table[:, -1, -1] - np.einsum("mf,mf->m", gain, table[:, :-1, -1])
            rss = np.maximum(rss, LEAST_MISFIT * total)
            log_det = np.log(self.s + lam[0]).sum() + np.log(diagonal) - size * np.log(lam)
            log_det += np.linalg.slogdet(free)[1]
            found[:, :, g] = -0.5 * log_det - 0.5 * self.dof / self.redundancy[chosen] * np.log(rss), rss / self.dof
        return found[0], found[1]

    def solve(self, ratios: np.ndarray) -> Iterator[tuple[slice, DenseFit]]:
        """Solutions for strengths lambda / n_frames (M,) of the neurons that have inputs, some of them at a time.

        What lies between takes several times the memory of a solution.

        Yields:
            Which of `fed`, and their solutions.
        """
        for start in range(0, len(self.fed), SOLVED_AT_ONCE):
            chosen = slice(start, min(start + SOLVED_AT_ONCE, len(self.fed)))
            yield chosen, self._solve_some(ratios[chosen], chosen)

    def _solve_some(self, ratios: np.ndarray, chosen: slice) -> DenseFit:
        lam = ratios * self.n_frames
        table, inverse, diagonal, at_own = self.reduced(lam, chosen)
        free_inverse = np.linalg.inv(table[:, :-1, :-1])
        gain = np.einsum("mfg,mg->mf", free_inverse, table[:, :-1, -1])
        rss = table[:, -1, -1] - np.einsum("mf,mf->m", gain, table[:, :-1, -1])
        variance = np.maximum(rss, 0.0) / self.dof
        beside = self.vectors @ (inverse * self.own_vector[:, chosen])
        columns = np.stack([self.vectors @ (c * inverse) for c in self.cross[:, :, chosen]])
        columns -= beside * (at_own / diagonal)[:, None]
        theta = columns[-1] - np.einsum("flm,mf->lm", columns[:-1], gain)
        solved = np.einsum("flm,mfg->glm", columns[:-1], free_inverse)
        own_inverse = (self.vectors**2) @ inverse - beside**2 / diagonal
        own_inverse += np.einsum("flm,flm->lm", solved, columns[:-1])
        own_inverse = np.maximum(own_inverse, 0.0)
        without = np.flatnonzero(self.own[chosen] >= 0)
        for array in (theta, own_inverse, solved):
            array[..., self.own[chosen][without], without] = 0.0
        gain, free_cov = self._with_offset(chosen, gain, free_inverse, theta, columns[:-1], inverse, diagonal)
        noise = variance * self.redundancy[chosen]
        return DenseFit(
            free=gain,
            free_cov=noise[:, None, None] * free_cov,
            theta=theta.T,
            theta_var=(noise * own_inverse).T,
            theta_k_cov=(-noise * solved[0]).T,
            resolution=np.clip(1.0 - lam * own_inverse, 0.0, 1.0).T,
            residual_var=variance,
        )

    def _with_offset(
        self,
        chosen: slice,
        gain: np.ndarray,
        covariance: np.ndarray,
        theta: np.ndarray,
        columns: np.ndarray,
        inverse: np.ndarray,
        diagonal: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Free coefficients (M, F + 1) and covariances, in units of the noise, with the offset that the means leave.

        Args:
            chosen: which neurons.
            gain: (M, F) coefficients of the other free columns.
            covariance: (M, F, F) theirs.
            theta: (L, M) coefficients of the messages.
            columns: (F, L, M) those of regressing the free columns on the messages.
            inverse: (L, M) of `reduced`.
            diagonal: (M,) of `reduced`.
        """
        message, mean = self.vectors @ self.message_mean, self.mean[chosen]
        offset = mean[:, -1] - np.einsum("mf,mf->m", gain, mean[:, :-1]) - message @ theta
        at_own = np.einsum("l,lm,lm->m", self.message_mean, self.own_vector[:, chosen], inverse)
        left = self.message_mean**2 @ inverse - at_own**2 / diagonal
        beside = mean[:, :-1] - np.einsum("l,flm->mf", message, columns)
        solved = np.einsum("mfg,mg->mf", covariance, beside)
        whole = np.empty((len(gain), gain.shape[1] + 1, gain.shape[1] + 1))
        others = np.delete(np.arange(whole.shape[1]), OFFSET)
        whole[:, others[:, None], others] = covariance
        whole[:, OFFSET, others] = whole[:, others, OFFSET] = -solved
        whole[:, OFFSET, OFFSET] = 1.0 / self.n_frames + left + np.einsum("mf,mf->m", beside, solved)
        return np.insert(gain, OFFSET, offset, axis=1), whole
