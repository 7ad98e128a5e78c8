"""Objectives: a loss returns its total and its parts."""

import torch
from torch import Tensor


def scaled_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over frames and neurons of weight_i (prediction - target)^2.

    Args:
        prediction: (B, N) dv/dt [a.u./s].
        target: (B, N) dv/dt [a.u./s].
        weight: (N,) inverse variances [s^2/a.u.^2].
    """
    loss = ((prediction - target).square() * weight).mean()
    return loss, {"prediction": loss}


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
    return torch.stack([prediction_loss, *penalties.values()]).sum()
