r"""Directions in which a Gauss-Newton step moves the message network, and what the messages do along them.

A network with a message function per neuron, or per pair, moves its last layer alone: the message is (almost) linear in
it. Where all neurons share one function of the voltage all layers move. Near the present parameters the function is

.. math:: g(v) + J(v)\,\delta\theta, \qquad J \approx \sum_k s_k\, u_k(v)\, w_k'

with the singular vectors of J at the voltages that neurons visit; the step is sought along the largest of them, as many
as a last layer has units. Kinks move that way, which no combination of the last layer's inputs does. The products J J'
that give them are sums over layers of products of inputs times products of pulled back gradients (the empirical neural
tangent kernel, Jacot et al. 2018), so that J itself, thousands of parameters wide, is never built.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from lobula.data.wiring import Wiring
from lobula.kernels.blocked_mlp import FUNCTIONS
from lobula.models.graph_network import GraphNetwork, SourceNetwork
from lobula.models.messages import SHARED_POINTS
from lobula.models.pair_gnn import PairGNN

N_DIRECTIONS = 64
GRID = 1025
"""Voltages at which a shared function's derivatives are known."""
UNVISITED = 0.01
"""Share of the weight that is spread over all voltages."""
LEAST = 1e-10
"""Squared singular values below this share of the largest are rounding."""


class Directions(Protocol):
    """What `gauss_newton_step` needs of a network; made anew for every step.

    Attributes:
        n: number of directions K.
        per_edge: whether there is a message per edge instead of one per neuron.
    """

    n: int
    per_edge: bool

    def jacobian(self, voltage: Tensor, wiring: Wiring) -> tuple[Tensor, Tensor]:
        """Messages (t, M) at voltages (t, N) and their derivatives (t, M, K); M is N, or the wiring's edges."""

    def move(self, step: Tensor) -> None:
        """Sets the network to where it was when this was made, plus (K,) along the directions."""


def directions_of(model: GraphNetwork, sample: Tensor, low: float, high: float) -> Directions:
    """The directions of a network at its present parameters.

    Args:
        model: on the CPU.
        sample: (t, N) voltages that say what is visited how often [a.u.].
        low, high: range of all voltages [a.u.].
    """
    if isinstance(model, SourceNetwork) and model.shared and len(model.message_mlp.hidden) > 0:
        return Tangent(model, sample, low, high)
    return LastLayer(model)


class LastLayer:
    """Weights and bias of the message network's last layer.

    Args:
        model: moved in place.
    """

    def __init__(self, model: GraphNetwork) -> None:
        self._model, self._last = model, model.message_mlp.hidden[-1]
        self._before = torch.cat([self._last.weight[0], self._last.bias]).detach().clone()
        self.n, self.per_edge = len(self._before), model.sees_target

    @torch.no_grad()
    def jacobian(self, voltage: Tensor, wiring: Wiring) -> tuple[Tensor, Tensor]:
        """See `Directions`."""
        if isinstance(self._model, PairGNN):
            ends = (torch.from_numpy(end.copy()) for end in (wiring.pre, wiring.post))
            features = self._model.features_on(voltage, *ends).transpose(0, 1)
        else:
            features = self._model.features(voltage)
        features = torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
        value, scale = features @ self._before, self._model.scales.voltage
        slope = 2 * value[..., None] if self._model.config.g_phi_positive else 1.0
        return self._model.in_units(value), scale * slope * features

    @torch.no_grad()
    def move(self, step: Tensor) -> None:
        """See `Directions`."""
        moved = self._before + step
        self._last.weight.copy_(moved[None, :-1])
        self._last.bias.copy_(moved[-1:])


