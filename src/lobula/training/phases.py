"""The phases of a training: all parameters jointly, in one or two stages, then messages alone while the circuit is
held."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from lobula.config.training import TrainingConfig
from lobula.models.base import AbstractDynamicsModel
from lobula.regression.ridge import LinearCircuit

ALL_FULL: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Phase:
    """A stretch of optimiser steps.

    Attributes:
        name: "joint", "V_rest", "one-step", or "messages 1", "messages 2", ...
        first: global number of its first step.
        n_steps: length.
        held: whether the circuit is held and only the messages are trained.
        regime: `training.regime` of its steps.
        factors: factors on the learning rates, by name of a group of parameters; 1 where it is not named.
        schedule: first step and length of the stretch that the learning rates' schedule spans.
        ends: whether the circuit is refitted and judged after it; else the next phase goes on with the same optimiser.
    """

    name: str
    first: int
    n_steps: int
    held: bool
    regime: str = "one_step"
    factors: Mapping[str, float] = field(default_factory=lambda: ALL_FULL)
    schedule: tuple[int, int] = (0, 1)
    ends: bool = True

    @property
    def last(self) -> int:
        """One past its last step."""
        return self.first + self.n_steps


def plan(config: TrainingConfig, n_frames: int, learns_messages: bool = True) -> list[Phase]:
    """The phases of a training on that many frames: joint, in up to three stretches, then alternation rounds where
    messages are learned."""
    total = config.joint_steps(n_frames)
    unrolled_from = round(config.recurrent_start * total) if config.regime != "one_step" else 0
    focus_from = round(config.alternate_joint_ratio * total) if config.two_stage else total
    slow = {"W": config.alternate_lr_ratio, "g_phi": config.alternate_lr_ratio}
    cuts = sorted({0, unrolled_from, focus_from, total})
    phases = []
    for first, last in pairwise(cuts):
        focus, before = first >= focus_from, first < unrolled_from
        name = "V_rest" if focus else "one-step" if before else "joint"
        regime, factors = "one_step" if before else config.regime, slow if focus else ALL_FULL
        phases.append(Phase(name, first, last - first, False, regime, factors, (0, total), last == total))
    for k in range(config.rounds if learns_messages else 0):
        first = total + k * config.round_steps
        phases.append(Phase(f"messages {k + 1}", first, config.round_steps, True, schedule=(first, config.round_steps)))
    return phases


@dataclass(frozen=True)
class HeldCircuit:
    """A refitted circuit as tensors: dv_i/dt = k v + c + own(v) + q I + sum_j theta_ij g(v_j).

    Attributes:
        k, c, q: (N,).
        theta: (E,).
        weight: (N,) of every neuron's squared error.
        own_low, own_step: (N,) grid of what neurons do by themselves beyond k v + c.
        own_table: (K, N) its values; (0, N) where there is nothing.
    """

    k: Tensor
    c: Tensor
    q: Tensor
    theta: Tensor
    weight: Tensor
    own_low: Tensor
    own_step: Tensor
    own_table: Tensor

    @classmethod
    def from_circuit(cls, circuit: LinearCircuit) -> "HeldCircuit":
        """Loss weights are the inverse residual variances, bounded so that no neuron dominates."""
        variance = circuit.residual_std**2
        weight = 1.0 / (variance + 1e-2 * np.median(variance) + 1e-12)
        nothing, own = np.zeros(len(circuit.k)), circuit.own_curves
        curves = (nothing, nothing + 1.0, nothing[None][:0]) if own is None else (own.low, own.step, own.table)
        arrays = (circuit.k, circuit.c, circuit.q, circuit.theta, weight / weight.mean(), *curves)
        return cls(*(torch.as_tensor(x, dtype=torch.float32) for x in arrays))

    def predict(self, model: AbstractDynamicsModel, voltage: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt with the model's messages in this circuit."""
        line = self.k * voltage + self.c + self.q * external
        return line + self.own(voltage) + model.weighted_sum(self.theta, voltage)

    def own(self, voltage: Tensor) -> Tensor | float:
        """(B, N) what neurons do by themselves beyond k v + c, linear between the points of the table."""
        if not len(self.own_table):
            return 0.0
        position = (voltage - self.own_low) / self.own_step
        index = position.detach().long().clamp(0, len(self.own_table) - 2)
        left, right = self.own_table.gather(0, index), self.own_table.gather(0, index + 1)
        return left + (position - index) * (right - left)

    def to(self, device: torch.device) -> "HeldCircuit":
        """The same circuit on a device."""
        return HeldCircuit(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    def state(self) -> dict[str, Tensor]:
        """Tensors for the checkpoint."""
        return dict(vars(self))
