"""The wiring of a circuit: who connects to whom, and which neuron sees which stimulus column."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse
import zarr

from lobula.data.wiring_checks import (
    are_sorted,
    checked_columns,
    checked_count,
    checked_edges,
    checked_ids,
    refuse_duplicates,
)
from lobula.data.zarr_format import create_static, read_static
from lobula.errors import ShapeError, StoreError

DENSE_EDGES, DENSE_FILL = 2**16, 1 / 8
"""From this number and this share of all pairs on, a store holds one bit per pair in place of a list of edges."""


@dataclass(frozen=True, eq=False)
class Wiring:
    """What an experimenter knows about a circuit: its directed graph, without any strength.

    Build one with `Wiring.from_edges`, which validates and sorts. All arrays are read-only.

    Attributes:
        edge_index: (2, E) int64, row 0 presynaptic, row 1 postsynaptic, sorted by (post, pre).
        n_neurons: number of neurons N.
        stimulus_column: (N,) int64, the stimulus column that a neuron receives, -1 for none; None where the
            stimulus is given per neuron or is absent.
        neuron_ids: (N,) the experimenter's ids, integers or strings.
        edge_order: (E,) int64, ``edge_index == input_edge_index[:, edge_order]``: reorders a per-edge array
            that came with the input into the order of this wiring.
        n_columns: number of stimulus columns H; 0 where `stimulus_column` is None.
    """

    edge_index: np.ndarray
    n_neurons: int
    stimulus_column: np.ndarray | None
    neuron_ids: np.ndarray
    edge_order: np.ndarray
    n_columns: int = field(default=0)

    @classmethod
    def all_pairs(cls, n_neurons: int, like: "Wiring | None" = None) -> "Wiring":
        """Every neuron with every other one, none with itself: where the graph is not known.

        Args:
            n_neurons: number of neurons N.
            like: whose ids and stimulus columns to take over.
        """
        post, pre = np.nonzero(~np.eye(checked_count(n_neurons), dtype=bool))
        edges = np.stack([pre, post])
        if like is None:
            return cls.from_edges(edges, n_neurons)
        return cls.from_edges(edges, n_neurons, like.stimulus_column, like.neuron_ids, like.n_columns or None)

    @classmethod
    def from_edges(
        cls,
        edge_index: np.ndarray,
        n_neurons: int,
        stimulus_column: np.ndarray | None = None,
        neuron_ids: np.ndarray | None = None,
        n_columns: int | None = None,
    ) -> "Wiring":
        """Validate and sort a list of edges.

        Args:
            edge_index: (2, E) integers, row 0 presynaptic, row 1 postsynaptic, in any order.
            n_neurons: number of neurons N; every edge lies in 0..N-1.
            stimulus_column: (N,) integers, column of each neuron, -1 for none.
            neuron_ids: (N,) distinct integers or strings; default 0..N-1.
            n_columns: number of stimulus columns; default is the largest column + 1.

        Returns:
            The wiring.

        Raises:
            ShapeError: if a shape or dtype is wrong, or an id appears twice.
            EdgeError: if an edge points outside the neurons or appears twice.
        """
        n_neurons = checked_count(n_neurons)
        edges = checked_edges(edge_index, n_neurons)
        if are_sorted(edges, n_neurons):  # saves minutes and gigabytes where all pairs of 8,000 neurons are connected
            order = np.arange(edges.shape[1])
        else:
            order = np.lexsort((edges[0], edges[1]))
            edges = np.ascontiguousarray(edges[:, order])
            refuse_duplicates(edges)
        columns, n_columns = checked_columns(stimulus_column, n_neurons, n_columns)
        return cls(
            edge_index=_frozen(edges),
            n_neurons=n_neurons,
            stimulus_column=None if columns is None else _frozen(columns),
            neuron_ids=_frozen(checked_ids(neuron_ids, n_neurons)),
            edge_order=_frozen(order.astype(np.int64, copy=False)),
            n_columns=n_columns,
        )

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return self.edge_index.shape[1]

    @property
    def pre(self) -> np.ndarray:
        """(E,) presynaptic neuron of every edge."""
        return self.edge_index[0]

    @property
    def post(self) -> np.ndarray:
        """(E,) postsynaptic neuron of every edge."""
        return self.edge_index[1]

    @cached_property
    def in_degree(self) -> np.ndarray:
        """(N,) number of edges into every neuron."""
        return _frozen(np.bincount(self.post, minlength=self.n_neurons))

    @cached_property
    def stimulated(self) -> np.ndarray:
        """(N,) bool: which neurons receive the external input, all where there are no columns."""
        if self.stimulus_column is None:
            return _frozen(np.ones(self.n_neurons, dtype=bool))
        return _frozen(self.stimulus_column >= 0)

    @cached_property
    def out_degree(self) -> np.ndarray:
        """(N,) number of edges out of every neuron."""
        return _frozen(np.bincount(self.pre, minlength=self.n_neurons))

    @cached_property
    def indptr(self) -> np.ndarray:
        """(N + 1,) the edges into neuron i are indptr[i]:indptr[i + 1]."""
        return _frozen(_row_pointer(self.in_degree))

    @cached_property
    def transpose(self) -> tuple[np.ndarray, np.ndarray]:
        """The edges by source: perm (E,) and indptr_out (N + 1,).

        ``edge_index[:, perm]`` is sorted by (pre, post), and the edges out of neuron j are
        ``perm[indptr_out[j]:indptr_out[j + 1]]``.
        """
        perm = np.lexsort((self.post, self.pre)).astype(np.int64)
        return _frozen(perm), _frozen(_row_pointer(self.out_degree))

    def csr(self, values: np.ndarray) -> scipy.sparse.csr_matrix:
        """The (N, N) sparse matrix, rows postsynaptic, with one value per edge.

        Args:
            values: (E,) in the order of `edge_index`.

        Returns:
            Matrix A with A[post, pre] = value, so that ``A @ h`` sums over the sources. Explicit zeros are kept.

        Raises:
            ShapeError: if there is not exactly one value per edge.
        """
        values = np.asarray(values)
        if values.shape != (self.n_edges,):
            raise ShapeError(f"values: got shape {values.shape}, expected ({self.n_edges},), one value per edge")
        index_dtype = np.int32 if max(self.n_edges, self.n_neurons) < 2**31 else np.int64
        indices, indptr = self.pre.astype(index_dtype), self.indptr.astype(index_dtype)
        return scipy.sparse.csr_matrix((values, indices, indptr), shape=(self.n_neurons, self.n_neurons))

    def spread(self, stimulus: np.ndarray) -> np.ndarray:
        """Per-neuron external input from a stimulus per column or per neuron.

        Args:
            stimulus: (T, H) where the wiring has columns, or (T, N); a single frame (H,) or (N,) is fine too.

        Returns:
            (T, N) in the dtype of the stimulus, 0 where a neuron receives nothing.

        Raises:
            ShapeError: if the last axis is neither the columns nor the neurons.
        """
        stimulus = np.asarray(stimulus)
        width = stimulus.shape[-1] if stimulus.ndim in (1, 2) else None
        if self.stimulus_column is not None and width == self.n_columns:
            spread = np.zeros((*stimulus.shape[:-1], self.n_neurons), dtype=stimulus.dtype)
            driven = self.driven
            spread[..., driven] = stimulus[..., self.stimulus_column[driven]]
            return spread
        if width == self.n_neurons:
            return stimulus
        columns = f"(T, {self.n_columns}) per column or " if self.stimulus_column is not None else ""
        raise ShapeError(f"stimulus: got shape {stimulus.shape}, expected {columns}(T, {self.n_neurons}) per neuron")

    @property
    def connected(self) -> np.ndarray:
        """(N, N) bool, whether there is an edge; rows postsynaptic."""
        connected = np.zeros((self.n_neurons, self.n_neurons), dtype=bool)
        connected[self.post, self.pre] = True
        return connected

    @cached_property
    def driven(self) -> np.ndarray:
        """(n_driven,) neurons that receive a stimulus column; empty where the wiring has none."""
        if self.stimulus_column is None:
            return _frozen(np.zeros(0, dtype=np.int64))
        return _frozen(np.flatnonzero(self.stimulus_column >= 0))

    def relabel(self, perm: np.ndarray) -> "Wiring":
        """The same circuit with its neurons in another order.

        Args:
            perm: (N,) permutation; neuron i of the result is neuron perm[i] of this wiring.

        Returns:
            A wiring whose `edge_order` reorders per-edge arrays of this wiring.

        Raises:
            ShapeError: if `perm` is not a permutation of the neurons.
        """
        perm = np.asarray(perm)
        if perm.shape != (self.n_neurons,) or not np.array_equal(np.sort(perm), np.arange(self.n_neurons)):
            raise ShapeError(f"perm: got shape {perm.shape}, expected a permutation of {self.n_neurons} neurons")
        return self.subset(perm)

    def subset(self, neurons: np.ndarray) -> "Wiring":
        """The wiring among some of the neurons.

        Args:
            neurons: (M,) distinct neuron indices; neuron i of the result is neurons[i].

        Returns:
            A wiring whose `edge_order` picks the kept edges from per-edge arrays of this wiring.

        Raises:
            ShapeError: if `neurons` are not distinct indices of this wiring.
        """
        neurons = np.asarray(neurons)
        valid = neurons.ndim == 1 and np.issubdtype(neurons.dtype, np.integer)
        valid = valid and (neurons.size == 0 or (neurons.min() >= 0 and neurons.max() < self.n_neurons))
        if not valid or np.unique(neurons).size != neurons.size:
            raise ShapeError(f"neurons: expected distinct integers in 0..{self.n_neurons - 1}, one axis")
        position = np.full(self.n_neurons, -1, dtype=np.int64)
        position[neurons] = np.arange(neurons.size)
        mapped = position[self.edge_index]
        kept = np.flatnonzero((mapped >= 0).all(axis=0))
        columns = None if self.stimulus_column is None else self.stimulus_column[neurons]
        ids, n_columns = self.neuron_ids[neurons], self.n_columns if columns is not None else None
        wiring = Wiring.from_edges(mapped[:, kept], neurons.size, columns, ids, n_columns)
        return replace(wiring, edge_order=_frozen(kept[wiring.edge_order]))

    def save(self, group: zarr.Group) -> None:
        """Write the wiring into an empty zarr group (`edge_index`, `stimulus_column`, `neuron_ids`).

        Where most pairs are connected, one bit per pair (`connected`) stands for the edges.
        """
        if self.n_edges >= max(DENSE_EDGES, DENSE_FILL * self.n_neurons**2):
            arrays = {"connected": np.packbits(self.connected, axis=1)}
            if (self.edge_order[1:] < self.edge_order[:-1]).any():
                arrays["edge_order"] = self.edge_order
        else:
            arrays = {"edge_index": self.edge_index, "edge_order": self.edge_order}
        if self.stimulus_column is not None:
            arrays["stimulus_column"] = self.stimulus_column
        attributes: dict = {"n_neurons": self.n_neurons, "n_columns": self.n_columns}
        if np.issubdtype(self.neuron_ids.dtype, np.integer):
            arrays["neuron_ids"] = self.neuron_ids
        else:  # zarr v3 has no stable string dtype yet
            attributes["neuron_ids"] = self.neuron_ids.tolist()
        for name, array in arrays.items():
            create_static(group, name, array)
        group.attrs.update(attributes)

    @classmethod
    def load(cls, group: zarr.Group) -> "Wiring":
        """Read a wiring that `save` wrote.

        Raises:
            StoreError: if the group does not hold a wiring.
            EdgeError: if the stored edges are not valid.
        """
        attributes = dict(group.attrs)
        if not has_edges(group) or "n_neurons" not in attributes:
            raise StoreError(f"{group.store_path}: no wiring here, expected edge_index and n_neurons; write it again")
        if "connected" in group:
            bits = read_static(group["connected"])
            edge_index = edges_of(np.unpackbits(bits, axis=1, count=attributes["n_neurons"]).view(bool))
        else:
            edge_index = read_static(group["edge_index"])
        ids = attributes.get("neuron_ids")
        ids = np.asarray(ids) if ids is not None else read_static(group["neuron_ids"])
        columns = read_static(group["stimulus_column"]) if "stimulus_column" in group else None
        n_columns = attributes.get("n_columns") if columns is not None else None
        wiring = cls.from_edges(edge_index, attributes["n_neurons"], columns, ids, n_columns)
        if "edge_order" not in group:
            return wiring
        return replace(wiring, edge_order=_frozen(read_static(group["edge_order"])[wiring.edge_order]))


def has_edges(group: zarr.Group) -> bool:
    """Whether a zarr group holds the edges of a wiring."""
    return "edge_index" in group or "connected" in group


def edges_of(connected: np.ndarray) -> np.ndarray:
    """(2, E) int64 edges of a matrix (N, N) bool, rows postsynaptic; row 0 presynaptic, sorted by (post, pre)."""
    n, in_degree = len(connected), np.count_nonzero(connected, axis=1)
    edge_index = np.empty((2, in_degree.sum()), dtype=np.int64)
    edge_index[1] = np.repeat(np.arange(n), in_degree)
    edge_index[0] = np.flatnonzero(connected)
    edge_index[0] -= n * edge_index[1]
    return edge_index


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _row_pointer(degree: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(degree))).astype(np.int64)
