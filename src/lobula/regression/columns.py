"""The regressors of every neuron in groups that share a mean, and the equations about such means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lobula.regression.equation import NeuronProblem, equations
from lobula.regression.threads import in_parallel

EXPLAINED = 1e-13
"""Share of the target's square that is rounding: means may explain all the rest, deviations not less than nothing."""


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
class Columns:
    """The regressors of every neuron, each of one group: its edges, or the sums of its edges of one group.

    Attributes:
        grams: N arrays of products ``[regressors, v, 1, (I), y]``.
        indptr: (N + 1,) the regressors of neuron i are indptr[i]:indptr[i + 1].
        group: (M,) group of every regressor.
        live: (M,) bool, whether it varies.
        n_frames: frames of the products.
    """

    grams: Sequence[np.ndarray]
    indptr: np.ndarray
    group: np.ndarray
    live: np.ndarray
    n_frames: int

    def span(self, i: int) -> slice:
        """Places of the regressors of neuron i."""
        return slice(int(self.indptr[i]), int(self.indptr[i + 1]))

    def summed(self) -> "Columns":
        """Those of one group and neuron added up: what is left of them where a group has one weight."""
        n = len(self.grams)
        neuron = np.repeat(np.arange(n), np.diff(self.indptr))
        pairs, place = np.unique(np.stack([neuron, self.group]), axis=1, return_inverse=True)
        place = place.reshape(-1)
        indptr = np.searchsorted(pairs[0], np.arange(n + 1))
        live = np.bincount(place, self.live, pairs.shape[1]) > 0
        grams: list[np.ndarray] = [np.zeros(0)] * n

        def task(i: int) -> None:
            own, d = self.span(i), int(indptr[i + 1] - indptr[i])
            rest = len(self.grams[i]) - (own.stop - own.start)
            add = np.zeros((d + rest, len(self.grams[i])))
            add[place[own] - indptr[i], np.arange(own.stop - own.start)] = 1.0
            add[d:, own.stop - own.start :] = np.eye(rest)
            grams[i] = add @ self.grams[i] @ add.T

        in_parallel(task, n)
        return Columns(grams, indptr, pairs[1], live, self.n_frames)

    def gram_about(self, i: int, mean: np.ndarray) -> np.ndarray:
        """The products of neuron i with v less its regressors times their means (M,) in place of v."""
        own, gram = self.span(i), self.grams[i].copy()
        d = own.stop - own.start
        gram[d] -= mean[own] @ gram[:d]
        gram[:, d] -= gram[:, :d] @ mean[own]
        return gram

    def problems(
        self, value: np.ndarray, neurons: np.ndarray | None = None, known: list[NeuronProblem] | None = None
    ) -> list[NeuronProblem]:
        """The equations about means (G,), of all neurons, or of some with the others as they are known."""
        chosen = np.arange(len(self.grams)) if neurons is None else neurons
        found: list[NeuronProblem | None] = [None] * len(self.grams) if known is None else [*known]
        mean = value[self.group]

        def task(row: int) -> None:
            i = int(chosen[row])
            gram = self.gram_about(i, mean)
            problem = equations(gram[None], self.n_frames, self.live[self.span(i)])[0]
            found[i] = replace(problem, rss0=max(problem.rss0, EXPLAINED * float(gram[-1, -1])))

        in_parallel(task, len(chosen))
        return [problem for problem in found if problem is not None]
