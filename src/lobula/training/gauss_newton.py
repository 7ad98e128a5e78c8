r"""Gauss-Newton on the message network, with the circuit projected out.

The step that lowers the residual most, all circuits re-fitted at once, is the variable-projection step of the spline
with the network's directions (`training.directions`) in place of hat functions; gradient descent needs thousands of
steps for the same, because messages and weights trade off.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lobula.data.split import TargetKind
from lobula.data.wiring import Wiring
from lobula.models.graph_network import GraphNetwork
from lobula.regression.curve_step import weighted_normal
from lobula.regression.dense_curve import column_grams, equations_of
from lobula.regression.gram import (
    NO_TERMS,
    Frames,
    add_product,
    block_arrays,
    frame_blocks,
    pairs_are_cheaper,
    stimulated,
    write_own_columns,
)
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import LinearCircuit
from lobula.regression.threads import in_parallel, workspace
from lobula.training.directions import Directions, last_layer, set_last_layer

BLOCK_BYTES = 2e8
SMOOTH = 1e-9
"""Weight of squared second differences, relative to the mean curvature."""


@dataclass(frozen=True)
class NormalEquations:
    """Of the step that lowers the weighted residual most, all circuits re-fitted at once.

    Attributes:
        matrix: (K, K).
        right: (K,).
        bent: `Directions.bent`. Where no equation hears a source its messages stay straight; else they would look as
            if they were heard, and its weights as if they were nil.
    """

    matrix: np.ndarray
    right: np.ndarray
    bent: np.ndarray

    def step(self, damping: float) -> np.ndarray:
        """(K,) change, damped (Levenberg-Marquardt) relative to the mean curvature."""
        typical = np.trace(self.matrix) / len(self.right)
        if not typical > 0:  # no message counts: all weights are nil
            return np.zeros_like(self.right)
        change, now = self.bent[:, :-1], self.bent[:, -1]
        smooth = SMOOTH * typical
        matrix = self.matrix + smooth * change.T @ change + damping * typical * np.eye(len(self.right))
        return np.linalg.solve(matrix, self.right - smooth * change.T @ now)


def normal_equations(
    model: GraphNetwork,
    directions: Directions,
    frames: Frames,
    wiring: Wiring,
    circuit: LinearCircuit,
    target: TargetKind,
    own: OwnTerms = NO_TERMS,
) -> NormalEquations:
    """The equations of one step.

    Args:
        model: which messages edges carry.
        directions: of the model, from where it is.
        frames: those that count.
        wiring: edges into the neurons whose equations are used (`regression.curve_step.some_targets`).
        circuit: solved for ``wiring`` with the model's present messages.
        target: "observed" or "drift".
        own: terms of every neuron's own voltage.
    """
    fed = np.flatnonzero(wiring.in_degree > 0)
    dense = pairs_are_cheaper(wiring, own) and not model.sees_target
    arguments = frames, wiring, circuit.theta, target, own
    grams = shared_grams(directions, *arguments) if dense else equation_grams(directions, *arguments)
    return NormalEquations(*weighted_normal(grams, directions.size, circuit, wiring, fed), directions.bent)


def shared_grams(
    directions: Directions,
    frames: Frames,
    wiring: Wiring,
    theta: np.ndarray,
    target: TargetKind,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """Per neuron (p, p) products of ``[directions summed over inputs, messages, v, 1, (I), (own terms), y]``, where
    neurons share most inputs and so most products."""
    coefficients = torch.from_numpy(equations_of(wiring, theta).T.astype(np.float32))

    def evaluated(voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        message, jacobian = directions.jacobian(torch.from_numpy(np.ascontiguousarray(voltage)))
        return message.numpy(), (coefficients @ jacobian).numpy().astype(np.float64)

    block = frames_at_once(directions.size, wiring.n_neurons + len(coefficients))
    return column_grams(frames, wiring, evaluated, directions.size, target, None, own, block)


def frames_at_once(n_directions: int, n_columns: int) -> int:
    """Frames whose derivatives of so many messages and equations fit into memory."""
    return int(np.clip(BLOCK_BYTES / (4 * n_directions * n_columns), 20, 500))


def equation_grams(
    directions: Directions,
    frames: Frames,
    wiring: Wiring,
    theta: np.ndarray,
    target: TargetKind,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """The same, equation by equation."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    columns, n_columns = directions.columns(wiring)
    block = frames_at_once(directions.size, n_columns + len(fed))
    grams: list[np.ndarray | None] = [None] * wiring.n_neurons
    for span in frame_blocks(frames, target, None, block):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        has = stimulated(wiring, external is not None)
        message, sums = directions.sums(torch.from_numpy(np.ascontiguousarray(voltage)), wiring, theta)
        parts = voltage, external, y, message.numpy(), sums.numpy()

        def add(row: int, parts=parts, has=has) -> None:
            voltage, external, y, message, basis = parts
            i = int(fed[row])
            inputs = columns[wiring.indptr[i] : wiring.indptr[i + 1]]
            d, k = len(inputs), basis.shape[2]
            x = workspace(len(voltage), k + d + 3 + int(has[i]) + own.n_terms)
            x[:, :k], x[:, k : k + d] = basis[row], message[:, inputs]
            write_own_columns(x, i, voltage[:, i], external[:, i] if has[i] else None, y[:, i], own)
            add_product(grams, i, x.T)

        in_parallel(add, len(fed))
    return grams


@torch.no_grad()
def message_spread(model: GraphNetwork, voltage: Tensor) -> float:
    """Standard deviation of all messages at voltages (t, N): the scale that messages and weights may trade."""
    return float(model.messages_between(voltage, voltage).std())


@torch.no_grad()
def rescale_last_layer(model: GraphNetwork, spread: float, voltage: Tensor) -> None:
    """Scales the messages back to a given spread; the weights are refitted anyway."""
    ratio = spread / max(message_spread(model, voltage), 1e-30)
    set_last_layer(model, last_layer(model) * (ratio**0.5 if model.config.g_phi_positive else ratio))