class Tangent:
    """All layers of a message network whose function all neurons share.

    Args:
        model: moved in place.
        sample: (t, N) voltages that say what is visited how often [a.u.].
        low, high: range of all voltages [a.u.].
    """

    per_edge = False

    def __init__(self, model: SourceNetwork, sample: Tensor, low: float, high: float) -> None:
        self._model, self._parameters = model, list(model.message_mlp.parameters())
        self._before = [p.detach().clone() for p in self._parameters]
        self._low, self._high = low, high
        self._grid = torch.linspace(low, high, GRID)
        count = torch.histc(sample.flatten(), GRID, low, high).double()
        self._weight = torch.sqrt(count / count.sum() + UNVISITED / GRID)
        weighted = self._weight[:, None] * self._kernel() * self._weight
        largest = (GRID - N_DIRECTIONS, GRID - 1)
        squares, vectors = map(torch.from_numpy, eigh(weighted.numpy(), subset_by_index=largest))
        kept = squares > LEAST * squares[-1]
        self._size, self._vectors = squares[kept].sqrt(), vectors[:, kept]
        self._derivative = (self._vectors * self._size / self._weight[:, None]).float()
        self.n = self._derivative.shape[1]

    @torch.no_grad()
    def jacobian(self, voltage: Tensor, wiring: Wiring) -> tuple[Tensor, Tensor]:
        """See `Directions`; derivatives are those of the nearest point of the grid."""
        if voltage.numel() > SHARED_POINTS:
            fine = torch.linspace(float(voltage.min()), float(voltage.max()), SHARED_POINTS)
            value = np.interp(voltage, fine, self._model.message(fine[:, None])[:, 0])
            message = torch.from_numpy(value.astype(np.float32))
        else:
            message = self._model.message(voltage)
        place = (voltage - self._low) * ((GRID - 1) / (self._high - self._low)) + 0.5
        nearest = place.to(torch.int32).clamp_(0, GRID - 1)
        return message, self._derivative.index_select(0, nearest.flatten()).view(*voltage.shape, -1)

    def move(self, step: Tensor) -> None:
        """See `Directions`."""
        self._set(self._before)
        along = self._weight * (self._vectors @ (step.double() / self._size))
        with torch.enable_grad():
            value = self._model.in_units(self._layers()[1][-1][:, 0])
            pulled = torch.autograd.grad((along.float() * value).sum(), self._parameters, allow_unused=True)
        changes = zip(self._before, pulled, strict=True)
        self._set([b if change is None else b + change for b, change in changes])

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def _layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs and outputs (GRID, units) of every linear layer at the grid."""
        mlp = self._model.message_mlp
        activation = FUNCTIONS[mlp.activation]
        inputs = [(self._grid / self._model.scales.voltage)[:, None]]
        outputs = [inputs[0] @ mlp.scalars.weight.T + mlp.embedding.bias]
        for layer in mlp.hidden:
            inputs.append(activation(outputs[-1]))
            outputs.append(layer(inputs[-1]))
        return inputs, outputs

    def _kernel(self) -> Tensor:
        """(GRID, GRID) products J J' of the derivatives by all weights and biases."""
        with torch.enable_grad():
            inputs, outputs = self._layers()
            pulled = torch.autograd.grad(self._model.in_units(outputs[-1][:, 0]).sum(), outputs)
        parts = zip(inputs, pulled, strict=True)
        kernel = torch.zeros(GRID, GRID, dtype=torch.float64)
        for x, d in ((x.detach().double(), d.double()) for x, d in parts):
            kernel += (d @ d.T) * (x @ x.T + 1.0)
        return kernel


@torch.no_grad()
def message_spread(model: GraphNetwork, voltage: Tensor) -> float:
    """Standard deviation of all messages at voltages (t, N): the scale that messages and weights may trade."""
    return float(model.messages_between(voltage, voltage).std())


@torch.no_grad()
def rescale_messages(model: GraphNetwork, spread: float, voltage: Tensor) -> None:
    """Scales the messages back to a given spread; the weights are refitted anyway."""
    ratio = spread / max(message_spread(model, voltage), 1e-30)
    last = model.message_mlp.hidden[-1]
    for parameter in (last.weight, last.bias):
        parameter.mul_(ratio**0.5 if model.config.g_phi_positive else ratio)
