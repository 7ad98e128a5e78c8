"""Penalties on the model, mean-normalised: a coefficient means the same at every network size."""

from collections.abc import Callable

import torch
from torch import Tensor

from lobula.config.training import TrainingConfig
from lobula.errors import DeadPenaltyError
from lobula.models.circuit_gnn import CircuitGNN

DEAD_AFTER_STEPS = 500


def g_phi_diff(model: CircuitGNN, voltage: Tensor) -> Tensor:
    """Monotone messages: mean of relu(g(v) - g(v + d))^2 / d^2 with d = 5 % of the voltage scale; embeddings
    detached."""
    step = 0.05 * model.scales.voltage
    voltage = voltage[:1]
    fall = torch.relu(_message(model, voltage) - _message(model, voltage + step)) / step
    return fall.square().mean()


def g_phi_norm(model: CircuitGNN, voltage: Tensor) -> Tensor:
    """Scale of the messages: mean of (g(2 x) - 2 x)^2 / (2 x)^2 at x = the voltage scale."""
    top = torch.full_like(voltage[:1], 2.0 * model.scales.voltage)
    return (model.message(top) / top - 1.0).square().mean()


def w_l1(model: CircuitGNN, voltage: Tensor) -> Tensor:
    """Mean absolute weight."""
    return model.weight.abs().mean()


def w_l2(model: CircuitGNN, voltage: Tensor) -> Tensor:
    """Mean squared weight."""
    return model.weight.square().mean()


def _message(model: CircuitGNN, voltage: Tensor) -> Tensor:
    value = model.message_mlp((voltage / model.scales.voltage)[..., None], model.message_embedding.detach())
    return model.scales.voltage * (value.square() if model.config.g_phi_positive else value)


PENALTIES: dict[str, Callable[[CircuitGNN, Tensor], Tensor]] = {
    "g_phi_diff": g_phi_diff,
    "g_phi_norm": g_phi_norm,
    "W_L1": w_l1,
    "W_L2": w_l2,
}


class Penalties:
    """The penalties that a config switches on."""

    def __init__(self, config: TrainingConfig) -> None:
        coefficients = {name: float(getattr(config, f"coeff_{name}")) for name in PENALTIES}
        self.active = {name: c for name, c in coefficients.items() if c > 0}
        self._largest = dict.fromkeys(self.active, 0.0)
        self._steps = 0

    def __call__(self, model: CircuitGNN, voltage: Tensor) -> dict[str, Tensor]:
        """Each penalty times its coefficient, at a batch of voltages (B, N)."""
        return {name: c * PENALTIES[name](model, voltage) for name, c in self.active.items()}

    def watch(self, parts: dict[str, float], steps: int) -> None:
        """Notes the values of the last steps.

        Raises:
            DeadPenaltyError: if a penalty stayed exactly 0; `g_phi_diff` may, for a curve that is monotone already.
        """
        self._steps += steps
        for name in self.active:
            self._largest[name] = max(self._largest[name], abs(parts.get(name, 0.0)))
        dead = [n for n, x in self._largest.items() if x == 0.0 and n != "g_phi_diff"]
        if dead and self._steps >= DEAD_AFTER_STEPS:
            raise DeadPenaltyError(
                f"penalty {', '.join(dead)}: stayed exactly 0 for {self._steps} steps with a positive coefficient; "
                "set its coefficient to 0 or check what it acts on"
            )
