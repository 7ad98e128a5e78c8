r"""The form of the update: what a neuron does by itself, and how a circuit of that form is fitted.

================  ================================================================================================
linear            :math:`k_i v_i + c_i`, the fly circuit
self_coupling     :math:`k_i v_i + c_i + b_i\, g(v_i)`, with the message function g: a self-loop for every neuron
tanh              :math:`k_i v_i + c_i + b_i \tanh v_i`
spline            any smooth function of v_i, one per neuron
================  ================================================================================================

Where g may be anything, a straight line may be shifted between leak and spline; `Prepared.finish` settles it: k_i and
c_i are those of the best :math:`k v + c + b\, g(v)` over the visited voltages, and the rest is the own curve.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lobula.data.split import Split
from lobula.data.wiring import Wiring
from lobula.regression.edge_messages import GroupMessages, to_itself
from lobula.regression.gram import MessageFunction, frame_blocks
from lobula.regression.own_terms import NoTerms, OwnTerms, SplineTerms, TanhTerm
from lobula.regression.ridge import LinearCircuit
from lobula.regression.tabulate import NeuronCurves

Form = Literal["linear", "self_coupling", "tanh", "spline"]
SAMPLE = 4_000  # frames
N_POINTS = 2_049


@dataclass(frozen=True, eq=False)
class Prepared:
    """A form for one recording.

    Attributes:
        form: its name.
        given: the known graph.
        wiring: the graph of the fit, with a self-loop for every neuron where the form has one.
        own: own terms of the fit.
        sample: (S, N) voltages spread over the recording [a.u.].
        tabulated: (2, N) voltages between which a neuron's own curve is tabulated [a.u.]: those it visits and, where
            the form says how the curve goes on, those that most neurons visit, so that neurons can be compared.
    """

    form: Form
    given: Wiring
    wiring: Wiring
    own: OwnTerms
    sample: np.ndarray
    tabulated: np.ndarray

    def finish(self, circuit: LinearCircuit, message: MessageFunction | GroupMessages) -> LinearCircuit:
        """The circuit on the known graph, with what neurons do by themselves as a curve.

        Args:
            circuit: solution on `wiring` with `own`.
            message: g, (T, N) -> (T, N), or one per group of targets.
        """
        if self.form == "linear":
            return circuit
        low, high = self.tabulated
        step = np.maximum(high - low, 1e-6) / (N_POINTS - 1)
        grid = low + step * np.arange(N_POINTS)[:, None]
        if self.form == "self_coupling":
            circuit, gain = without_loops(circuit, self.wiring, self.given)
            return with_curve(circuit, low, step, gain[:, 0] * to_itself(message, grid))
        curve = np.einsum("nk,knt->tn", circuit.own_gain, self.own(grid.T))
        if self.form == "spline":
            line = closest_line(self.sample, self._values(circuit, self.sample), to_itself(message, self.sample))
            curve += (circuit.k - line[0]) * grid + circuit.c - line[1]
            circuit = replace(circuit, k=line[0], c=line[1])
        return with_curve(circuit, low, step, curve)

    def _values(self, circuit: LinearCircuit, voltage: np.ndarray) -> np.ndarray:
        """(S, N) what neurons do by themselves."""
        own = np.einsum("nk,knt->tn", circuit.own_gain, self.own(voltage.T))
        return circuit.k * voltage + circuit.c + own


def prepare(form: Form, frames: Split, wiring: Wiring, target: str, n_knots: int = 16) -> Prepared:
    """A form for a recording.

    Args:
        form: its name.
        frames: a split of the recording.
        wiring: the known graph.
        target: "observed" or "drift".
        n_knots: of form spline.
    """
    if form == "linear":
        nothing = np.zeros(wiring.n_neurons)
        return Prepared(form, wiring, wiring, NoTerms(), np.zeros((0, wiring.n_neurons)), np.stack([nothing] * 2))
    spans = list(frame_blocks(frames, target, None))
    every = max(1, frames.n_frames // SAMPLE)
    sample = np.concatenate([frames.voltage(s.start, s.stop)[::every] for s in spans]).astype(np.float64)
    low, high = (x.astype(float) for x in frames.visited_range)
    own: OwnTerms = TanhTerm() if form == "tanh" else NoTerms()
    if form == "spline":
        own = SplineTerms.of(np.concatenate([sample, low[None], high[None]]), n_knots)
    else:
        usual = np.median(np.quantile(sample, [0.05, 0.95], axis=0), axis=1)
        low, high = np.minimum(low, usual[0]), np.maximum(high, usual[1])
    fitted = with_loops(wiring) if form == "self_coupling" else wiring
    return Prepared(form, wiring, fitted, own, sample, np.stack([low, high]))


def with_loops(wiring: Wiring) -> Wiring:
    """The graph with a self-loop at every neuron."""
    has = np.zeros(wiring.n_neurons, dtype=bool)
    has[wiring.post[wiring.pre == wiring.post]] = True
    missing = np.flatnonzero(~has)
    edges = np.concatenate([wiring.edge_index, np.stack([missing, missing])], axis=1)
    return Wiring.from_edges(edges, wiring.n_neurons, wiring.stimulus_column, n_columns=wiring.n_columns or None)


def without_loops(circuit: LinearCircuit, looped: Wiring, given: Wiring) -> tuple[LinearCircuit, np.ndarray]:
    """The circuit on the edges that were given, and the (N, 1) coefficients of the added self-loops (0 elsewhere)."""
    n = given.n_neurons
    kept = np.isin(looped.post * n + looped.pre, given.post * n + given.pre, assume_unique=True)
    gain = np.zeros((n, 1))
    gain[looped.post[~kept], 0] = circuit.theta[~kept]
    edges = ("theta", "theta_stderr", "weight_stderr", "resolution")
    return replace(circuit, own_gain=gain, **{name: getattr(circuit, name)[kept] for name in edges}), gain


def with_curve(circuit: LinearCircuit, low: np.ndarray, step: np.ndarray, table: np.ndarray) -> LinearCircuit:
    """The circuit with a table (K, N) of what neurons do by themselves beyond their leak [a.u./s]."""
    return replace(circuit, own_curves=NeuronCurves(low, step, np.asarray(table, dtype=np.float64)))


def closest_line(voltage: np.ndarray, values: np.ndarray, messages: np.ndarray) -> np.ndarray:
    """(2, N) k and c of the least-squares fit k v + c + b g(v) of every neuron to values (S, N) at voltages (S, N)."""
    ones = np.ones_like(voltage)
    columns = np.stack([voltage, ones, np.asarray(messages, dtype=np.float64)], axis=2).transpose(1, 0, 2)
    normal = columns.transpose(0, 2, 1) @ columns
    normal += 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    found = np.linalg.solve(normal, columns.transpose(0, 2, 1) @ values.T[:, :, None])
    return found[:, :2, 0].T
