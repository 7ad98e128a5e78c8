r"""Edge weights that obey a prior while they are trained: the same (E,) tensor, made of other parameters.

.. math:: W_{ij} = n_{ij}\, s_j\, |\mu_{ab} + \delta_{ij}|

with n_ij the synapse count over its mean (1 where counts are not used), mu_ab one strength per pair of cell types
(ties) and delta_ij a deviation per edge (no deviations with hard ties, no mu without ties). The sign s_j is that of the
source; where it is not known, there are neither sign nor modulus. Gradient descent moves mu and delta alike: how far
deviations may go is left to the refit in closed form (`regression.prior`), as is a sign that is inferred.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lobula.errors import ConfigError
from lobula.models.base import AbstractDynamicsModel
from lobula.regression.prior import WeightPrior

LEAST_START = 1e-2
"""Least size of a weight per mean count that has a sign: at 0 the modulus has no slope."""


class WeightForm(nn.Module):
    """How parameters make weights; a parametrization of torch.

    Args:
        scale: (E,) n_ij.
        tied: whether weights share strengths.
        group: (E,) which edges share one.
        sign: (E,) +1, -1, or 0 where it is open.
    """

    scale: Tensor
    group: Tensor
    sign: Tensor

    def __init__(
        self, scale: np.ndarray, tied: Literal["none", "soft", "hard"], group: np.ndarray, sign: np.ndarray
    ) -> None:
        super().__init__()
        self.tied, self.n_groups = tied, int(group.max(initial=-1)) + 1
        arrays = {"scale": scale.astype(np.float32), "group": group.astype(np.int64), "sign": sign.astype(np.float32)}
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, strength: Tensor, deviation: Tensor | None = None) -> Tensor:
        """(E,) weights from strengths, (G,) where weights are tied and (E,) else, and deviations (E,)."""
        value = strength if self.tied == "none" else strength[self.group]
        if deviation is not None:
            value = value + deviation
        return self.scale * torch.where(self.sign == 0, value, self.sign * value.abs())

    def right_inverse(self, weight: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Parameters whose weights are nearest to given ones (E,)."""
        value = weight / self.scale
        value = torch.where(self.sign == 0, value, self.sign * (self.sign * value).clamp(min=LEAST_START))
        if self.tied == "none":
            return value
        zero, square = torch.zeros(self.n_groups, device=weight.device), self.scale.square()
        total = zero.index_add(0, self.group, square * value)
        strength = total / zero.index_add(0, self.group, square)
        return strength if self.tied == "hard" else (strength, value - strength[self.group])


def shape_weights(model: AbstractDynamicsModel, prior: WeightPrior) -> None:
    """Makes the weights of a model obey a prior, but for signs that are inferred.

    Raises:
        ConfigError: if the model has no weight per edge.
    """
    if "weight" not in dict(model.named_parameters(recurse=False)):
        raise ConfigError(
            f"prior: {type(model).__name__} has no weight per edge, expected one where weights are tied, scaled by "
            "counts, or of a known sign; choose another model.name, or turn the prior off"
        )
    groups = prior.groups(prior.wiring, prior.sign)
    sign = np.zeros(prior.wiring.n_neurons) if prior.sign is None else prior.sign
    form = WeightForm(prior.scale, prior.tied, groups.of_edge, sign[prior.wiring.pre])
    parametrize.register_parametrization(model, "weight", form)
