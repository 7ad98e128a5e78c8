"""Where a Gauss-Newton step may move the message network, and how messages change on the way.

The last layer alone, in which messages are (almost) linear; or, where all neurons share one message function of the
source's voltage, all parameters: their derivatives are functions of one voltage, so a hundred combinations of
thousands of parameters do nearly all that the whole can do (Jacot et al. 2018: the tangent kernel's leading functions).
"""

from abc import ABC, abstractmethod
from typing import cast

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from lobula.data.wiring import Wiring
from lobula.kernels import table_sums, torch_csr
from lobula.models.bends import bends
from lobula.models.graph_network import GraphNetwork, SourceNetwork
from lobula.models.messages import shared_table
from lobula.models.pair_gnn import PairGNN

MOST_DIRECTIONS = 128
"""With half as many the step stalls: they are smooth, and what is missing is next to a bend."""
LEAST_SIZE = 1e-5
"""Of a direction's effect, relative to the largest."""
CACHE_BYTES = 4e6
N_VOLTAGES = 1000
N_CELLS = 4096
PIECE = 1024


class Directions(ABC):
    """Directions in which messages can be moved from where the model is now.

    Attributes:
        size: K, how many.
        bent: (Q, K + 1) second differences over the visited voltages, of the change along every direction and of the
            messages as they are, of norm 1 for the mean direction; (0, K + 1) where none are defined.
    """

    size: int
    bent: np.ndarray

    @abstractmethod
    def jacobian(self, voltage: Tensor) -> tuple[Tensor, Tensor]:
        """Messages (t, N) at voltages (t, N), and their derivatives (t, N, K)."""

    def columns(self, wiring: Wiring) -> tuple[np.ndarray, int]:
        """(E,) which message every edge carries, and how many messages there are, M."""
        return wiring.pre, wiring.n_neurons

    @abstractmethod
    def sums(self, voltage: Tensor, wiring: Wiring, theta: np.ndarray) -> tuple[Tensor, Tensor]:
        """Messages (t, M) at voltages (t, N), and derivatives (Q, t, K) of what they sum to, with coefficients (E,), in
        the Q equations that have inputs."""

    @abstractmethod
    def move(self, coefficients: np.ndarray) -> None:
        """Goes that far (K,) from where the model was when this was made."""


class LastLayer(Directions):
    """Weights and bias of the last layer.

    Args:
        model: with any message network.
    """

    def __init__(self, model: GraphNetwork) -> None:
        self._model = model
        self._start = last_layer(model)
        self.size = len(self._start)
        self.bent = np.zeros((0, self.size + 1))

    @torch.no_grad()
    def jacobian(self, voltage: Tensor) -> tuple[Tensor, Tensor]:
        """From the activations before it."""
        message, derivatives = cast(SourceNetwork, self._model).last_layer_derivatives(voltage)
        return message, derivatives.transpose(0, 1)

    def columns(self, wiring: Wiring) -> tuple[np.ndarray, int]:
        """Every edge its own where messages depend on the target."""
        return (np.arange(wiring.n_edges), wiring.n_edges) if self._model.sees_target else super().columns(wiring)

    @torch.no_grad()
    def sums(self, voltage: Tensor, wiring: Wiring, theta: np.ndarray) -> tuple[Tensor, Tensor]:
        """As a sparse product with all derivatives, of so few frames at a time that these stay in the cache."""
        fed, (columns, n_columns) = np.flatnonzero(wiring.in_degree > 0), self.columns(wiring)
        matrix = scipy.sparse.csr_matrix((theta, columns, wiring.indptr), shape=(wiring.n_neurons, n_columns))
        summed = torch_csr(matrix[fed].astype(np.float32))
        at_once = max(1, round(CACHE_BYTES / (4 * n_columns * self.size)))
        messages, basis = torch.empty(len(voltage), n_columns), torch.empty(len(fed), len(voltage), self.size)
        for start in range(0, len(voltage), at_once):
            frames = slice(start, start + at_once)
            messages[frames], derivatives = self._derivatives(voltage[frames], wiring)
            basis[:, frames] = (summed @ derivatives.flatten(1)).view(len(fed), -1, self.size)
        return messages, basis

    def move(self, coefficients: np.ndarray) -> None:
        """Adds them to the layer."""
        set_last_layer(self._model, self._start + torch.as_tensor(coefficients, dtype=torch.float32))

    def _derivatives(self, voltage: Tensor, wiring: Wiring) -> tuple[Tensor, Tensor]:
        """Messages (t, M) and their derivatives (M, t, K), of sources or of edges."""
        if not isinstance(self._model, PairGNN):
            return cast(SourceNetwork, self._model).last_layer_derivatives(voltage)
        ends = (torch.from_numpy(end.copy()) for end in (wiring.pre, wiring.post))
        features = self._model.features_on(voltage, *ends)
        features = torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
        value, units = features @ self._start, self._model.message_units
        slope = 2 * units.gain * value[..., None] if units.squared else units.gain
        return units.of_output(value).T, slope * features


