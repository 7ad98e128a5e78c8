"""The loss and its gradient in C."""

import ctypes
from ctypes import byref, c_int64, c_void_p

import torch
from torch import Tensor

from lobula.kernels.native.build import library, loaded


class Loss(ctypes.Structure):
    """As in loss.h."""

    _fields_ = (
        *((name, c_int64) for name in ("n_frames", "n", "n_threads")),
        *((name, c_void_p) for name in ("prediction", "target", "weight", "by_prediction", "loss")),
    )


def fits(prediction: Tensor, target: Tensor, weight: Tensor) -> bool:
    """Whether this module has a kernel for these arguments of `scaled_mse`."""
    return (
        all(x.dtype is torch.float32 and x.is_cpu and x.is_contiguous() for x in (prediction, target, weight))
        and prediction.ndim == 2
        and target.shape == prediction.shape
        and weight.shape == prediction.shape[1:]
        and library() is not None
    )


def scaled_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of weight_i (prediction - target)^2, of no dimension, and its gradient (B, N) by the prediction.

    Args:
        prediction, target: (B, N).
        weight: (N,).
    """
    loss, by_prediction = prediction.new_empty(()), torch.empty_like(prediction)
    loaded().lobula_scaled_mse(byref(described(prediction, target, weight, by_prediction, loss)))
    return loss, by_prediction


def described(prediction: Tensor, target: Tensor, weight: Tensor, by_prediction: Tensor, loss: Tensor) -> Loss:
    """What C reads, and where it puts gradient and loss."""
    places = (x.data_ptr() for x in (prediction, target, weight, by_prediction, loss))
    return Loss(*prediction.shape, torch.get_num_threads(), *places)
