"""What follows the gradients, in C: clipping, and the step of Adam."""

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_double, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from lobula.kernels.native.build import library, loaded


class _Group(ctypes.Structure):
    """As in update.c."""

    _fields_ = (("n", c_int64), *((name, c_void_p) for name in ("size", "value", "grad", "step", "mean", "square")))


def fits(tensors: Sequence[Tensor]) -> bool:
    """Whether this module has kernels for these tensors."""
    return library() is not None and all(x.dtype is torch.float32 and x.is_cpu and x.is_contiguous() for x in tensors)


def clip(gradients: Sequence[Tensor], limit: float) -> None:
    """Shortens all gradients together, in place, to a norm if they are longer; as `torch.nn.utils.clip_grad_norm_`."""
    n, sizes = len(gradients), [g.numel() for g in gradients]
    lists = (c_int64 * n)(*sizes), _places(gradients)
    loaded().lobula_clip(c_int64(n), *lists, c_double(limit), c_int64(torch.get_num_threads()))


class AdamGroup:
    """Steps of Adam (Kingma & Ba 2015) for some parameters, in place; those without a gradient stay where they are.

    Args:
        parameters: for which `fits`.
        moments: of each its number of steps (of no dimension), mean gradient and mean square, which keep their memory.
    """

    def __init__(self, parameters: Sequence[Tensor], moments: Sequence[Sequence[Tensor]]) -> None:
        n, sizes = len(parameters), [p.numel() for p in parameters]
        self._parameters = list(parameters)
        self._lists: list[ctypes.Array[Any]] = [(c_int64 * n)(*sizes), *map(_places, zip(*moments, strict=True))]

    def step(self, rate: float, betas: tuple[float, float], eps: float) -> None:
        """One step at a learning rate; ``betas`` are the decays of both means, ``eps`` is added to the root."""
        gradients = [p.grad for p in self._parameters]  # contiguous copies live as long as C reads them
        gradients = [g if g is None or g.is_contiguous() else g.contiguous() for g in gradients]
        values, grads = _places(self._parameters), _places(gradients)
        size, *moments = self._lists
        group = _Group(len(gradients), *[ctypes.addressof(x) for x in (size, values, grads, *moments)])
        settings = (c_double(x) for x in (rate, *betas, eps))
        loaded().lobula_adam(byref(group), *settings, c_int64(torch.get_num_threads()))


def _places(tensors: Sequence[Tensor | None]) -> ctypes.Array[c_void_p]:
    return (c_void_p * len(tensors))(*[None if x is None else x.data_ptr() for x in tensors])
