r"""The graph neural network of the fly circuit (flyvis_A).

.. math:: \dot v_i = f_\theta(v_i, a_i, \sum_j W_{ij}\, g_\phi(v_j, a_j)^2, I_i)

Reference: Allier et al. (2026), arXiv 2602.13325.
"""

from collections.abc import Callable
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
        """What makes it one operation; None where weights are made of factors, or there are no kernels for it."""
        if low_rank(self) is not None:
            return None
        networks = self.message_mlp.in_units(self.message_units), self.update_mlp.in_units(self.update_units)
        parts = native.Parts(self.pattern, *networks)
        return parts if native.fits(self.weight, self.embedding, parts) else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CircuitGNN":
        """What torch calls to move a model or to change its precision."""
        self.__dict__.pop("_in_one", None)
        return super()._apply(fn, recurse)

    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt at voltage and external input, each (B, N)."""
        if self._in_one is None or not native.frames_fit(voltage, external, self._in_one):
            return super().forward(voltage, external)
        tensors = voltage, external, self.weight, self.embedding
        return native.source_network(tensors, self._in_one, self._is_shared)

    def prediction_loss(self, voltage: Tensor, external: Tensor, target: Tensor, weight: Tensor) -> Tensor | None:
        """Prediction and loss as one operation, where there are kernels for it."""
        if self._in_one is None or not native.frames_fit(voltage, external, self._in_one):
            return None
        if not loss.fits(voltage, target, weight):  # the prediction is as the voltage
            return None
        tensors = voltage, external, self.weight, self.embedding
        return native.prediction_loss(tensors, target, weight, self._in_one, self._is_shared)