class Tangent(Directions):
    """Combinations of all parameters of a message function that all neurons share, by how much they change messages.

    Derivatives are constant in cells of voltage, whose borders include the network's own bends: there a rectifier's
    derivatives jump, and a step that places a bend to within a cell must know on which side a voltage is.

    Args:
        model: whose message network sees no embedding.
        sample: voltages (T, N) of the recording: what counts as a change.
        visited: lowest and highest voltage of every neuron, each (N,) [a.u.].
    """

    def __init__(self, model: SourceNetwork, sample: np.ndarray, visited: tuple[np.ndarray, np.ndarray]) -> None:
        self._model = model
        self._start = [p.detach().clone() for p in model.message_mlp.parameters()]
        low, high = float(visited[0].min()), float(visited[1].max())
        often = np.quantile(sample, np.linspace(0, 1, N_VOLTAGES // 2))
        evenly = np.linspace(low, high, N_VOLTAGES // 2)
        where = torch.as_tensor(np.r_[often, evenly], dtype=torch.float32)
        effect = parameter_jacobian(model, where)
        value, functions = torch.linalg.eigh(effect @ effect.T)
        kept = value.flip(0)[:MOST_DIRECTIONS] > LEAST_SIZE**2 * value[-1].clamp_min(1e-300)
        self.size = max(1, int(kept.sum()))
        order = torch.arange(len(value) - 1, len(value) - 1 - self.size, -1)
        self._combined = effect.T @ functions[:, order] / value[order].clamp_min(1e-300).sqrt()
        borders = np.unique(np.r_[np.linspace(low, high, N_CELLS), bends(model, low, high)]).astype(np.float32)
        self._borders = torch.from_numpy(borders)
        middle = (self._borders[1:] + self._borders[:-1]) / 2
        self._derivative = torch.cat([parameter_jacobian(model, p) @ self._combined for p in middle.split(PIECE)])
        self._derivative = self._derivative.float()
        self._message = shared_table(model, visited)
        moved = (effect @ self._combined).numpy()[len(often) :]
        now = self._message(evenly[:, None].astype(np.float32)).astype(np.float64)
        bent = np.diff(np.hstack([moved, now]), 2, axis=0)
        self.bent = bent * (self.size**0.5 / max(np.linalg.norm(bent[:, :-1]), 1e-300))

    def jacobian(self, voltage: Tensor) -> tuple[Tensor, Tensor]:
        """Looked up."""
        message = torch.from_numpy(self._message(voltage.numpy()))
        return message, self._derivative.index_select(0, self._cells(voltage).ravel()).view(*voltage.shape, -1)

    def sums(self, voltage: Tensor, wiring: Wiring, theta: np.ndarray) -> tuple[Tensor, Tensor]:
        """Looked up and summed edge by edge: the table stays in the cache, (t, M, K) derivatives would not."""
        fed = torch.from_numpy(np.flatnonzero(wiring.in_degree > 0))
        indptr, pre = (torch.from_numpy(x.astype(np.int64)) for x in (wiring.indptr, wiring.pre))
        weights = torch.as_tensor(theta, dtype=torch.float32)
        basis = table_sums(fed, indptr, pre, weights, self._cells(voltage).T, self._derivative)
        return torch.from_numpy(self._message(voltage.numpy())), basis

    def _cells(self, voltage: Tensor) -> Tensor:
        """(t, N) cell of every voltage."""
        return (torch.bucketize(voltage, self._borders) - 1).clamp_(0, len(self._derivative) - 1)

    @torch.no_grad()
    def move(self, coefficients: np.ndarray) -> None:
        """Adds the combinations to the parameters."""
        change, first = (self._combined @ torch.from_numpy(coefficients)).float(), 0
        for parameter, start in zip(self._model.message_mlp.parameters(), self._start, strict=True):
            parameter.copy_(start + change[first : first + start.numel()].view_as(start))
            first += start.numel()


def directions_of(model: GraphNetwork, sample: np.ndarray, visited: tuple[np.ndarray, np.ndarray]) -> Directions:
    """All parameters where one function of the source serves all neurons, else the last layer; as in `Tangent`."""
    if isinstance(model, SourceNetwork) and model.shared:
        return Tangent(model, sample, visited)
    return LastLayer(model)


def last_layer_of(model: GraphNetwork, sample: np.ndarray, visited: tuple[np.ndarray, np.ndarray]) -> Directions:
    """The last layer, whatever the model; the other arguments are those of `directions_of`."""
    return LastLayer(model)


def parameter_jacobian(model: SourceNetwork, voltage: Tensor) -> Tensor:
    """(G, P) derivatives of the shared message [a.u.] at voltages (G,) by all parameters of its network."""
    network, embedding = model.message_mlp, model.message_embedding.detach()

    def message(parameters: dict[str, Tensor], v: Tensor) -> Tensor:
        return model.in_units(functional_call(network, parameters, ((v[None],), embedding))[0])

    parameters = {name: p.detach() for name, p in network.named_parameters()}
    parts = []
    for part in (voltage / model.scales.voltage).split(PIECE):
        by_name = vmap(grad(message), in_dims=(None, 0))(parameters, part)
        parts.append(torch.cat([g.flatten(1) for g in by_name.values()], dim=1).double())
    return torch.cat(parts)


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
