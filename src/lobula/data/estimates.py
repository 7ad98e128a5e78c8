"""What an estimator says about a circuit: tables in original neuron ids, the message curve, and a simulator of it."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from scipy.sparse import csr_matrix

from lobula.data.pair_table import PairTable
from lobula.data.varying import Drift, Plasticity, arrays_of, from_arrays
from lobula.data.wiring import Wiring
from lobula.errors import MissingInputError, ShapeError, StoreError

ESTIMATES_FORMAT = 1
DYNAMICS = ("k", "c", "q", "theta")
OWN = ("own_low", "own_step", "own_table")
_PAIR = ("target", "source", "values")


@dataclass(frozen=True, eq=False)
class Estimates:
    r"""A recovered circuit: dv_i/dt = k_i v_i + c_i + own_i(v_i) + q_i I_i + sum_j theta_ij g_j(v_j).

    Attributes:
        edges: one row per edge, in the order of the wiring: pre, post (original ids), weight [a.u.], stderr,
            resolution (1 = determined
            by the data, 0 = by the prior), identifiable.
        neurons: one row per neuron: id, tau [s], v_rest [a.u.], residual_std [a.u./s], cluster (-1 = not clustered),
            embedding_0...
        dynamics: arrays of the fitted equation: k, c, q (N,), theta (E,); own_low, own_step (N,) and own_table (K, N)
            where neurons do more by themselves than k v + c.
        curve_voltage: (K,) voltages of the message curves [a.u.].
        curve_message: (K,) curve shared by all neurons, or (K, N) one per neuron, or (K, R N) one per group of
            receivers and neuron.
        wiring: the graph of the fit.
        dt: time step [s].
        method: "ridge", "spline" or "gnn".
        target: "observed" or "drift".
        notes: further facts: readout, affinity of the update function, visited range of the curve, warnings.
        pair: message function of both ends of an edge, where messages depend on the target, too; it takes the place of
            g_j(v_j) in the equation, and the curve is then its mean over the targets.
        receiver: (N,) group of every neuron as a receiver, 0 .. R-1, where messages depend on it.
        varying: what changes over the recording: a gain on the summed messages, and own terms (`data.varying`).
    """

    edges: pd.DataFrame
    neurons: pd.DataFrame
    dynamics: dict[str, np.ndarray]
    curve_voltage: np.ndarray
    curve_message: np.ndarray
    wiring: Wiring
    dt: float
    method: str
    target: str
    notes: dict[str, Any] = field(default_factory=dict)
    pair: PairTable | None = None
    receiver: np.ndarray | None = None
    varying: Plasticity | Drift | None = None

    def message(self, voltage: np.ndarray) -> np.ndarray:
        """Messages (..., N) at voltages (..., N), linear between the points of the curve and beyond its ends.

        Where they depend on the group of the receiver (..., R N), from voltages of either shape.
        """
        voltage = np.asarray(voltage, dtype=np.float64)
        x, y = self.curve_voltage, self.curve_message
        if y.ndim == 2 and voltage.shape[-1] != y.shape[1]:
            voltage = np.tile(voltage, y.shape[1] // voltage.shape[-1])
        index = np.clip(np.searchsorted(x, voltage, side="right") - 1, 0, len(x) - 2)
        fraction = (voltage - x[index]) / (x[index + 1] - x[index])
        if y.ndim == 1:
            return y[index] + fraction * (y[index + 1] - y[index])
        neuron = np.broadcast_to(np.arange(y.shape[1]), voltage.shape)
        left = y[index, neuron]
        return left + fraction * (y[index + 1, neuron] - left)

    def drift(
        self, voltage: np.ndarray, external: np.ndarray | float = 0.0, state: np.ndarray | None = None
    ) -> np.ndarray:
        """dv/dt (..., N) at voltage (..., N) and external input (..., N) [a.u./s].

        Where the circuit changes, ``state`` is its plasticity (..., N) or the time (..., 1), see `data.varying`.
        """
        theta, wiring = self.dynamics["theta"], self.wiring
        if self.pair is None:
            matrix, messages = self._summed(theta), self.message(voltage)
        else:
            flat = np.reshape(voltage, (-1, wiring.n_neurons))
            matrix = csr_matrix((theta, np.arange(wiring.n_edges), wiring.indptr), (wiring.n_neurons, wiring.n_edges))
            messages = self.pair.on_edges(flat, flat, wiring.pre, wiring.post)
        summed = (matrix @ messages.reshape(-1, messages.shape[-1]).T).T.reshape(np.shape(voltage))
        leak = self.dynamics["k"] * voltage + self.dynamics["c"]
        if self.varying is not None:
            gain, extra = self.varying.at(voltage, self.varying.usual if state is None else state)
            leak, summed = leak + extra, gain * summed
        return leak + self.own(voltage) + self.dynamics["q"] * external + summed

    def _summed(self, theta: np.ndarray) -> csr_matrix:
        """(N, N) or (N, R N) matrix that sums messages times theta (E,) over the inputs of every neuron."""
        wiring, n = self.wiring, self.wiring.n_neurons
        if self.receiver is None:
            return wiring.csr(theta)
        columns = self.receiver[wiring.post] * n + wiring.pre
        return csr_matrix((theta, columns, wiring.indptr), (n, n * (int(self.receiver.max()) + 1)))

    def own(self, voltage: np.ndarray) -> np.ndarray | float:
        """(..., N) what neurons do by themselves beyond k v + c, at voltages (..., N) [a.u./s]."""
        if "own_table" not in self.dynamics:
            return 0.0
        table = self.dynamics["own_table"]
        position = (np.asarray(voltage) - self.dynamics["own_low"]) / self.dynamics["own_step"]
        index = np.clip(position.astype(np.int64), 0, len(table) - 2)
        neuron = np.broadcast_to(np.arange(table.shape[1]), index.shape)
        left = table[index, neuron]
        return left + (position - index) * (table[index + 1, neuron] - left)

    def predict(
        self,
        v0: np.ndarray,
        stimulus: np.ndarray | None = None,
        n_steps: int | None = None,
        state: np.ndarray | None = None,
    ) -> np.ndarray:
        """Rolls the recovered circuit out with Euler steps, without noise.

        Args:
            v0: (N,) or (R, N) initial voltages, R independent rollouts [a.u.].
            stimulus: (T, H) or (T, N), or (R, T, H) for R rollouts; None for no input.
            n_steps: number of steps T where there is no stimulus.
            state: where the circuit changes, (N,) or (R, N) plasticity, or (1,) or (R, 1) times [s], at v0.

        Returns:
            (T, N) or (R, T, N) voltage after each step [a.u.]; a rollout that leaves the finite numbers stays at its
            last value.
        """
        v = np.atleast_2d(np.asarray(v0, dtype=np.float64))
        if v.shape[-1] != self.wiring.n_neurons:
            raise ShapeError(f"predict: got v0 of {v.shape[-1]} neurons, expected {self.wiring.n_neurons}")
        rows = None if stimulus is None else np.asarray(stimulus).reshape(len(v), -1, np.shape(stimulus)[-1])
        steps = rows.shape[1] if rows is not None else n_steps
        if steps is None:
            raise ShapeError("predict: got neither stimulus nor n_steps; give one of them")
        out = np.empty((len(v), steps, v.shape[1]), dtype=np.float32)
        if self.varying is not None:
            state = np.array(np.atleast_2d(self.varying.usual if state is None else state), dtype=np.float64)
        for t in range(steps):
            external = 0.0 if rows is None else self.wiring.spread(rows[:, t])
            with np.errstate(all="ignore"):
                new = v + self.dt * self.drift(v, external, state)
                if self.varying is not None and state is not None:
                    state = self.varying.advance(state, v, self.dt)
            v = np.where(np.isfinite(new) & (np.abs(new) < 1e6), new, v)
            out[:, t] = v
        return out if np.ndim(v0) == 2 else out[0]

    def save(self, path: str | Path) -> None:
        """Writes a zarr v3 group, replacing what was there."""
        path = Path(path)
        temporary = path.with_name(path.name + ".partial")
        shutil.rmtree(temporary, ignore_errors=True)
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        self.wiring.save(group.create_group("wiring"))
        for name, table in (("edges", self.edges), ("neurons", self.neurons)):
            part = group.create_group(name)
            part.attrs["columns"] = list(table.columns)
            for column in table.columns:
                part.create_array(column, data=np.ascontiguousarray(table[column].to_numpy()))
        part = group.create_group("dynamics")
        for name, values in {**self.dynamics, **arrays_of(self.varying)}.items():
            part.create_array(name, data=np.ascontiguousarray(values))
        group.create_array("curve_voltage", data=self.curve_voltage)
        group.create_array("curve_message", data=self.curve_message)
        if self.receiver is not None:
            group.create_array("receiver", data=self.receiver)
        if self.pair is not None:
            part = group.create_group("pair")
            for name, values in vars(self.pair).items():
                part.create_array(name, data=np.ascontiguousarray(values))
        facts = {"dt": self.dt, "method": self.method, "target": self.target, "notes": self.notes}
        group.attrs.update({"format": "lobula-estimates", "version": ESTIMATES_FORMAT, "facts": json.dumps(facts)})
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)

    @classmethod
    def load(cls, path: str | Path) -> "Estimates":
        """Reads what `save` wrote.

        Raises:
            MissingInputError: if there is nothing.
            StoreError: if it is foreign or truncated.
        """
        path = Path(path)
        if not path.exists():
            raise MissingInputError(f"estimates: {path} does not exist; run the recover stage first")
        try:
            group = zarr.open_group(path, mode="r", zarr_format=3)
            facts = json.loads(str(group.attrs["facts"]))
            tables = {
                name: pd.DataFrame({c: group[f"{name}/{c}"][:] for c in group[name].attrs["columns"]})
                for name in ("edges", "neurons")
            }
            dynamics = {name: group[f"dynamics/{name}"][:] for name in (*DYNAMICS, *OWN) if f"dynamics/{name}" in group}
            varying = from_arrays({name: array[:] for name, array in group["dynamics"].arrays()})
            if missing := [name for name in DYNAMICS if name not in dynamics]:
                raise KeyError(missing[0])
            curve = {name: group[name][:] for name in ("curve_voltage", "curve_message")}
            wiring = Wiring.load(group["wiring"])
            receiver = group["receiver"][:] if "receiver" in group else None
            pair = PairTable(*(group[f"pair/{name}"][:] for name in _PAIR)) if "pair" in group else None
        except (KeyError, ValueError, OSError, TypeError) as error:
            raise StoreError(
                f"estimates: {path} is truncated or not written by lobula ({type(error).__name__}); run recover again"
            ) from error
        return cls(
            **tables, dynamics=dynamics, **curve, wiring=wiring, pair=pair, receiver=receiver, varying=varying, **facts
        )
