"""Penalties on the model, each in two forms.

With `training.loss: scaled_mse` a penalty is a mean of numbers without unit, so that a coefficient means the same at
every network size. With `training.loss: norm` it is the published sum or root of a sum of squares, in the units of the
network (Allier et al. 2026, arXiv 2602.13325; table in docs/training.md).
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from lobula.config.training import TrainingConfig
from lobula.errors import DeadPenaltyError
from lobula.models.graph_network import GraphNetwork

DEAD_AFTER_STEPS = 500
DEAD_AT_END_STEPS = 20
"""Steps after which a penalty is dead where the joint training has no more than these."""
LINE_POINTS = 11
SIGN_WIDTH = 0.1
MAY_BE_ZERO = ("g_phi_diff", "f_theta_diff", "f_theta_msg_diff")
"""Zero for a curve that is monotone already."""


@dataclass(frozen=True)
class Visited:
    """What penalties need to know of the recording.

    Attributes:
        mean, spread: (N,) mean and standard deviation of every neuron's voltage [a.u.].
    """

    mean: Tensor
    spread: Tensor

    def to(self, device: torch.device) -> "Visited":
        """The same on a device."""
        return Visited(self.mean.to(device), self.spread.to(device))


Residuals = list[tuple[Tensor, float]]
"""Numbers that should be 0, and the unit that they are in: number x unit is in the units of the network."""

# === LLM-MODIFIABLE: REGULARISERS START ===
# What each penalty asks for. Not: names and signatures; coefficients are fields of the config.


def g_phi_diff(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Falls of the message from v to v + d of the source with d = 5 % of xnorm; embeddings detached."""
    step = 0.05 * model.scales.xnorm
    fall = torch.relu(_from(model, voltage, voltage) - _from(model, voltage + step, voltage))
    return [(fall / step, step)]


