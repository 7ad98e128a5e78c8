r"""Gauss-Newton on the last layer of the message network, with the circuit projected out.

Given the hidden features h_k(v, a) of the message network, the message is (almost) linear in its last layer. The step
that lowers the residual most, all circuits re-fitted at once, is the variable-projection step of the spline with these
features in place of hat functions; gradient descent needs thousands of steps for the same, because messages and
weights trade off.
"""

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from lobula.data.split import TargetKind
from lobula.data.wiring import Wiring
from lobula.models.graph_network import GraphNetwork, SourceNetwork
from lobula.models.messages import SHARED_POINTS
from lobula.models.pair_gnn import PairGNN
from lobula.regression.curve_step import weighted_normal
from lobula.regression.dense_curve import column_grams, equations_of
from lobula.regression.gram import (
    NO_TERMS,
    Frames,
    add_product,
    block_arrays,
    design_rows,
    frame_blocks,
    pairs_are_cheaper,
    stimulated,
)
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import LinearCircuit
from lobula.regression.threads import in_parallel, neuron_major

BLOCK_BYTES = 2e8


@torch.no_grad()
def last_layer_jacobian(model: SourceNetwork, voltage: Tensor) -> tuple[Tensor, Tensor]:
    """Messages (t, N) and their derivatives (t, N, K) by the last layer's weights and bias.

    Where all neurons share one message function it is evaluated on a grid; derivatives are those of the nearest point.
    """
    if not model.shared or voltage.numel() <= SHARED_POINTS:
        return _from_features(model, model.features(voltage))
    low, high = float(voltage.min()), float(voltage.max())
    grid = torch.linspace(low, high, SHARED_POINTS)
    value, derivative = _from_features(model, model.features(grid[:, None]))
    nearest = ((voltage - low) * ((SHARED_POINTS - 1) / (high - low)) + 0.5).to(torch.int32)
    message = torch.from_numpy(np.interp(voltage, grid, value[:, 0]).astype(np.float32))
    return message, derivative[:, 0].index_select(0, nearest.flatten()).view(*voltage.shape, -1)


@torch.no_grad()
def _jacobian_on(model: GraphNetwork, voltage: Tensor, wiring: Wiring) -> tuple[Tensor, Tensor]:
    """The same, (t, M) and (t, M, K), with one message per edge of a wiring where the model has one per edge."""
    if isinstance(model, PairGNN):
        features = model.features_on(voltage, *(torch.from_numpy(end.copy()) for end in (wiring.pre, wiring.post)))
        return _from_features(model, features.transpose(0, 1))
    return last_layer_jacobian(model, voltage)


def _from_features(model: GraphNetwork, features: Tensor) -> tuple[Tensor, Tensor]:
    """Messages (...) and their derivatives (..., K) from the activations before the last layer (..., H)."""
    features = torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
    last = model.message_mlp.hidden[-1]
    value = features @ torch.cat([last.weight[0], last.bias])
    if model.config.g_phi_positive:
        return model.scales.voltage * value.square(), 2 * model.scales.voltage * value[..., None] * features
    return model.scales.voltage * value, model.scales.voltage * features


def last_layer_step(
    model: GraphNetwork,
    split: Frames,
    wiring: Wiring,
    circuit: LinearCircuit,
    target: TargetKind,
    max_frames: int,
    damping: float = 1e-6,
    own: OwnTerms = NO_TERMS,
) -> Tensor:
    """(K,) change of the last layer's weights and bias.

    Args:
        model: its other parameters stay.
        split: training frames.
        wiring: edges into the neurons whose equations are used (`regression.curve_step.some_targets`).
        circuit: solved for ``wiring`` with the model's present messages.
        target: "observed" or "drift".
        max_frames: frames used, spread over the split.
        damping: Levenberg-Marquardt damping relative to the mean curvature.
        own: terms of every neuron's own voltage.
    """
    fed = np.flatnonzero(wiring.in_degree > 0)
    n_features = model.message_mlp.hidden[-1].in_features + 1
    dense = pairs_are_cheaper(wiring, own) and not model.sees_target
    grams = (shared_grams if dense else equation_grams)(model, split, wiring, circuit.theta, target, max_frames, own)
    normal, rhs = weighted_normal(grams, n_features, circuit, wiring, fed)
    if not normal.any():  # no message counts: all weights are nil
        return torch.zeros(n_features)
    scale = np.sqrt(np.diag(normal) + 1e-12 * np.trace(normal))
    scaled = normal / np.outer(scale, scale) + damping * np.eye(n_features)
    return torch.as_tensor(np.linalg.solve(scaled, rhs / scale) / scale, dtype=torch.float32)


