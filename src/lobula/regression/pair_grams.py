"""Gram matrices of densely connected neurons, assembled from products of all pairs of messages.

Neurons that have most others as inputs share most of their products: for messages h (N, T) and further rows f_m (N, T)
of every neuron (voltage, external input, own terms, target), h h' and h f_m' hold all that their matrices need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lobula.data.wiring import Wiring
from lobula.regression.own_terms import OwnTerms


@dataclass(frozen=True, eq=False)
class PairGrams(Sequence):
    """The Gram matrix of every neuron, put together when asked for.

    Attributes:
        wiring: the graph.
        messages: (N, N) products of messages h_j h_k.
        cross: (M, N, F) products of h_j with row m of fed neuron number f, at [m, j, f]; rows v, 1, I, own terms, y.
        rows: (N, M, M) products of every neuron's rows with each other.
        has_stimulus: (N,) which neurons have the row I.
    """

    wiring: Wiring
    messages: np.ndarray
    cross: np.ndarray
    rows: np.ndarray
    has_stimulus: np.ndarray

    @cached_property
    def number(self) -> np.ndarray:
        """(N,) number of every neuron among those that have inputs."""
        return np.cumsum(self.wiring.in_degree > 0) - 1

    def __len__(self) -> int:
        return self.wiring.n_neurons

    def kept(self, i: int) -> np.ndarray:
        """Rows that neuron i has."""
        every = np.arange(len(self.cross))
        return every if self.has_stimulus[i] else np.delete(every, 2)

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]
        if i >= len(self):
            raise IndexError(i)
        inputs = self.wiring.pre[self.wiring.indptr[i] : self.wiring.indptr[i + 1]]
        kept, d = self.kept(i), len(inputs)
        gram = np.empty((d + len(kept), d + len(kept)))
        gram[:d, :d] = self.messages[np.ix_(inputs, inputs)]
        gram[:d, d:] = self.cross[:, inputs, self.number[i]][kept].T
        gram[d:, :d] = gram[:d, d:].T
        gram[d:, d:] = self.rows[i][np.ix_(kept, kept)]
        return gram


class PairSums:
    """Sums of the products over blocks of frames, in float64.

    Args:
        wiring: the graph.
        device: where they are computed.
        own: terms of every neuron's own voltage.
        n_given: further own terms, whose values `add_rows` is given.
    """

    def __init__(self, wiring: Wiring, device: torch.device, own: OwnTerms, n_given: int = 0) -> None:
        self._wiring, self._device, self._own = wiring, device, own
        n, m = wiring.n_neurons, 4 + own.n_terms + n_given
        self._fed = np.flatnonzero(wiring.in_degree > 0)
        zeros = {"dtype": torch.float64, "device": device}
        self._messages = torch.zeros(n, n, **zeros)
        self._cross = torch.zeros(m, n, len(self._fed), **zeros)
        self._rows = torch.zeros(n, m, m, **zeros)

    def add(self, messages: np.ndarray, voltage: np.ndarray, external: np.ndarray | None, target: np.ndarray) -> None:
        """Adds a block of frames, each (T, N)."""
        self.add_rows(messages, self.rows_of(voltage, external, target), external is not None)

    def add_rows(self, messages: np.ndarray, rows: np.ndarray, has_input: bool) -> None:
        """Adds a block of frames: messages (T, N), and rows (N, M, T) as of `rows_of`."""
        f, h = self._tensor(rows), self._tensor(messages.T.astype(np.float64))
        self._messages.addmm_(h, h.T)
        fed = f[self._fed]
        for m in range(f.shape[1]):
            if m == 1:
                self._cross[m] += h.sum(1)[:, None]
            elif m != 2 or has_input:
                self._cross[m].addmm_(h, fed[:, m].T)
        self._rows += f @ f.transpose(1, 2)

    def rows_of(self, voltage: np.ndarray, external: np.ndarray | None, target: np.ndarray) -> np.ndarray:
        """(N, M, T) rows v, 1, I, own terms, y of every neuron from a block of frames, each (T, N)."""
        v = np.ascontiguousarray(voltage.T, dtype=np.float64)
        e = np.zeros_like(v) if external is None else external.T.astype(np.float64)
        return np.stack([v, np.ones_like(v), e, *self._own(v), target.T.astype(np.float64)], axis=1)

    def grams(self, has_stimulus: np.ndarray) -> PairGrams:
        """The sums so far."""
        messages, cross, rows = (x.cpu().numpy() for x in (self._messages, self._cross, self._rows))
        return PairGrams(self._wiring, messages, cross, rows, has_stimulus)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
