"""A circuit whose parameters are known: the wiring together with weights, time constants and rests. Truth."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lobula.connectome.equation import Equation
from lobula.data.annotations import Annotations
from lobula.data.wiring import Wiring
from lobula.data.zarr_format import atomic_store, create_static, open_store
from lobula.errors import ShapeError, StoreError

_PER_EDGE = ("weight", "n_syn", "sign")
_PER_NEURON = ("tau", "v_rest", "cell_type", "u", "v")


@dataclass(frozen=True, eq=False)
class Connectome:
    r"""A graded circuit, :math:`\tau_i \dot v_i = -v_i + V_i + \sum_j W_{ij} g(v_j) + I_i`, or a signal network.

    Attributes:
        wiring: the directed graph; per-edge arrays follow its order.
        weight: (E,) float64 synaptic weight W [a.u.].
        tau: (N,) float64 time constant [s].
        v_rest: (N,) float64 resting potential V [a.u.].
        cell_type: (N,) int64 index into `cell_type_names`.
        cell_type_names: name of every cell type.
        u, v: (N,) int64 axial hexagonal coordinates of the neuron's column.
        n_syn: (E,) float64 mean number of synapses.
        sign: (E,) +1 excitatory, -1 inhibitory, 0 where a drawn weight is 0.
        columns: (H, 2) int64 axial coordinates (u, v) of the stimulus columns; (0, 2) if there are none.
        equation: of a signal network, which has parameters of its own beside tau and v_rest; None for a graded circuit.
    """

    wiring: Wiring
    weight: np.ndarray
    tau: np.ndarray
    v_rest: np.ndarray
    cell_type: np.ndarray
    cell_type_names: tuple[str, ...]
    u: np.ndarray
    v: np.ndarray
    n_syn: np.ndarray
    sign: np.ndarray
    columns: np.ndarray
    equation: Equation | None = None

    def __post_init__(self) -> None:
        for names, length, what in ((_PER_EDGE, self.n_edges, "edge"), (_PER_NEURON, self.n_neurons, "neuron")):
            for name in names:
                if np.shape(getattr(self, name)) != (length,):
                    got = np.shape(getattr(self, name))
                    raise ShapeError(f"{name}: got shape {got}, expected ({length},), one value per {what}")
        if self.columns.shape != (self.wiring.n_columns, 2):
            raise ShapeError(f"columns: got shape {self.columns.shape}, expected ({self.wiring.n_columns}, 2)")

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        return self.wiring.n_neurons

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return self.wiring.n_edges

    @property
    def receptors(self) -> np.ndarray:
        """(n_receptors,) int64 ids of the neurons that receive the stimulus."""
        return self.wiring.driven

    @property
    def n_columns(self) -> int:
        """Number of stimulus columns H."""
        return self.wiring.n_columns

    @cached_property
    def column_positions(self) -> np.ndarray:
        """(H, 2) float64 positions (x, y) of the columns on a regular lattice, in units of their distance."""
        u, v = self.columns[:, 0], self.columns[:, 1]
        return np.stack([np.sqrt(0.75) * v, u + v / 2], axis=1)

    @property
    def effective_weight(self) -> np.ndarray:
        r"""(E,) float64 what a unit of message adds to dv/dt [1/s], and so what a recording can tell.

        :math:`W_{ij} / \tau_i` of a graded circuit, :math:`g_i W_{ij}` of a signal network.
        """
        rate = 1.0 / self.tau if self.equation is None else self.equation.gain[self.cell_type]
        return self.weight * rate[self.wiring.post]

    @cached_property
    def annotations(self) -> Annotations:
        """What is published of such a circuit besides its graph: types, synapse counts, signs; nothing that is fitted.

        A neuron whose outputs have both signs, or that has none, has sign 0.
        """
        pre, n = self.wiring.pre, self.n_neurons
        excites, inhibits = (np.bincount(pre, s * self.sign > 0, n) > 0 for s in (1, -1))
        sign = excites.astype(np.int64) - inhibits
        return Annotations.checked(self.wiring, self.cell_type, self.n_syn, sign, self.cell_type_names)

    def relabel(self, perm: np.ndarray) -> "Connectome":
        """The same circuit with its neurons in another order.

        Args:
            perm: (N,) permutation; neuron i of the result is neuron perm[i] of this one.

        Returns:
            The relabelled circuit; nothing that can be measured changes.

        Raises:
            ShapeError: if `perm` is not a permutation of the neurons.
        """
        wiring = self.wiring.relabel(perm)
        edges = {name: getattr(self, name)[wiring.edge_order] for name in _PER_EDGE}
        return replace(self, wiring=wiring, **edges, **{name: getattr(self, name)[perm] for name in _PER_NEURON})

    def with_weight(self, weight: np.ndarray) -> "Connectome":
        """The same circuit with other weights, (E,) [a.u.]."""
        return replace(self, weight=np.asarray(weight, dtype=np.float64))

    def save(self, path: str | Path) -> None:
        """Write the truth store (`truth.zarr`); one of ours at the same path is replaced.

        Raises:
            StoreError: if `path` holds something that lobula did not write.
        """
        with atomic_store(path, "truth") as root:
            self.save_into(root)

    def save_into(self, group: zarr.Group) -> None:
        """Write into an empty zarr group."""
        self.wiring.save(group.create_group("wiring"))
        if self.equation is not None:
            self.equation.save(group.create_group("equation"))
        for name in _arrays(self.equation is not None):
            create_static(group, name, getattr(self, name))
        group.attrs.update({"cell_type_names": list(self.cell_type_names), "tau_unit": "s", "v_rest_unit": "a.u."})

    @classmethod
    def load(cls, path: str | Path) -> "Connectome":
        """Read a truth store.

        Raises:
            MissingInputError: if there is none at `path`.
            StoreError: if it is damaged or of another kind.
        """
        root = open_store(path, "truth")
        names = _arrays("equation" in root)
        missing = [name for name in (*names, "wiring") if name not in root]
        if missing or "cell_type_names" not in root.attrs:
            raise StoreError(f"{path}: truncated or damaged, {', '.join(missing) or 'cell_type_names'} missing")
        arrays: dict[str, Any] = {name: np.asarray(root[name][:]) for name in names}
        if "equation" in root:
            arrays["n_syn"], arrays["sign"] = counted(arrays["weight"])
            arrays["equation"] = Equation.load(root["equation"])
        return cls(wiring=Wiring.load(root["wiring"]), cell_type_names=tuple(root.attrs["cell_type_names"]), **arrays)


def counted(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n_syn and sign (E,) of a network without synapse counts: one each, which takes no memory, and int8."""
    return np.broadcast_to(1.0, weight.shape), np.sign(weight).astype(np.int8)


def _arrays(is_signal: bool) -> tuple[str, ...]:
    """Arrays of a store; a signal network's n_syn and sign follow from its weights."""
    return (*(("weight",) if is_signal else _PER_EDGE), *_PER_NEURON, "columns")
