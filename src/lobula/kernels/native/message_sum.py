"""The message sum in C, and its gradients; matrices are CSR."""

import ctypes
import typing
from ctypes import byref, c_int64, c_void_p

import torch
from torch import Tensor

from lobula.kernels.native.build import library, loaded

if typing.TYPE_CHECKING:
    from lobula.kernels.message_sum import SparsePattern

MOST_COLUMNS = 32
"""Of the batch, which are taken in pieces of 16; torch's products are faster for many."""


LANES = 16
"""Of rows of a table, whose width is padded to a multiple."""


class _Pattern(ctypes.Structure):
    """As in message_sum.c."""

    _fields_ = (
        *((name, c_int64) for name in ("n", "batch", "n_threads")),
        *((name, c_void_p) for name in ("indptr", "columns", "indptr_out", "columns_out", "order_out")),
    )


def fits(weight: Tensor, messages: Tensor) -> bool:
    """Whether this module has a kernel for the product of values (E,) and messages (N, B)."""
    return (
        weight.dtype is messages.dtype is torch.float32
        and weight.is_cpu
        and messages.shape[1] <= MOST_COLUMNS
        and library() is not None
    )


def summed(pattern: "SparsePattern", weight: Tensor, messages: Tensor) -> Tensor:
    """(N, B) sums of weight (E,) times messages (N, B), contiguous."""
    out, values = torch.empty_like(messages), weight.contiguous()
    loaded().lobula_message_sum(
        byref(described(pattern, messages)), *(c_void_p(x.data_ptr()) for x in (values, messages, out))
    )
    return out


def gradients(
    pattern: "SparsePattern", weight: Tensor, messages: Tensor, grad: Tensor, by_weight: bool
) -> tuple[Tensor | None, Tensor]:
    """Gradients of `summed` by weight (E,), if it is wanted, and by messages (N, B).

    Args:
        pattern, weight, messages: as in `summed`.
        grad: (N, B) by the sums, contiguous.
        by_weight: whether that gradient is wanted.
    """
    values, to_messages = weight.contiguous(), torch.empty_like(messages)
    to_weight = torch.empty_like(values) if by_weight else None
    places = (None if x is None else c_void_p(x.data_ptr()) for x in (values, messages, grad, to_weight, to_messages))
    loaded().lobula_message_sum_back(byref(described(pattern, messages)), *places)
    return to_weight, to_messages


class _Lookup(ctypes.Structure):
    _fields_ = (
        *((name, c_int64) for name in ("n_rows", "n_frames", "width", "n_threads")),
        *((name, c_void_p) for name in ("neurons", "indptr", "columns", "cells", "weights", "table", "out")),
    )


def table_sums(
    neurons: Tensor, indptr: Tensor, columns: Tensor, weights: Tensor, cells: Tensor, table: Tensor
) -> Tensor:
    """(Q, T, K) float32, as `kernels.table_sums`."""
    width = table.shape[1]
    table = torch.nn.functional.pad(table, (0, -width % LANES))
    out = table.new_empty(len(neurons), cells.shape[1], table.shape[1])
    tensors = [x.contiguous() for x in (neurons, indptr, columns, cells, weights, table)]
    places = (x.data_ptr() for x in (*tensors, out))
    loaded().lobula_table_sums(byref(_Lookup(*out.shape, torch.get_num_threads(), *places)))
    return out[..., :width]


def described(pattern: "SparsePattern", messages: Tensor) -> _Pattern:
    """What C reads of a wiring, for messages (N, B)."""
    return _Pattern(*messages.shape, torch.get_num_threads(), *(x.data_ptr() for x in read_of(pattern)))


def read_of(pattern: "SparsePattern") -> tuple[Tensor, ...]:
    """The tensors of a wiring that C reads, in its order."""
    return pattern.indptr, pattern.columns, pattern.indptr_out, pattern.post_by_pre, pattern.permutation