def shared_grams(
    model: GraphNetwork,
    split: Frames,
    wiring: Wiring,
    theta: np.ndarray,
    target: TargetKind,
    max_frames: int,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """Per neuron (p, p) products of ``[features summed over inputs, messages, v, 1, (I), (own terms), y]``, where
    neurons share most inputs and so most products."""
    n_features = model.message_mlp.hidden[-1].in_features + 1
    coefficients = torch.from_numpy(equations_of(wiring, theta).T.astype(np.float32))

    def evaluated(voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        message, jacobian = last_layer_jacobian(model, torch.from_numpy(np.ascontiguousarray(voltage)))
        return message.numpy(), (coefficients @ jacobian).numpy().astype(np.float64)

    block = frames_at_once(n_features, wiring.n_neurons + len(coefficients))
    return column_grams(split, wiring, evaluated, n_features, target, max_frames, own, block)


def frames_at_once(n_features: int, n_columns: int) -> int:
    """Frames whose features of so many messages and equations fit into memory."""
    return int(np.clip(BLOCK_BYTES / (4 * n_features * n_columns), 20, 500))


def equation_grams(
    model: GraphNetwork,
    split: Frames,
    wiring: Wiring,
    theta: np.ndarray,
    target: TargetKind,
    max_frames: int,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """The same, equation by equation."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    n_features = model.message_mlp.hidden[-1].in_features + 1
    columns, n_columns = _columns(model, wiring)
    block = frames_at_once(n_features, n_columns + len(fed))
    sums = scipy.sparse.csr_matrix((theta, columns, wiring.indptr), shape=(wiring.n_neurons, n_columns))
    matrix = _tensor(sums[fed])
    grams: list[np.ndarray | None] = [None] * wiring.n_neurons
    for span in frame_blocks(split, target, max_frames, block):
        voltage, external, y = block_arrays(split, wiring, target, span)
        has = stimulated(wiring, external is not None)
        message, jacobian = _jacobian_on(model, torch.from_numpy(np.ascontiguousarray(voltage)), wiring)
        t = len(voltage)
        flat = jacobian.transpose(0, 1).reshape(n_columns, t * n_features)
        basis = (matrix @ flat).numpy().reshape(len(fed), t, n_features)
        v, y, h = neuron_major(voltage), neuron_major(y), neuron_major(message.numpy())
        e = None if external is None else neuron_major(external)

        def add(row: int, v=v, y=y, h=h, e=e, has=has, basis=basis) -> None:
            i = fed[row]
            rows = design_rows(i, wiring, h, v, e if has[i] else None, y, columns, own)
            stacked = np.concatenate([basis[row].T.astype(np.float64), rows])
            add_product(grams, i, stacked)

        in_parallel(add, len(fed))
    return grams


def _columns(model: GraphNetwork, wiring: Wiring) -> tuple[np.ndarray, int]:
    """(E,) which message every edge carries, and how many messages there are."""
    return (np.arange(wiring.n_edges), wiring.n_edges) if model.sees_target else (wiring.pre, wiring.n_neurons)


def last_layer(model: GraphNetwork) -> Tensor:
    """(K,) copy of the last layer's weights and bias."""
    last = model.message_mlp.hidden[-1]
    return torch.cat([last.weight[0], last.bias]).detach().clone()


@torch.no_grad()
def set_last_layer(model: GraphNetwork, values: Tensor) -> None:
    """Writes the last layer's weights and bias, (K,)."""
    last = model.message_mlp.hidden[-1]
    last.weight.copy_(values[None, :-1])
    last.bias.copy_(values[-1:])


@torch.no_grad()
def message_spread(model: GraphNetwork, voltage: Tensor) -> float:
    """Standard deviation of all messages at voltages (t, N): the scale that messages and weights may trade."""
    return float(model.messages_between(voltage, voltage).std())


@torch.no_grad()
def rescale_last_layer(model: GraphNetwork, spread: float, voltage: Tensor) -> None:
    """Scales the messages back to a given spread; the weights are refitted anyway."""
    ratio = spread / max(message_spread(model, voltage), 1e-30)
    set_last_layer(model, last_layer(model) * (ratio**0.5 if model.config.g_phi_positive else ratio))


def _tensor(matrix: scipy.sparse.csr_matrix) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        matrix.shape,
        check_invariants=False,
    )
