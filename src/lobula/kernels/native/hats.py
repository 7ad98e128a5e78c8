"""Functions that are linear between knots, in C: places among the knots, values, sums of hat functions."""

from ctypes import c_int64, c_void_p

import numpy as np
import torch

from lobula.errors import ShapeError
from lobula.kernels.native.build import library, loaded


def is_there() -> bool:
    """Whether there are compiled kernels."""
    return library() is not None


def locate(knots: np.ndarray, voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `hats.locate`."""
    knots, voltage = (np.ascontiguousarray(x, dtype=np.float64) for x in (knots, voltage))
    index, fraction = np.empty(voltage.shape, dtype=np.int64), np.empty(voltage.shape)
    loaded().lobula_locate(_place(knots), _size(knots), _place(voltage), _size(voltage), _place(index),
                           _place(fraction), c_int64(torch.get_num_threads()))  # fmt: skip
    return index, fraction


def piecewise(knots: np.ndarray, values: np.ndarray, voltage: np.ndarray) -> np.ndarray:
    """As `hats.piecewise`."""
    knots, values, voltage = (np.ascontiguousarray(x, dtype=np.float64) for x in (knots, values, voltage))
    out = np.empty(voltage.shape)
    loaded().lobula_piecewise(_place(knots), _place(values), _size(knots), _place(voltage), _size(voltage),
                              _place(out), c_int64(torch.get_num_threads()))  # fmt: skip
    return out


def fill(
    x: np.ndarray,
    width: int,
    inputs: np.ndarray,
    offset: np.ndarray,
    share: np.ndarray,
    located: tuple[np.ndarray, np.ndarray],
    messages: np.ndarray,
) -> None:
    """As `hats.fill`."""
    index, fraction = located
    inputs, offset = (np.ascontiguousarray(x, dtype=np.int64) for x in (inputs, offset))
    share = np.ascontiguousarray(share, dtype=np.float64)
    loaded().lobula_hat_rows(_place(inputs), _place(offset), _place(share), _size(inputs), _place(index),
                             _place(fraction), _place(messages), c_int64(messages.shape[1]), _place(x),
                             c_int64(width), c_int64(x.shape[1]))  # fmt: skip


def _place(array: np.ndarray) -> c_void_p:
    if not (array.flags.c_contiguous and array.dtype in (np.float64, np.int64)):
        raise ShapeError(f"hats: got a {array.dtype} array with strides {array.strides}, expected 64 bits, contiguous")
    return c_void_p(array.ctypes.data)


def _size(array: np.ndarray) -> c_int64:
    return c_int64(array.size)
