r"""The circuit's equation with free parameters, trained by gradient descent (flyvis_linear, flyvis_linear_tanh).

.. math:: \tau_i \dot v_i = -v_i + V_i + s \tanh v_i + \sum_j W_{ij}\, \mathrm{relu}(v_j) + I_i

What the network of `circuit_gnn` must find out is given here: a control that says how much of its error is due to
gradient descent. Ridge solves the same problem in closed form.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lobula.config.model import ModelConfig
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring
from lobula.kernels import SparsePattern
from lobula.models.base import AbstractDynamicsModel, Scales
from lobula.models.fields import ANY_NETWORK, EMBEDDING, MESSAGE_NETWORK, UPDATE_NETWORK, all_but
from lobula.models.graph_network import start_weight
from lobula.models.low_rank import weight_parameters
from lobula.models.registry import register

FIRST_TAU = 0.1  # s
READS = all_but(MESSAGE_NETWORK, UPDATE_NETWORK, ANY_NETWORK, EMBEDDING)


class _KnownODE(AbstractDynamicsModel):
    """Weight per edge, time constant and rest per neuron; with a common tanh term or without.

    Args:
        config: section `model`; `w_init` and `rank` are used.
        wiring: the known graph.
        scales: sizes of the recording.
        streams: random streams; "init" is used.
    """

    has_tanh: bool

    def __init__(self, config: ModelConfig, wiring: Wiring, scales: Scales, streams: Streams) -> None:
        super().__init__()
        self.config, self.scales = config, scales
        self.pattern = SparsePattern(wiring)
        start_weight(self, config, wiring, streams)
        self.log_tau = nn.Parameter(torch.full((wiring.n_neurons,), FIRST_TAU).log())
        self.v_rest = nn.Parameter(torch.zeros(wiring.n_neurons))
        self.coupling = nn.Parameter(torch.zeros(()), requires_grad=self.has_tanh)
        self.register_buffer("shared", torch.tensor(True))

    def groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Time constants, rests and the tanh term are in the place of f_theta."""
        own = [self.log_tau, self.v_rest, *([self.coupling] if self.has_tanh else [])]
        return {"f_theta": own, "W": weight_parameters(self)}

    def message(self, voltage: Tensor) -> Tensor:
        """(B, N) relu of the voltage."""
        return torch.relu(voltage)

    def update(self, voltage: Tensor, summed: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt."""
        total = self.v_rest - voltage + summed + external
        if self.has_tanh:
            total = total + self.coupling * torch.tanh(voltage)
        return total * torch.exp(-self.log_tau)

    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt at voltage and external input, each (B, N)."""
        return self.update(voltage, self.summed_message(voltage), external)


@register("flyvis_linear", "(-v_i + V_i + sum_j W_ij relu(v_j) + I_i) / tau_i", reads=READS)
class KnownODE(_KnownODE):
    """The fly circuit's equation."""

    has_tanh = False


@register("flyvis_linear_tanh", "(-v_i + V_i + s tanh(v_i) + sum_j W_ij relu(v_j) + I_i) / tau_i", reads=READS)
class KnownODEWithTanh(_KnownODE):
    """The same with a term s tanh(v), s common to all neurons."""

    has_tanh = True
