r"""The graph neural network of signal networks (signal, signal_low_rank).

.. math:: \dot u_i = \phi(u_i, a_i, e_i) + \sum_j W_{ij}\, \psi(u_j, a_j)

What a neuron receives is added to what it does by itself: the update is affine in the summed message whatever the
networks learn, so that messages and weights can be read off. Reference: Allier et al. (2026), arXiv 2602.13325.
"""

from torch import Tensor

from lobula.config.model import ModelConfig
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring
from lobula.models.base import Scales
from lobula.models.fields import PRIOR, all_but
from lobula.models.graph_network import SourceNetwork
from lobula.models.registry import register

DEFAULT_RANK = 20
"""Of signal_low_rank, where `model.rank` is null: that of `signal.connectivity=low_rank`."""


class _SignalNetwork(SourceNetwork):
    """phi and psi are networks; the sum of the messages is added in units of the target per unit of the voltage."""

    update_inputs = 2

    @property
    def message_gain(self) -> float:
        """What dv/dt gains per unit of the summed message [1/s]."""
        return self.scales.target / self.scales.voltage

    def update(self, voltage: Tensor, summed: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt."""
        own = self.update_mlp((voltage, external), self.embedding, self.update_units)
        return own + self.message_gain * summed


@register("signal", "f(v_i, a_i, I_i) + sum_j W_ij g(v_j, a_j)", reads=all_but())
class SignalGNN(_SignalNetwork):
    """One weight per edge, or factors where `model.rank` says so."""


@register(
    "signal_low_rank",
    "f(v_i, a_i, I_i) + sum_j W_ij g(v_j, a_j), W = W_L W_R of rank model.rank (null: 20)",
    reads=all_but(["training.warm_start"], PRIOR),
)
class LowRankSignalGNN(_SignalNetwork):
    """Weights of low rank."""

    def __init__(self, config: ModelConfig, wiring: Wiring, scales: Scales, streams: Streams) -> None:
        rank = min(config.rank or DEFAULT_RANK, max(wiring.n_neurons, 1))
        super().__init__(config.model_copy(update={"rank": rank}), wiring, scales, streams)
