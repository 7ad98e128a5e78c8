r"""Evidence ridge for weights of low rank, theta = L R: every neuron reads r latent variables instead of its inputs.

With R (r, N) given, the circuit is linear in L (N, r),

.. math:: y_i = k_i v_i + c_i + q_i I_i + \sum_a L_{ia} z_{ia}, \qquad z_{ia}(t) = \sum_{j \to i} R_{aj}\, g(v_j(t)),

so that an equation has r unknown coefficients, whatever its in-degree, and few frames determine them. With L, k, c and
q given it is linear in R, whose r N numbers all equations determine together. The two steps alternate until they gain
nothing. R is kept orthonormal: a prior on L is then one on the weights themselves, as in `ridge`.
"""

import logging
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from lobula.data.wiring import Wiring
from lobula.regression.edge_messages import EdgeMessages, MessageFunction
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import CPU, Frames, block_arrays, frame_blocks
from lobula.regression.ridge import LinearCircuit

logger = logging.getLogger(__name__)

N_ROUNDS = 30
LEAST_GAIN = 1e-4
"""Of the mean log residual variance, below which the alternation ends."""
MOST_NEURONS = 3_000
"""Above, R is taken as it is: its step needs the products of all pairs of neurons, 8 N^2 bytes each."""
CG_STEPS = 30


def fit_low_rank(
    frames: Frames,
    wiring: Wiring,
    message: MessageFunction,
    right: np.ndarray,
    target: str = "observed",
    max_frames: int | None = None,
    device: torch.device = CPU,
) -> LinearCircuit:
    """Evidence ridge on a recording, given the message function and where R starts.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        message: g, maps voltages (T, N) to messages (T, N).
        right: (r, N) first R.
        target: "observed" or "drift".
        max_frames: use at most this many frames, spread evenly (None: all).
        device: where the Gram matrices are computed.

    Returns:
        The circuit with one coefficient per edge. Standard errors leave the covariance between latent variables out
        and take R as certain; the resolution of an edge is that of the latent variables that it belongs to.
    """
    given = frames, wiring, message
    directions = _orthonormal(right)
    best, at, score = _left_step(*given, directions, target, max_frames, device), directions, np.inf
    products = Products.of(*given, target, max_frames) if wiring.n_neurons <= MOST_NEURONS else None
    for round_ in range(N_ROUNDS if products is not None else 0):
        gain, score = score - _misfit(best), _misfit(best)
        logger.debug("low rank, round %d: misfit %.5f", round_, score)
        if gain < LEAST_GAIN or products is None:
            break
        directions = _orthonormal(right_step(products, wiring, best, at))
        trial = _left_step(*given, directions, target, max_frames, device)
        if _misfit(trial) < score:
            best, at = trial, directions
    return _expanded(best, wiring, at)


def _misfit(circuit: LinearCircuit) -> float:
    return float(np.mean(np.log(circuit.residual_std**2 + 1e-12)))


def _orthonormal(right: np.ndarray) -> np.ndarray:
    return np.linalg.qr(np.asarray(right, dtype=np.float64).T)[0].T


def _left_step(
    frames: Frames,
    wiring: Wiring,
    message: MessageFunction,
    directions: np.ndarray,
    target: str,
    max_frames: int | None,
    device: torch.device,
) -> LinearCircuit:
    """L, k, c and q for a given R: a circuit whose coefficients are those of the latent variables, (N r,)."""
    rank, n = directions.shape
    ends = np.stack([np.tile(np.arange(rank), n), np.repeat(np.arange(n), rank)])
    reading = Wiring.from_edges(ends, n, wiring.stimulus_column, n_columns=wiring.n_columns or None)
    latents = EdgeMessages(_Latents(wiring, message, directions))
    return fit_circuit(frames, reading, latents, target, max_frames, device=device)


