"""The plain formulations: what one writes first, per edge, per neuron, per frame. Benchmarks only."""

import numpy as np
import torch
from torch import Tensor, nn

from lobula.connectome import Connectome
from lobula.data.wiring import Wiring


class PlainGNN(nn.Module):
    """The network of `models.CircuitGNN` with the message evaluated on every edge, as message-passing libraries do.

    Args:
        wiring: the graph.
        hidden: units of both networks.
        embedding_dim: length of an embedding.
    """

    n_states = 3
    """Voltage, messages and external input enter the update network."""

    def __init__(self, wiring: Wiring, hidden: int, embedding_dim: int = 2) -> None:
        super().__init__()
        for name, end in (("pre", wiring.pre), ("post", wiring.post)):
            self.register_buffer(name, torch.as_tensor(end.copy(), dtype=torch.int64))
        self.embedding = nn.Parameter(torch.randn(wiring.n_neurons, embedding_dim))
        self.weight = nn.Parameter(torch.randn(wiring.n_edges) / wiring.n_edges**0.5)
        self.message_mlp = _mlp(1 + embedding_dim, hidden)
        self.update_mlp = _mlp(self.n_states + embedding_dim, hidden)

    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt."""
        return self.update(voltage, self.summed_messages(voltage), external)

    def summed_messages(self, voltage: Tensor) -> Tensor:
        """(B, N), edge by edge."""
        source = torch.cat([voltage[:, self.pre, None], self.embedding[self.pre].expand(len(voltage), -1, -1)], -1)
        message = self.weight * self.message_mlp(source)[..., 0]
        return torch.zeros_like(voltage).index_add(1, self.post, message)

    def update(self, *states: Tensor) -> Tensor:
        """(B, N) the update network on states (B, N) each."""
        embedding = self.embedding.expand(len(states[0]), -1, -1)
        return self.update_mlp(torch.cat([torch.stack(states, -1), embedding], -1))[..., 0]


class PlainSignalGNN(PlainGNN):
    """The network of `models.SignalGNN` with psi evaluated on every edge, and messages added up edge by edge."""

    n_states = 2
    """Voltage and external input enter the update network."""

    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt."""
        return self.update(voltage, external) + self.summed_messages(voltage)


def _mlp(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
    )


def simulate(circuit: Connectome, stimulus: np.ndarray, dt: float, sigma: float, seed: int = 0) -> np.ndarray:
    """(T, N) voltages by the obvious loop over frames: a sparse product in double precision and a list of states."""
    rng = np.random.default_rng(seed)
    matrix = circuit.wiring.csr(circuit.weight)
    v, states = circuit.v_rest.copy(), []
    for frame in stimulus:
        states.append(v)
        dvdt = (-v + circuit.v_rest + matrix @ np.maximum(v, 0) + circuit.wiring.spread(frame[None])[0]) / circuit.tau
        v = v + dt * dvdt + sigma * rng.standard_normal(len(v))
    return np.array(states)


def ridge(
    message: np.ndarray, voltage: np.ndarray, external: np.ndarray, y: np.ndarray, wiring: Wiring, neurons: np.ndarray
) -> list[np.ndarray]:
    """Coefficients neuron by neuron: gather the inputs of all frames, normal equations, solve, penalty by a ladder.

    Args:
        message: (T, N) messages.
        voltage: (T, N).
        external: (T, N).
        y: (T, N) target.
        wiring: the graph.
        neurons: which equations to solve.
    """
    found = []
    n_frames = len(y)
    for i in neurons:
        pre = wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]]
        x = np.column_stack([message[:, pre], voltage[:, i], external[:, i], np.ones(n_frames)]).astype(np.float64)
        held = n_frames // 5
        gram, right = x[held:].T @ x[held:], x[held:].T @ y[held:, i]
        solutions = [
            np.linalg.solve(gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram)), right)
            for penalty in 10.0 ** np.arange(-10, 1)
        ]
        errors = [float(np.square(x[:held] @ s - y[:held, i]).mean()) for s in solutions]
        found.append(solutions[int(np.argmin(errors))])
    return found
