"""What the graph neural networks share: update network, embeddings, weights, and messages that may be one for all."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lobula.config.model import ModelConfig
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring
from lobula.kernels import SparsePattern, Units
from lobula.models.base import AbstractDynamicsModel, Scales
from lobula.models.low_rank import factorise, weight_parameters
from lobula.models.mlp import ALIKE, NodeMLP, PairMLP


def start_weight(model: AbstractDynamicsModel, config: ModelConfig, wiring: Wiring, streams: Streams) -> None:
    """Gives a model the weights (E,) that a training starts from, free or of low rank."""
    size = {"zeros": 0.0, "randn": 1.0, "randn_scaled": max(wiring.n_edges, 1) ** -0.5}[config.w_init]
    generator = streams.torch_generator("init", "weight")
    model.weight = nn.Parameter(size * torch.randn(wiring.n_edges, generator=generator))
    if config.rank is not None:
        factorise(model, model.pattern, config.rank, size, streams)


class GraphNetwork(AbstractDynamicsModel):
    """A message network, an update network on the target neuron, one weight per edge, free or of low rank.

    Args:
        config: section `model`.
        wiring: the known graph.
        scales: sizes of the recording.
        streams: random streams; "init" is used.
    """

    message_mlp: NodeMLP | PairMLP
    update_inputs: int = 3
    """Of the update network beside the embedding: voltage, summed message and external input."""

    def __init__(self, config: ModelConfig, wiring: Wiring, scales: Scales, streams: Streams) -> None:
        super().__init__()
        self.config, self.scales = config, scales
        self.pattern = SparsePattern(wiring)
        d, n = config.embedding_dim, wiring.n_neurons
        generator = streams.torch_generator("init", "networks")
        self.message_mlp = self.message_network(config, generator)
        shape = config.hidden_dim_update, config.n_layers_update, config.activation, generator, config.mlp_init
        self.update_mlp = NodeMLP(self.update_inputs, d, *shape)
        generator = streams.torch_generator("init", "embedding")
        start = torch.randn(n, d, generator=generator) if config.embedding_init == "random" else torch.ones(n, d)
        self.embedding = nn.Parameter(start)
        self.register_buffer("shared", torch.tensor(config.g_phi_shared == "yes"))
        self._is_shared = config.g_phi_shared == "yes"  # the buffer may be on a GPU, where reading it waits
        self.register_load_state_dict_post_hook(lambda model, _: model._note_shared())
        start_weight(self, config, wiring, streams)

    @staticmethod
    @abstractmethod
    def message_network(config: ModelConfig, generator: torch.Generator) -> NodeMLP | PairMLP:
        """A new message network."""

    def groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Both networks, embeddings and weights."""
        networks = {"g_phi": list(self.message_mlp.parameters()), "f_theta": list(self.update_mlp.parameters())}
        return {**networks, "embedding": [self.embedding], "W": weight_parameters(self)}

    @property
    def message_embedding(self) -> Tensor:
        """(N, D) embedding that the message network sees; (1, D) zeros where all neurons share one message function."""
        return torch.zeros_like(self.embedding[:1]) if self._is_shared else self.embedding

    @torch.no_grad()
    def share_messages(self) -> None:
        """From now on all neurons have the message function of their mean embedding."""
        self.message_mlp.fix_embedding(self.embedding.mean(0))
        self.mark_shared()

    def mark_shared(self) -> None:
        """From now on the message network sees no embedding."""
        self.shared.fill_(True)
        self._note_shared()

    def _note_shared(self) -> None:
        self._is_shared = bool(self.shared)

    @property
    def message_units(self) -> Units:
        """Of voltages, and of messages, which are squared where `g_phi_positive`."""
        return Units(self.scales.voltage, self.scales.voltage, self.config.g_phi_positive)

    @property
    def update_units(self) -> Units:
        """Of what enters the update network, and of dv/dt."""
        return Units(self.scales.voltage, self.scales.target)

    def in_units(self, value: Tensor) -> Tensor:
        """Output of the message network as a message [a.u.], squared where `g_phi_positive`."""
        return self.message_units.of_output(value)

    def update(self, voltage: Tensor, summed: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt."""
        return self.update_mlp((voltage, summed, external), self.embedding, self.update_units)

    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt at voltage and external input, each (B, N)."""
        return self.update(voltage, self.summed_message(voltage), external)


class SourceNetwork(GraphNetwork):
    """A graph network whose messages depend on the source neuron alone, evaluated once per neuron."""

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
        return self.message_mlp((source,), embedding, self.message_units, by_neuron=True)

    def last_layer_derivatives(self, voltage: Tensor) -> tuple[Tensor, Tensor]:
        """Messages (B, N), and their derivatives (N, B, H + 1) by the parameters of the network's last layer."""
        return self.message_mlp.last_layer_derivatives((voltage,), self.message_embedding, self.message_units)
