"""The Gram matrices of `gram`, computed on a GPU: neurons of like in-degree go through one batched product."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lobula.data.wiring import Wiring

WIDTH_STEP = 16
"""In-degrees are padded to a multiple of this."""
PRODUCT_BYTES = 1 << 29
"""Bound on the rows that one product gathers."""
N_OWN = 4
"""Rows that belong to the neuron itself: v, 1, I, y."""


@dataclass
class _Bucket:
    """Neurons whose in-degree is padded to one width.

    Attributes:
        neurons: (M,) numbers.
        sources: (M, width) which message each input carries; the number after the last stands for none.
        products: (M, width + 4, width + 4) float64 sums so far.
    """

    neurons: Tensor
    sources: Tensor
    products: Tensor


class DeviceGrams:
    """Sums of products of every neuron, block by block of frames.

    Args:
        wiring: the known graph.
        device: where the products are computed; double precision.
        columns: (E,) which message every edge carries, by default its source's.
    """

    def __init__(self, wiring: Wiring, device: torch.device, columns: np.ndarray | None = None) -> None:
        self.wiring, self.device = wiring, device
        self._columns = wiring.pre if columns is None else columns
        self._none = int(self._columns.max(initial=-1)) + 1
        widths = -(-np.maximum(wiring.in_degree, 1) // WIDTH_STEP) * WIDTH_STEP
        self._buckets = [self._bucket(np.flatnonzero(widths == width), int(width)) for width in np.unique(widths)]

    def _bucket(self, neurons: np.ndarray, width: int) -> _Bucket:
        sources = np.full((len(neurons), width), self._none)
        for row, i in enumerate(neurons):
            inputs = self._columns[self.wiring.indptr[i] : self.wiring.indptr[i + 1]]
            sources[row, : len(inputs)] = inputs
        size = width + N_OWN
        products = torch.zeros(len(neurons), size, size, dtype=torch.float64, device=self.device)
        return _Bucket(self._on_device(neurons), self._on_device(sources), products)

    def add(self, messages: np.ndarray, voltage: np.ndarray, external: np.ndarray | None, target: np.ndarray) -> None:
        """Adds a block of frames, each argument (T, N)."""
        padded = np.concatenate([messages.T[: self._none], np.zeros((1, len(messages)))])
        h, v, y = (self._on_device(x).double() for x in (padded, voltage.T, target.T))
        e = torch.zeros_like(v) if external is None else self._on_device(external.T).double()
        own = torch.stack([v, torch.ones_like(v), e, y], dim=1)
        for bucket in self._buckets:
            most = max(1, PRODUCT_BYTES // (8 * bucket.products.shape[1] * v.shape[1]))
            for low in range(0, len(bucket.neurons), most):
                part = slice(low, low + most)
                rows = torch.cat([h[bucket.sources[part]], own[bucket.neurons[part]]], dim=1)
                bucket.products[part].baddbmm_(rows, rows.transpose(1, 2))

    def _on_device(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=self.device)

    def grams(self, has_stimulus: np.ndarray) -> list[np.ndarray]:
        """The (p_i, p_i) matrix of every neuron; rows ``[messages, v, 1, (I), y]``, I where ``has_stimulus`` (N,)."""
        found: list[np.ndarray] = [np.zeros(0)] * self.wiring.n_neurons
        for bucket in self._buckets:
            products, width = bucket.products.cpu().numpy(), bucket.sources.shape[1]
            for row, i in enumerate(bucket.neurons.tolist()):
                own = [width, width + 1, *([width + 2] if has_stimulus[i] else []), width + 3]
                keep = np.r_[: self.wiring.in_degree[i], own].astype(int)
                found[i] = products[row][np.ix_(keep, keep)]
        return found