class _Latents:
    """What every neuron reads: z_ia (T, N r), in the order of the edges of `_left_step`'s wiring."""

    def __init__(self, wiring: Wiring, message: MessageFunction, directions: np.ndarray) -> None:
        self._message = message
        shape = wiring.n_neurons, wiring.n_neurons
        self._sums = [
            scipy.sparse.csr_matrix((row[wiring.pre], wiring.pre, wiring.indptr), shape) for row in directions
        ]

    def __call__(self, source: np.ndarray, target: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        messages = np.asarray(self._message(source), dtype=np.float64).T
        return np.stack([matrix @ messages for matrix in self._sums], axis=1).reshape(-1, messages.shape[1]).T


@dataclass
class Products:
    """Sums over frames of products of the messages g_j with one another and with what each equation holds.

    Attributes:
        n_frames: frames summed.
        messages: (N, N) g_j g_k.
        total: (N,) g_j.
        target, voltage, external: (N, N) y_i g_j, v_i g_j, I_i g_j.
    """

    n_frames: int
    messages: np.ndarray
    total: np.ndarray
    target: np.ndarray
    voltage: np.ndarray
    external: np.ndarray

    @classmethod
    def of(
        cls, frames: Frames, wiring: Wiring, message: MessageFunction, target: str, max_frames: int | None
    ) -> "Products":
        """Sums over a recording, block by block."""
        n = wiring.n_neurons
        sums, total, n_frames = np.zeros((4, n, n)), np.zeros(n), 0
        for span in frame_blocks(frames, target, max_frames):
            voltage, external, y = block_arrays(frames, wiring, target, span)
            g = np.asarray(message(voltage), dtype=np.float64)
            rows = (g, y, voltage, np.zeros_like(y) if external is None else external)
            for held, row in zip(sums, rows, strict=True):
                held += row.T.astype(np.float64) @ g
            total, n_frames = total + g.sum(0), n_frames + len(g)
        return cls(n_frames, sums[0], total, sums[1], sums[2], sums[3])

    def left_over(self, circuit: LinearCircuit) -> np.ndarray:
        """(N, N) products of g_j with y_i - k_i v_i - c_i - q_i I_i."""
        own = circuit.k[:, None] * self.voltage + circuit.q[:, None] * self.external
        return self.target - own - np.outer(circuit.c, self.total)


def right_step(products: Products, wiring: Wiring, circuit: LinearCircuit, directions: np.ndarray) -> np.ndarray:
    """(r, N) R that lowers the residual of all equations most, L, k, c and q held; each with the prior of its own.

    Conjugate gradients from the present R; for a complete graph their preconditioner is the solution itself.

    Args:
        products: of the messages.
        wiring: the known graph.
        circuit: from the step before, with coefficients (N r,).
        directions: (r, N) present R.
    """
    n, rank = wiring.n_neurons, len(directions)
    left, mask = circuit.theta.reshape(n, rank), np.zeros((n, n))
    mask[wiring.post, wiring.pre] = 1.0
    variance = circuit.residual_std**2
    weight = 1.0 / (variance + 1e-2 * np.median(variance) + 1e-12)
    prior = products.n_frames * circuit.regularisation

    def normal(flat: np.ndarray) -> np.ndarray:
        theta = (left @ flat.reshape(rank, n)) * mask
        pulled = (theta @ products.messages + prior[:, None] * theta) * mask
        return ((weight[:, None] * left).T @ pulled).ravel()

    inner = (weight[:, None] * left).T @ left
    inner += 1e-9 * np.trace(inner) * np.eye(rank) + 1e-300 * np.eye(rank)
    common = float(np.average(prior, weights=weight * (left**2).sum(1) + 1e-300))
    floor = 1e-12 * float(np.trace(products.messages)) / n + 1e-300
    factor = cho_factor(products.messages + (common + floor) * np.eye(n))

    def near(flat: np.ndarray) -> np.ndarray:
        return cho_solve(factor, np.linalg.solve(inner, flat.reshape(rank, n)).T).T.ravel()

    rhs = ((weight[:, None] * left).T @ (products.left_over(circuit) * mask)).ravel()
    shape = rank * n, rank * n
    solution, _ = cg(
        LinearOperator(shape, normal, dtype=float),
        rhs,
        x0=directions.ravel(),
        rtol=1e-8,
        maxiter=CG_STEPS,
        M=LinearOperator(shape, near, dtype=float),
    )
    return solution.reshape(rank, n)


def _expanded(fit: LinearCircuit, wiring: Wiring, directions: np.ndarray) -> LinearCircuit:
    """The circuit with one coefficient per edge."""
    rank, n = directions.shape
    per_edge = directions[:, wiring.pre].T
    share = per_edge**2 / np.maximum((per_edge**2).sum(1, keepdims=True), 1e-30)

    def spread(values: np.ndarray, factor: np.ndarray) -> np.ndarray:
        return np.einsum("ea,ea->e", values.reshape(n, rank)[wiring.post], factor)

    values = vars(fit) | {"theta": spread(fit.theta, per_edge), "resolution": spread(fit.resolution, share)}
    for name in ("theta_stderr", "weight_stderr"):
        values[name] = np.sqrt(spread(values[name] ** 2, per_edge**2))
    return LinearCircuit(**values)