def g_phi_norm(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Distance of the message from 2 xnorm at v = 2 xnorm of the source, for a target at its mean voltage."""
    top = 2.0 * model.scales.xnorm
    message = model.messages_between(torch.full_like(voltage, top), visited.mean.expand_as(voltage))
    return [(message / top - 1.0, top)]


def f_theta_zero(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """f(0, a, 0, 0)."""
    zero = torch.zeros_like(voltage)
    return [_scaled(model, model.update(zero, zero, zero))]


def f_theta_diff(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Rises of f from v to v + d, without message and input: a leak pulls back."""
    step, zero = 0.05 * model.scales.xnorm, torch.zeros_like(voltage)
    return [_scaled(model, torch.relu(model.update(voltage + step, zero, zero) - model.update(voltage, zero, zero)))]


def f_theta_msg_diff(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Falls of f from the present message to one larger by d: messages excite."""
    step, zero = 0.05 * model.scales.xnorm, torch.zeros_like(voltage)
    message = model.summed_message(voltage).detach()
    fall = torch.relu(model.update(voltage, message, zero) - model.update(voltage, message + step, zero))
    return [_scaled(model, fall)]


def f_theta_msg_sign(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """tanh(f(0, a, msg, 0) / .1) - tanh(msg / .1): where the voltage is 0, f has the sign of the message."""
    zero, message = torch.zeros_like(voltage), model.summed_message(voltage)
    value = model.update(zero, message, zero)
    return [(torch.tanh(value / SIGN_WIDTH) - torch.tanh(message / SIGN_WIDTH), 1.0)]


def f_theta_linearity(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """What a line in v leaves of f over mean +- 2 standard deviations of each neuron, without message and input."""
    grid = torch.linspace(-2.0, 2.0, LINE_POINTS, device=voltage.device)[:, None]
    v = visited.mean + grid * visited.spread
    value = model.update(v, torch.zeros_like(v), torch.zeros_like(v))
    centred = value - value.mean(0)
    slope = (grid * centred).sum(0) / grid.square().sum()
    return [_scaled(model, centred - slope * grid)]


def f_theta_centering(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """f(mean, a, 0, 0)."""
    zero = torch.zeros_like(voltage)
    return [_scaled(model, model.update(visited.mean.expand_as(voltage), zero, zero))]


def w_sign(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Dale's law: share of positive times share of negative weight among each neuron's outputs."""
    n, pre, weight = model.pattern.n_neurons, model.pattern.pre, model.weight
    total = torch.zeros(n, device=weight.device).index_add(0, pre, weight.abs())
    positive = torch.zeros(n, device=weight.device).index_add(0, pre, weight.clamp(min=0.0))
    share = positive / total.clamp(min=1e-12)
    return [(share * (1.0 - share), 1.0)]


def weights(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """W."""
    return [(model.weight, 1.0)]


def g_phi_weights(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Every tensor of g_phi."""
    return _parameters(model.message_mlp)


def f_theta_weights(model: GraphNetwork, voltage: Tensor, visited: Visited) -> Residuals:
    """Every tensor of f_theta."""
    return _parameters(model.update_mlp)


# === LLM-MODIFIABLE: REGULARISERS END ===


def _parameters(network: nn.Module) -> Residuals:
    return [(parameter, 1.0) for parameter in network.parameters()]


def _scaled(model: GraphNetwork, value: Tensor) -> tuple[Tensor, float]:
    return value / model.scales.target, model.scales.target


def _from(model: GraphNetwork, source: Tensor, target: Tensor) -> Tensor:
    return model.messages_between(source, target, detached=True)


Kind = Literal["L1", "L2", "square", "sum"]
PENALTIES: Mapping[str, tuple[Callable[[GraphNetwork, Tensor, Visited], Residuals], Kind]] = MappingProxyType(
    {
        "g_phi_diff": (g_phi_diff, "L2"),
        "g_phi_norm": (g_phi_norm, "L2"),
        "W_L1": (weights, "L1"),
        "W_L2": (weights, "L2"),
        "W_sign": (w_sign, "sum"),
        "g_phi_weight_L1": (g_phi_weights, "L1"),
        "g_phi_weight_L2": (g_phi_weights, "L2"),
        "f_theta_weight_L1": (f_theta_weights, "L1"),
        "f_theta_weight_L2": (f_theta_weights, "L2"),
        "f_theta_zero": (f_theta_zero, "L2"),
        "f_theta_diff": (f_theta_diff, "L2"),
        "f_theta_msg_diff": (f_theta_msg_diff, "L2"),
        "f_theta_msg_sign": (f_theta_msg_sign, "L2"),
        "f_theta_linearity": (f_theta_linearity, "L2"),
        "f_theta_centering": (f_theta_centering, "square"),
    }
)
LATE = ("f_theta_linearity", "f_theta_centering")


def as_sum(residuals: Residuals, kind: Kind) -> Tensor:
    """The published form: sum of absolute values (L1), root of the sum of squares per tensor (L2), sum of squares, or
    sum."""
    reduce = {"L1": lambda r: r.abs().sum(), "L2": _root, "square": lambda r: r.square().sum(), "sum": torch.sum}[kind]
    numbers = [residual if unit == 1.0 else residual * unit for residual, unit in residuals]
    return torch.stack([reduce(number) for number in numbers]).sum()


def as_mean(residuals: Residuals, kind: Kind) -> Tensor:
    """Mean over all numbers: of absolute values (L1), of squares (L2, square), or of the numbers."""
    flat = torch.cat([residual.reshape(-1) for residual, _ in residuals]) if len(residuals) > 1 else residuals[0][0]
    return {"L1": torch.abs, "L2": torch.square, "square": torch.square, "sum": torch.clone}[kind](flat).mean()


def _root(residual: Tensor) -> Tensor:
    return torch.linalg.vector_norm(residual)


class Penalties:
    """The penalties that a config switches on.

    Args:
        config: section `training`.
        visited: voltages of the recording.
        n_frames: of the training split; says how long an epoch is.
        kinds: "g_phi", "f_theta", "W": networks and weights that the model has; penalties on others do not apply.

    Raises:
        DeadPenaltyError: if a coefficient is 0 up to the last step: it grows with the epochs and the training has only
            one, number 0, or it begins after the end.
    """

    def __init__(
        self,
        config: TrainingConfig,
        visited: Visited,
        n_frames: int,
        kinds: Collection[str] = ("g_phi", "f_theta", "W"),
    ) -> None:
        applies = [name for name in PENALTIES if name.startswith(tuple(kinds))]
        coefficients = {name: float(getattr(config, f"coeff_{name}")) for name in applies}
        self.active = {name: c for name, c in coefficients.items() if c > 0}
        self._rates = {name: float(getattr(config, f"coeff_{name}_rate", 0.0)) for name in self.active}
        self._reduce = as_sum if config.loss == "norm" else as_mean
        self._visited = visited
        self._per_epoch = config.steps_per_epoch(n_frames)
        self._late_from = config.shape_penalties_from * config.joint_steps(n_frames)
        self._coefficients: dict[str, Tensor] = {}
        self._largest = dict.fromkeys(self.active, 0.0)
        self._steps = dict.fromkeys(self.active, 0)
        self._watched = 0
        self._joint_steps = config.joint_steps(n_frames)
        self._check((self._joint_steps - 1) // self._per_epoch)

    def _check(self, last_epoch: int) -> None:
        dead = [name for name, rate in self._rates.items() if rate > 0 and last_epoch < 1]
        if dead:
            raise DeadPenaltyError(
                f"penalty {', '.join(dead)}: its coefficient grows from 0 with the epochs, and the training ends in "
                f"epoch 0 ({self._per_epoch:,} steps each), so it would never act; set "
                f"training.coeff_{dead[0]}_rate=0, training.n_epochs=2 or more, or its coefficient to 0"
            )
        late = [name for name in LATE if name in self.active and self.coefficient(name, self._joint_steps - 1) == 0.0]
        if late:
            raise DeadPenaltyError(
                f"penalty {', '.join(late)}: begins at step {self._late_from:g}, after the last of "
                f"{self._joint_steps}, so it would never act; lower training.shape_penalties_from, or set its "
                "coefficient to 0"
            )

    def at_step(self, step: int, device: torch.device) -> None:
        """Sets the coefficients of a step, in place where a CUDA graph reads them."""
        for name in self.active:
            if name not in self._coefficients:
                self._coefficients[name] = torch.zeros((), device=device)
                self._visited = self._visited.to(device)
            self._coefficients[name].fill_(self.coefficient(name, step))

    # === LLM-MODIFIABLE: REGULARISER SCHEDULE START ===
    # How strong each penalty is at a step.
    def coefficient(self, name: str, step: int) -> float:
        """c, or c (1 - exp(-rate epoch)); 0 before penalties on the shape of f_theta begin."""
        if name in LATE and step < self._late_from:
            return 0.0
        rate, c = self._rates[name], self.active[name]
        return c * (1.0 - math.exp(-rate * (step // self._per_epoch))) if rate > 0 else c

    # === LLM-MODIFIABLE: REGULARISER SCHEDULE END ===

    def __call__(self, model: GraphNetwork, voltage: Tensor) -> dict[str, Tensor]:
        """Each penalty times its coefficient, at a frame of voltages (1, N)."""
        values = {}
        for name in self.active:
            residuals, kind = PENALTIES[name]
            values[name] = self._coefficients[name] * self._reduce(residuals(model, voltage, self._visited), kind)
        return values

    def watch(self, parts: dict[str, float], steps: int, step: int) -> None:
        """Notes the values of the last steps, up to ``step``; at the end of the joint training fewer steps suffice.

        Raises:
            DeadPenaltyError: if a penalty stayed exactly 0 while it was on; one on monotone curves may.
        """
        steps, self._watched = min(steps, step - self._watched), step
        enough = DEAD_AFTER_STEPS if step < self._joint_steps else DEAD_AT_END_STEPS
        dead = []
        for name in self.active:
            self._largest[name] = max(self._largest[name], abs(parts.get(name, 0.0)))
            if self.coefficient(name, step - 1) > 0 and name not in MAY_BE_ZERO:
                self._steps[name] += steps
                if self._largest[name] == 0.0 and self._steps[name] >= enough:
                    dead.append(name)
        if dead:
            raise DeadPenaltyError(
                f"penalty {', '.join(dead)}: stayed exactly 0 for {self._steps[dead[0]]} steps with a positive "
                "coefficient; set its coefficient to 0 or check what it acts on"
            )
