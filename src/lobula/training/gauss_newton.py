"""Gauss-Newton on the messages, with the circuit projected out.

Along given directions (`directions.py`) the message is almost linear. The step that lowers the residual most, all
circuits re-fitted at once, is the variable-projection step of the spline with these directions in place of hat
functions; gradient descent needs thousands of steps for the same, because messages and weights trade off.
"""

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from lobula.data.split import TargetKind
from lobula.data.wiring import Wiring
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
from lobula.regression.spline import weighted_normal
from lobula.regression.threads import in_parallel, neuron_major
from lobula.training.directions import Directions

BLOCK_BYTES = 2e8


def gauss_newton_step(
    directions: Directions,
    split: Frames,
    wiring: Wiring,
    circuit: LinearCircuit,
    target: TargetKind,
    max_frames: int,
    damping: float = 1e-6,
    own: OwnTerms = NO_TERMS,
) -> Tensor:
    """(K,) step along the directions.

    Args:
        directions: of the message network, at its present parameters.
        split: training frames.
        wiring: edges into the neurons whose equations are used (`regression.spline.some_targets`).
        circuit: solved for ``wiring`` with the present messages.
        target: "observed" or "drift".
        max_frames: frames used, spread over the split.
        damping: Levenberg-Marquardt damping relative to the mean curvature.
        own: terms of every neuron's own voltage.
    """
    fed = np.flatnonzero(wiring.in_degree > 0)
    dense = pairs_are_cheaper(wiring, own) and not directions.per_edge
    products = shared_grams if dense else equation_grams
    grams = products(directions, split, wiring, circuit.theta, target, max_frames, own)
    normal, rhs = weighted_normal(grams, directions.n, circuit, wiring, fed)
    scale = np.sqrt(np.diag(normal) + 1e-12 * np.trace(normal))
    scaled = normal / np.outer(scale, scale) + damping * np.eye(directions.n)
    return torch.as_tensor(np.linalg.solve(scaled, rhs / scale) / scale, dtype=torch.float32)


def shared_grams(
    directions: Directions,
    split: Frames,
    wiring: Wiring,
    theta: np.ndarray,
    target: TargetKind,
    max_frames: int,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """Per neuron (p, p) products of ``[derivatives summed over inputs, messages, v, 1, (I), (own terms), y]``, where
    neurons share most inputs and so most products."""
    coefficients = torch.from_numpy(equations_of(wiring, theta).T.astype(np.float32))

    def evaluated(voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        message, jacobian = directions.jacobian(torch.from_numpy(np.ascontiguousarray(voltage)), wiring)
        return message.numpy(), (coefficients @ jacobian).numpy().astype(np.float64)

    block = frames_at_once(directions.n, wiring.n_neurons + len(coefficients))
    return column_grams(split, wiring, evaluated, directions.n, target, max_frames, own, block)


def frames_at_once(n_features: int, n_columns: int) -> int:
    """Frames whose derivatives, of so many messages and equations, fit into memory."""
    return int(np.clip(BLOCK_BYTES / (4 * n_features * n_columns), 20, 500))


def equation_grams(
    directions: Directions,
    split: Frames,
    wiring: Wiring,
    theta: np.ndarray,
    target: TargetKind,
    max_frames: int,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """The same, equation by equation."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    columns, n_columns = _columns(directions, wiring)
    block = frames_at_once(directions.n, n_columns + len(fed))
    sums = scipy.sparse.csr_matrix((theta, columns, wiring.indptr), shape=(wiring.n_neurons, n_columns))
    matrix = _tensor(sums[fed])
    grams: list[np.ndarray | None] = [None] * wiring.n_neurons
    for span in frame_blocks(split, target, max_frames, block):
        voltage, external, y = block_arrays(split, wiring, target, span)
        has = stimulated(wiring, external is not None)
        message, jacobian = directions.jacobian(torch.from_numpy(np.ascontiguousarray(voltage)), wiring)
        t = len(voltage)
        flat = jacobian.transpose(0, 1).reshape(n_columns, t * directions.n)
        basis = (matrix @ flat).numpy().reshape(len(fed), t, directions.n)
        v, y, h = neuron_major(voltage), neuron_major(y), neuron_major(message.numpy())
        e = None if external is None else neuron_major(external)

        def add(row: int, v=v, y=y, h=h, e=e, has=has, basis=basis) -> None:
            i = fed[row]
            rows = design_rows(i, wiring, h, v, e if has[i] else None, y, columns, own)
            stacked = np.concatenate([basis[row].T.astype(np.float64), rows])
            add_product(grams, i, stacked)

        in_parallel(add, len(fed))
    return grams


def _columns(directions: Directions, wiring: Wiring) -> tuple[np.ndarray, int]:
    """(E,) which message every edge carries, and how many messages there are."""
    return (np.arange(wiring.n_edges), wiring.n_edges) if directions.per_edge else (wiring.pre, wiring.n_neurons)


def _tensor(matrix: scipy.sparse.csr_matrix) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        matrix.shape,
        check_invariants=False,
    )
