r"""The graph neural network whose messages depend on both ends of an edge (flyvis_B).

.. math:: \dot v_i = f_\theta(v_i, a_i, \sum_j W_{ij}\, g_\phi(v_i, v_j, a_i, a_j)^2, I_i)

For synapses whose effect depends on the state of the target: a driving force, gap junctions, shunting inhibition. Its
cost is per edge and not per neuron (31.6 times as many rows on the fly's optic lobe); see `kernels.pair_mlp`.
"""

import torch
from torch import Tensor

from lobula.config.model import ModelConfig
from lobula.models.fields import FACTORS, all_but
from lobula.models.graph_network import GraphNetwork
from lobula.models.mlp import ALIKE, PairMLP
from lobula.models.registry import register

FRAMES = 32
"""Frames evaluated at a time; the first layer's shares take 2 x 4 N H bytes each."""


@register("flyvis_B", "f(v_i, a_i, sum_j W_ij g(v_i, v_j, a_i, a_j), I_i)", reads=all_but(FACTORS))
class PairGNN(GraphNetwork):
    """Messages that depend on source and target, evaluated on every edge."""

    message_mlp: PairMLP
    sees_target = True

    @staticmethod
    def message_network(config: ModelConfig, generator: torch.Generator) -> PairMLP:
        """A network on voltages and embeddings of source and target."""
        alike = ALIKE if config.mlp_init == "fan_in" else 1.0
        shape = config.hidden_dim, config.n_layers, config.activation, generator, config.mlp_init
        return PairMLP(config.embedding_dim, *shape, alike)

    def message(self, voltage: Tensor) -> Tensor:
        """(B, N) message of every neuron to a target at voltage 0 with the mean embedding."""
        n, embedding = voltage.shape[1], self.message_embedding
        everyone, one = torch.arange(n, device=voltage.device), torch.zeros(n, dtype=torch.int64, device=voltage.device)
        mean = embedding.mean(0, keepdim=True)
        value = self.message_mlp(self._seen(voltage), torch.zeros_like(voltage[:, :1]), embedding, mean, everyone, one)
        return self.in_units(value).T

    def messages_between(self, source: Tensor, target: Tensor, detached: bool = False) -> Tensor:
        """(B, E) message on every edge of the wiring."""
        return self.on_edges(source, target, self.pattern.pre, self.pattern.post, detached).T

    def on_edges(self, source: Tensor, target: Tensor, pre: Tensor, post: Tensor, detached: bool = False) -> Tensor:
        """(E, B) message on any edges, given by their ends (E,); voltages (B, N)."""
        embedding = self.message_embedding.detach() if detached else self.message_embedding
        value = self.message_mlp(self._seen(source), self._seen(target), embedding, embedding, pre, post)
        return self.in_units(value)

    def features_on(self, voltage: Tensor, pre: Tensor, post: Tensor) -> Tensor:
        """(E, B, H) activations before the message network's last layer on any edges, at voltages (B, N)."""
        seen, embedding = self._seen(voltage), self.message_embedding
        source, target = self.message_mlp.shares(seen, seen, embedding, embedding)
        return self.message_mlp.features(source[pre] + target[post])

    def weighted_sum(self, weight: Tensor, voltage: Tensor) -> Tensor:
        """(B, N) messages on the edges times given weights (E,), summed over the inputs."""
        parts = voltage.split(FRAMES)
        return torch.cat([self._sum(weight, part) for part in parts]) if len(parts) > 1 else self._sum(weight, voltage)

    def _sum(self, weight: Tensor, voltage: Tensor) -> Tensor:
        messages = self.on_edges(voltage, voltage, self.pattern.pre, self.pattern.post)
        rows = weight[:, None] * messages.to(weight.dtype)
        return torch.segment_reduce(rows, "sum", offsets=self.pattern.indptr, axis=0, unsafe=True).T

    def _seen(self, voltage: Tensor) -> Tensor:
        return voltage / self.scales.voltage
