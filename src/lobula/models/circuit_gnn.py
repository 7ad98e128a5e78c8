r"""The graph neural network of the fly circuit (flyvis_A).

.. math:: \dot v_i = f_\theta(v_i, a_i, \sum_j W_{ij}\, g_\phi(v_j, a_j)^2, I_i)

Reference: Allier et al. (2026), arXiv 2602.13325.
"""

from functools import cached_property

from torch import Tensor

from lobula.kernels.native import loss
from lobula.kernels.native import source_network as native
from lobula.models.fields import all_but
from lobula.models.graph_network import SourceNetwork
from lobula.models.low_rank import low_rank
from lobula.models.registry import register


@register("flyvis_A", "f(v_i, a_i, sum_j W_ij g(v_j, a_j), I_i)", reads=all_but())
class CircuitGNN(SourceNetwork):
    """Messages of the source alone; the update sees their sum."""

    @cached_property
    def _in_one(self) -> native.Parts | None:
        """As one operation; None where weights are made of factors. Parameters are the same wherever they move."""
        if low_rank(self) is not None:
            return None
        networks = self.message_mlp.in_units(self.message_units), self.update_mlp.in_units(self.update_units)
        return native.Parts(self.pattern, *networks)

    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt at voltage and external input, each (B, N)."""
        if self._in_one is not None:
            tensors = voltage, external, self.weight, self.embedding
            if native.fits(tensors, self._in_one):
                return native.source_network(tensors, self._in_one, self._is_shared)
        return super().forward(voltage, external)

    def misfit(self, voltage: Tensor, external: Tensor, target: Tensor, weight: Tensor) -> Tensor | None:
        """Prediction and loss as one operation, where there are kernels for it."""
        if self._in_one is None:
            return None
        tensors = voltage, external, self.weight, self.embedding
        if not (native.fits(tensors, self._in_one) and loss.fits(voltage, target, weight)):  # prediction: as voltage
            return None
        return native.misfit(tensors, target, weight, self._in_one, self._is_shared)
