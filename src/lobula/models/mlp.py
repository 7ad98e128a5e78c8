"""Multilayer perceptrons over neurons and over edges: voltages that vary in time, embeddings that do not."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lobula.kernels import Perceptron, blocked_mlp, last_layer_derivatives, pair_mlp, plain_mlp
from lobula.kernels.perceptron import BARE, FUNCTIONS, Units

SMALL = 0.1
ALIKE = 0.1
"""Initial influence of embeddings, and of a target, on messages: alike until the data say otherwise."""


def initialise(
    first: Sequence[tuple[nn.Linear, float]], hidden: nn.ModuleList, generator: torch.Generator, start: str
) -> None:
    """Random weights.

    Args:
        first: the layers that make the first one together, each with a factor on its influence.
        hidden: further layers.
        generator: random stream.
        start: "fan_in", or "small": layers after the first N(0, 0.1) with bias 0, as published.
    """
    fan_in = sum(layer.in_features for layer, _ in first)
    with torch.no_grad():
        for layer, _ in first:
            layer.weight.normal_(0.0, fan_in**-0.5, generator=generator)
        for layer, influence in first:
            layer.weight.mul_(influence)
            if layer.bias is not None:
                layer.bias.uniform_(-1.0, 1.0, generator=generator)
        for layer in hidden:
            spread = SMALL if start == "small" else layer.in_features**-0.5
            layer.weight.normal_(0.0, spread, generator=generator)
            layer.bias.zero_()


def further_layers(hidden_dim: int, n_layers: int) -> nn.ModuleList:
    """The linear layers after the first, the last with one output."""
    sizes = [hidden_dim] * (n_layers - 1) + [1] if n_layers > 1 else []
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))


class NodeMLP(nn.Module):
    """Scalar output per neuron from scalar inputs and the neuron's embedding.

    The embedding's share of the first layer is computed once per neuron and not once per frame.

    Args:
        n_scalars: number of inputs that vary in time.
        embedding_dim: D.
        hidden_dim: units of each hidden layer.
        n_layers: linear layers, the last one included.
        activation: name in `kernels.perceptron.FUNCTIONS`.
        generator: random stream of the initial weights.
        start: "fan_in", or "small": layers after the first N(0, 0.1) with bias 0, as published.
        embedding_scale: initial influence of the embedding; small makes neurons alike until the data say otherwise.
    """

    def __init__(
        self,
        n_scalars: int,
        embedding_dim: int,
        hidden_dim: int,
        n_layers: int,
        activation: str,
        generator: torch.Generator,
        start: str = "fan_in",
        embedding_scale: float = 1.0,
    ) -> None:
        super().__init__()
        width = hidden_dim if n_layers > 1 else 1
        self.scalars = nn.Linear(n_scalars, width, bias=False)
        self.embedding = nn.Linear(embedding_dim, width)
        self.hidden = further_layers(hidden_dim, n_layers)
        self.activation = activation
        initialise([(self.scalars, 1.0), (self.embedding, embedding_scale)], self.hidden, generator, start)

    def fix_embedding(self, embedding: Tensor) -> None:
        """Takes an embedding (D,) for that of all neurons, so that 0 means it from now on."""
        self.embedding.bias.copy_(self.embedding(embedding))

    def see_source_only(self) -> None:
        """The output no longer depends on the embedding."""
        self.embedding.weight.zero_()

    def in_units(self, units: Units) -> Perceptron:
        """The network as kernels take it."""
        first = self.scalars.weight, self.embedding.weight, self.embedding.bias
        further = (tensor for layer in self.hidden for tensor in (layer.weight, layer.bias))
        return Perceptron((*first, *further), self.activation, units)

    def forward(
        self, scalars: Sequence[Tensor], embedding: Tensor, units: Units = BARE, by_neuron: bool = False
    ) -> Tensor:
        """Evaluates the network; under `torch.autocast` its products are computed in the lower precision.

        Args:
            scalars: n_scalars inputs, each (..., N).
            embedding: (N, D) or (1, D).
            units: of scalars and output.
            by_neuron: the output lies in memory neuron by neuron; values are the same.

        Returns:
            (..., N) in the dtype of the scalars.
        """
        kind, network = scalars[0].device.type, self.in_units(units)
        if kind == "cpu" and scalars[0].ndim == 2 and self.hidden and not torch.is_autocast_enabled(kind):
            return blocked_mlp(scalars, embedding, network, by_neuron)
        return plain_mlp(scalars, embedding, network).to(scalars[0].dtype)

    def last_layer_derivatives(
        self, scalars: Sequence[Tensor], embedding: Tensor, units: Units = BARE
    ) -> tuple[Tensor, Tensor]:
        """Output (B, N), and its derivatives (N, B, H + 1) by the weights and the bias of the last layer; arguments as
        in `forward`, scalars (B, N). For two layers or more."""
        return last_layer_derivatives(scalars, embedding, self.in_units(units))


class PairMLP(nn.Module):
    """Scalar output per edge from the voltages of its source and its target and from their embeddings.

    Args:
        embedding_dim: D.
        hidden_dim: units of each hidden layer.
        n_layers: linear layers, the last one included.
        activation: name in `kernels.perceptron.FUNCTIONS`.
        generator: random stream of the initial weights.
        start: as in `NodeMLP`.
        influence: initial influence of embeddings and of the target's voltage.
    """

    def __init__(
        self,
        embedding_dim: int,
        hidden_dim: int,
        n_layers: int,
        activation: str,
        generator: torch.Generator,
        start: str = "fan_in",
        influence: float = 1.0,
    ) -> None:
        super().__init__()
        width = hidden_dim if n_layers > 1 else 1
        self.scalars = nn.Linear(1, width, bias=False)
        self.embedding = nn.Linear(embedding_dim, width)
        self.target_scalars = nn.Linear(1, width, bias=False)
        self.target_embedding = nn.Linear(embedding_dim, width, bias=False)
        self.hidden = further_layers(hidden_dim, n_layers)
        self.activation = activation
        others = [(layer, influence) for layer in (self.embedding, self.target_scalars, self.target_embedding)]
        initialise([(self.scalars, 1.0), *others], self.hidden, generator, start)

    def fix_embedding(self, embedding: Tensor) -> None:
        """Takes an embedding (D,) for that of all neurons, so that 0 means it from now on."""
        self.embedding.bias.copy_(self.embedding(embedding) + self.target_embedding(embedding))

    def see_source_only(self) -> None:
        """The output no longer depends on the target or on the embeddings."""
        for layer in (self.embedding, self.target_scalars, self.target_embedding):
            layer.weight.zero_()

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_embedding: Tensor,
        target_embedding: Tensor,
        pre: Tensor,
        post: Tensor,
    ) -> Tensor:
        """Evaluates the network on edges.

        Args:
            source: (B, N) voltages as sources.
            target: (B, M) voltages as targets.
            source_embedding: (N, D) or (1, D).
            target_embedding: (M, D) or (1, D).
            pre: (E,) source of every edge.
            post: (E,) target of every edge.

        Returns:
            (E, B).
        """
        shares = self.shares(source, target, source_embedding, target_embedding)
        layers = [(layer.weight, layer.bias) for layer in self.hidden]
        return pair_mlp(*shares, pre, post, layers, self.activation)

    def shares(
        self, source: Tensor, target: Tensor, source_embedding: Tensor, target_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(N, B, H) and (M, B, H): what sources and targets give to the first layer; arguments as in `forward`."""
        own = source.T[..., None] * self.scalars.weight[:, 0] + self.embedding(source_embedding)[:, None]
        other = target.T[..., None] * self.target_scalars.weight[:, 0]
        return own, other + self.target_embedding(target_embedding)[:, None]

    def features(self, first: Tensor) -> Tensor:
        """(..., H) activations before the last layer, from the first layer's (..., H)."""
        activation = FUNCTIONS[self.activation]
        for layer in self.hidden[:-1]:
            first = layer(activation(first))
        return activation(first)
