"""A multilayer perceptron over neurons: scalar inputs that vary in time, an embedding that does not."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lobula.kernels import blocked_mlp, plain_mlp
from lobula.kernels.blocked_mlp import FUNCTIONS

SMALL = 0.1


class NodeMLP(nn.Module):
    """Scalar output per neuron from scalar inputs and the neuron's embedding.

    The embedding's share of the first layer is computed once per neuron and not once per frame.

    Args:
        n_scalars: number of inputs that vary in time.
        embedding_dim: D.
        hidden_dim: units of each hidden layer.
        n_layers: linear layers, the last one included.
        activation: name in `kernels.blocked_mlp.FUNCTIONS`.
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
        sizes = [hidden_dim] * (n_layers - 1) + [1] if n_layers > 1 else []
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activation = activation
        self._initialise(n_scalars + embedding_dim, generator, start, embedding_scale)

    def _initialise(self, fan_in: int, generator: torch.Generator, start: str, embedding_scale: float) -> None:
        with torch.no_grad():
            for layer in (self.scalars, self.embedding):
                layer.weight.normal_(0.0, fan_in**-0.5, generator=generator)
            self.embedding.weight.mul_(embedding_scale)
            self.embedding.bias.uniform_(-1.0, 1.0, generator=generator)
            for layer in self.hidden:
                spread = SMALL if start == "small" else layer.in_features**-0.5
                layer.weight.normal_(0.0, spread, generator=generator)
                layer.bias.zero_()

    def forward(self, scalars: Tensor, embedding: Tensor) -> Tensor:
        """Evaluates the network; under `torch.autocast` its products are computed in the lower precision.

        Args:
            scalars: (..., N, n_scalars).
            embedding: (N, D).

        Returns:
            (..., N) in the dtype of ``scalars``.
        """
        is_cpu, lower = scalars.device.type == "cpu", torch.is_autocast_enabled(scalars.device.type)
        blocked = is_cpu and scalars.ndim == 3 and len(self.hidden) > 0 and not lower
        evaluate = blocked_mlp if blocked else plain_mlp
        first = torch.cat([self.scalars.weight, self.embedding.weight], dim=1), self.embedding.bias
        layers = [first, *((layer.weight, layer.bias) for layer in self.hidden)]
        value = evaluate(scalars, embedding, layers, self.activation)
        return value.to(scalars.dtype)

    def features(self, scalars: Tensor, embedding: Tensor) -> Tensor:
        """(..., N, H) activations before the last layer; arguments as in `forward`."""
        activation = FUNCTIONS[self.activation]
        x = self.scalars(scalars) + self.embedding(embedding)
        for layer in self.hidden[:-1]:
            x = layer(activation(x))
        return activation(x)
