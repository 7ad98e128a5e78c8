"""What follows the gradients, in C: clipping, and the step of Adam."""

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int64, c_void_p

import torch
from torch import Tensor

from lobula.kernels.native.build import library, loaded

_NAMES = ("value", "grad", "step", "mean", "square")


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


class AdamGroup:
    """Steps of Adam (Kingma & Ba 2015) for some parameters, in place; those without a gradient stay where they are.

    Args:
        parameters: for which `fits`.
        moments: of each its number of steps (of no dimension), mean gradient and mean square, which keep their memory.
    """

    def __init__(self, parameters: Sequence[Tensor], moments: Sequence[Sequence[Tensor]]) -> None:
        rows = zip(parameters, moments, strict=True)
        places = ((p.numel(), None, None, *(x.data_ptr() for x in kept)) for p, kept in rows)
        self._list = (_Parameter * len(parameters))(*(_Parameter(*row) for row in places))
        self._parameters = list(parameters)

    def step(self, rate: float, betas: tuple[float, float], eps: float) -> None:
        """One step at a learning rate; ``betas`` are the decays of both means, ``eps`` is added to the root."""
        gradients = [p.grad for p in self._parameters]  # contiguous copies live as long as C reads them
        gradients = [g if g is None or g.is_contiguous() else g.contiguous() for g in gradients]
        for row, parameter, gradient in zip(self._list, self._parameters, gradients, strict=True):
            row.value, row.grad = parameter.data_ptr(), None if gradient is None else gradient.data_ptr()
        settings = (c_double(x) for x in (rate, *betas, eps))
        n, n_threads = c_int64(len(gradients)), c_int64(torch.get_num_threads())
        loaded().lobula_adam(self._list, n, *settings, n_threads)
