"""What follows the gradients, in C: clipping, and the step of Adam."""

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p

import torch
from torch import Tensor

from lobula.kernels.native.build import library, loaded

_NAMES = ("value", "grad", "mean", "square", "step")


class _Parameter(ctypes.Structure):
    """As in update.c."""

    _fields_ = (("size", c_int64), *((name, c_void_p) for name in _NAMES))


def fits(tensors: Sequence[Tensor]) -> bool:
    """Whether this module has kernels for these tensors."""
    return library() is not None and all(x.dtype is torch.float32 and x.is_cpu and x.is_contiguous() for x in tensors)


def clip(gradients: Sequence[Tensor], limit: float) -> None:
    """Shortens all gradients together, in place, to a norm if they are longer; as `torch.nn.utils.clip_grad_norm_`."""
    described = (_Parameter * len(gradients))(*(_Parameter(g.numel(), None, g.data_ptr()) for g in gradients))
    loaded().lobula_clip(described, c_int64(len(gradients)), c_double(limit), c_int64(torch.get_num_threads()))


def adam(
    values: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[Sequence[Tensor]],
    rate: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step of Adam (Kingma & Ba 2015), in place.

    Args:
        values: parameters.
        gradients: of the parameters.
        moments: their mean gradients, mean squares, and numbers of steps (each of no dimension).
        rate: learning rate.
        betas: decay of both means.
        eps: added to the root of the mean square.
    """
    rows = zip(values, gradients, *moments, strict=True)
    described = (_Parameter * len(values))(*(_Parameter(row[0].numel(), *(x.data_ptr() for x in row)) for row in rows))
    settings = (c_double(x) for x in (rate, *betas, eps))
    loaded().lobula_adam(described, c_int64(len(values)), *settings, c_int64(torch.get_num_threads()))
