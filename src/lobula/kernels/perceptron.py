"""A multilayer perceptron over neurons, as the kernels take it, and what it computes in torch's own operations."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "softplus": torch.nn.functional.softplus,
}


class Units(NamedTuple):
    """What surrounds a network.

    Attributes:
        unit: scalars are divided by it.
        gain: the output is multiplied with it.
        squared: whether the output is squared before.
    """

    unit: float = 1.0
    gain: float = 1.0
    squared: bool = False

    def of_output(self, value: Tensor) -> Tensor:
        """A network's output in its unit."""
        value = value.square() if self.squared else value
        return value if self.gain == 1.0 else self.gain * value


BARE = Units()


class Perceptron(NamedTuple):
    """Layers, and what surrounds them.

    Attributes:
        layers: weights of the first layer for scalars (H, S) and for the embedding (H, D) and its bias (H,), then
            weight (out, in) and bias (out,) of every further layer, the last of which has one output.
        activation: name in `FUNCTIONS`.
        units: of scalars and output.
    """

    layers: tuple[Tensor, ...]
    activation: str
    units: Units = BARE

    @property
    def further(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of every layer after the first."""
        return list(zip(self.layers[3::2], self.layers[4::2], strict=True))


def plain_mlp(scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron) -> Tensor:
    """The network without blocks, for any device and depth; arguments as in `blocked_mlp`, scalars (..., N)."""
    by_scalars, by_embedding, bias = network.layers[:3]
    linear = torch.nn.functional.linear
    inputs = torch.stack(tuple(scalars), dim=-1)
    inputs = inputs if network.units.unit == 1.0 else inputs / network.units.unit
    x = linear(inputs, by_scalars) + linear(embedding, by_embedding, bias)  # the embedding's share once per neuron
    for weight, bias in network.further:
        x = linear(FUNCTIONS[network.activation](x), weight, bias)
    return network.units.of_output(x[..., 0])
