"""What training and recovery need from a model of the dynamics."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lobula.kernels import SparsePattern, message_sum
from lobula.models.low_rank import low_rank


@dataclass(frozen=True)
class Scales:
    """Typical sizes in the recording, so that the networks see and produce numbers of order one.

    Attributes:
        voltage: what the networks see as 1: xnorm, or 1 [a.u.].
        target: what the update network gives as 1: root mean square over neurons of the target's standard deviation,
            or 1 [a.u./s].
        xnorm: 1.5 standard deviations of all voltages [a.u.].
    """

    voltage: float
    target: float
    xnorm: float


class AbstractDynamicsModel(nn.Module, ABC):
    """Predicts dv/dt of every neuron from the state of the circuit.

    Concrete models are final; register one with `registry.register`.
    """

    sees_target: bool = False
    """Whether a message depends on the target, too, so that there is one per edge."""
    shared: Tensor
    """Scalar bool: all neurons have one message function."""
    scales: Scales
    pattern: SparsePattern
    weight: nn.Parameter
    """(E,) one value per edge, in the order of the wiring."""

    @abstractmethod
    def groups(self) -> Mapping[str, list[nn.Parameter]]:
        """Parameters by kind: "g_phi" and "embedding" decide the messages, "f_theta" the update, "W" the weights.

        A kind that the model does not have is left out; without "g_phi" its messages are known and not trained.
        """

    @property
    def message_gain(self) -> float | None:
        """What dv/dt gains per unit of the summed message [1/s], where it is simply added; None where the update
        network decides."""
        return None

    @property
    def learns_messages(self) -> bool:
        """Whether the message function is trained."""
        return "g_phi" in self.groups()

    @abstractmethod
    def forward(self, voltage: Tensor, external: Tensor) -> Tensor:
        """dv/dt.

        Args:
            voltage: (B, N) membrane potential [a.u.].
            external: (B, N) external input [a.u.].

        Returns:
            (B, N) dv/dt [a.u./s].
        """

    @abstractmethod
    def message(self, voltage: Tensor) -> Tensor:
        """(B, N) message that each neuron sends at its voltage (B, N)."""

    def messages_between(self, source: Tensor, target: Tensor, detached: bool = False) -> Tensor:
        """Messages with the sources in one state and the targets in another.

        Args:
            source: (B, N) voltages as sources [a.u.].
            target: (B, N) voltages as targets [a.u.].
            detached: no gradient reaches the embeddings.

        Returns:
            (B, N), or (B, E) where messages depend on the target.
        """
        return self.message(source)

    @abstractmethod
    def update(self, voltage: Tensor, summed: Tensor, external: Tensor) -> Tensor:
        """(B, N) dv/dt from voltage, summed message and external input, each (B, N)."""

    def summed_message(self, voltage: Tensor) -> Tensor:
        """(B, N) weighted messages summed over the inputs."""
        factors = low_rank(self)
        if factors is not None and factors[0].is_complete and not self.sees_target:
            form, left, right = factors
            return form.summed(left, right, self.message(voltage))
        return self.weighted_sum(self.weight, voltage)

    def weighted_sum(self, weight: Tensor, voltage: Tensor) -> Tensor:
        """(B, N) messages times given weights (E,), summed over the inputs."""
        return message_sum(weight, self.message(voltage).T, self.pattern).T

    def prediction_loss(self, voltage: Tensor, external: Tensor, target: Tensor, weight: Tensor) -> Tensor | None:
        """Prediction and loss as one operation, where a model has that; for `backward` only.

        That adds to the gradients of the parameters; `torch.autograd.grad` does not find them.

        Args:
            voltage, external: (B, N).
            target: (B, N) dv/dt [a.u./s].
            weight: (N,) inverse variances [s^2/a.u.^2].

        Returns:
            Mean over frames and neurons of weight_i (prediction - target)^2, or None.
        """
        return None

    def linearise(self, voltage: Tensor, external: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Value and slopes of the update function at visited states.

        Args:
            voltage: (B, N).
            external: (B, N).

        Returns:
            dv/dt and its derivatives with respect to voltage, summed message and external input, each (B, N).
        """
        with torch.no_grad():
            summed = self.summed_message(voltage)
        with torch.enable_grad():
            inputs = [x.detach().clone().requires_grad_(True) for x in (voltage, summed, external)]
            value = self.update(*inputs)
            slopes = torch.autograd.grad(value.sum(), inputs)
        return value.detach(), *slopes
