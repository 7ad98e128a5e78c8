"""The two kinds of training phase: everything jointly, or the messages alone while the circuit is held."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lobula.config.training import TrainingConfig
from lobula.kernels import message_sum
from lobula.models.circuit_gnn import CircuitGNN
from lobula.regression.ridge import LinearCircuit


@dataclass(frozen=True)
class Phase:
    """A stretch of optimiser steps.

    Attributes:
        name: "joint", or "messages 1", "messages 2", ...
        first: global number of its first step.
        n_steps: length.
        held: whether the circuit is held and only the messages are trained.
    """

    name: str
    first: int
    n_steps: int
    held: bool


def plan(config: TrainingConfig) -> list[Phase]:
    """The phases of a training: joint, then alternation rounds."""
    phases = [Phase("joint", 0, config.n_steps, held=False)]
    for k in range(config.rounds):
        phases.append(
            Phase(f"messages {k + 1}", config.n_steps + k * config.round_steps, config.round_steps, held=True)
        )
    return phases


@dataclass(frozen=True)
class HeldCircuit:
    """A refitted circuit as tensors: dv_i/dt = k v + c + q I + sum_j theta_ij g(v_j)."""

    k: Tensor
    c: Tensor
    q: Tensor
    theta: Tensor
    weight: Tensor

    @classmethod
    def from_circuit(cls, circuit: LinearCircuit) -> "HeldCircuit":
        """Loss weights are the inverse residual variances, bounded so that no neuron dominates."""
        variance = circuit.residual_std**2
        weight = 1.0 / (variance + 1e-2 * np.median(variance) + 1e-12)
        arrays = (circuit.k, circuit.c, circuit.q, circuit.theta, weight / weight.mean())
        return cls(*(torch.as_tensor(x, dtype=torch.float32) for x in arrays))

    def predict(self, model: CircuitGNN, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt with the model's messages in this circuit."""
        summed = message_sum(self.theta, model.message(voltage).T, model.pattern).T
        return self.k * voltage + self.c + self.q * external + summed

    def to(self, device: torch.device) -> "HeldCircuit":
        """The same circuit on a device."""
        return HeldCircuit(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    def state(self) -> dict[str, Tensor]:
        """Tensors for the checkpoint."""
        return dict(vars(self))


def optimiser_for(model: CircuitGNN, config: TrainingConfig, phase: Phase) -> torch.optim.Adam:
    """Adam with one group per kind of parameter; a held phase trains messages and embeddings only."""
    networks = list(model.message_mlp.parameters())
    groups = [{"params": [model.embedding], "lr": config.lr_embedding}]
    if not phase.held:
        networks += list(model.update_mlp.parameters())
        groups.append({"params": [model.weight], "lr": config.lr_W})
    groups.insert(0, {"params": networks, "lr": config.lr})
    groups = [{**g, "base_lr": g["lr"]} for g in groups]
    device = model.embedding.device
    if device.type != "cuda":
        return torch.optim.Adam(groups, fused=True)
    groups = [{**g, "lr": torch.tensor(g["lr"], device=device)} for g in groups]
    optimiser = torch.optim.Adam(groups, fused=True, capturable=True)
    optimiser._warned_capturable_if_run_uncaptured = True  # the steps before the recording are meant to be so
    return optimiser


def restore_optimiser(optimiser: torch.optim.Adam, saved: dict[str, Any]) -> None:
    """Takes over the moments of a saved optimiser, whatever device that was on; its own settings stay."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
    groups = [{**group, **mine} for group, mine in zip(saved["param_groups"], own, strict=True)]
    optimiser.load_state_dict({**saved, "param_groups": groups})


def set_learning_rate(optimiser: torch.optim.Adam, factor: float) -> None:
    """Multiplies the learning rate of every group by a factor; in place where a CUDA graph reads it."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(factor * group["base_lr"])
        else:
            group["lr"] = factor * group["base_lr"]
