"""Objectives: a loss returns its total and its parts."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native import loss as native


def scaled_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over frames and neurons of weight_i (prediction - target)^2.

    Args:
        prediction: (B, N) dv/dt [a.u./s].
        target: (B, N) dv/dt [a.u./s].
        weight: (N,) inverse variances [s^2/a.u.^2].
    """
    loss = _ScaledMSE.apply(prediction, target, weight)
    return loss, {"prediction": loss}


class _ScaledMSE(torch.autograd.Function):
    """With the gradient written down: a fraction of the operations that torch would find."""

    @staticmethod
    def forward(ctx, prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        if native.fits(prediction, target, weight):
            loss, by_prediction = native.scaled_mse(prediction, target, weight)
        else:
            residual = prediction - target
            weighted = residual * weight
            loss, by_prediction = (residual * weighted).mean(), weighted * (2.0 / weighted.numel())
        ctx.save_for_backward(by_prediction)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (by_prediction,) = ctx.saved_tensors
        return by_prediction * grad, None, None


def norm(prediction: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The published objective: root of the sum of squares over the whole batch [a.u./s].

    Source: Allier et al. (2026), arXiv 2602.13325.

    Args:
        prediction: (B, N) dv/dt [a.u./s].
        target: (B, N) dv/dt [a.u./s].
    """
    loss = torch.linalg.vector_norm(prediction - target)
    return loss, {"prediction": loss}


def total_loss(prediction_loss: Tensor, penalties: dict[str, Tensor]) -> Tensor:
    """Sum of the prediction loss and the penalties."""
    return torch.stack([prediction_loss, *penalties.values()]).sum() if penalties else prediction_loss
