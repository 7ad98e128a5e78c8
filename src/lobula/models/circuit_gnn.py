r"""The graph neural network of the fly circuit (flyvis_A).

.. math:: \dot v_i = f_\theta(v_i, a_i, \sum_j W_{ij}\, g_\phi(v_j, a_j)^2, I_i)

Reference: Allier et al. (2026), arXiv 2602.13325.
"""

import torch
from torch import Tensor

from lobula.config.model import ModelConfig
from lobula.models.fields import all_but
from lobula.models.graph_network import GraphNetwork
from lobula.models.mlp import ALIKE, NodeMLP
from lobula.models.registry import register


@register("flyvis_A", reads=all_but())
class CircuitGNN(GraphNetwork):
    """Messages that depend on the source neuron alone, evaluated once per neuron."""

    message_mlp: NodeMLP

    @staticmethod
    def message_network(config: ModelConfig, generator: torch.Generator) -> NodeMLP:
        """A network on the source's voltage and embedding."""
        alike = ALIKE if config.mlp_init == "fan_in" else 1.0
        shape = config.hidden_dim, config.n_layers, config.activation, generator, config.mlp_init
        return NodeMLP(1, config.embedding_dim, *shape, alike)

    def message(self, voltage: Tensor) -> Tensor:
        """(B, N) message g_phi(v, a), squared where `g_phi_positive`, in units of the voltage scale."""
        return self.messages_between(voltage, voltage)

    def messages_between(self, source: Tensor, target: Tensor, detached: bool = False) -> Tensor:
        """(B, N) message of every source, whatever the target."""
        embedding = self.message_embedding.detach() if detached else self.message_embedding
        return self.in_units(self.message_mlp((source / self.scales.voltage)[..., None], embedding))

    def features(self, voltage: Tensor) -> Tensor:
        """(B, N, H) activations before the message network's last layer."""
        return self.message_mlp.features((voltage / self.scales.voltage)[..., None], self.message_embedding)
