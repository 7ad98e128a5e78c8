"""The message sum in C, and its gradients; matrices are CSR."""

import ctypes
from ctypes import byref, c_int64, c_void_p

import torch
from torch import Tensor

from lobula.kernels.native.build import library, loaded

MOST_COLUMNS = 32
"""Of the batch, which are taken in pieces of 16; torch's products are faster for many."""


LANES = 16
"""Of rows of a table, whose width is padded to a multiple."""


class _Pattern(ctypes.Structure):
    _fields_ = (
        *((name, c_int64) for name in ("n", "batch", "n_threads")),
        *((name, c_void_p) for name in ("indptr", "columns", "order")),
    )


def fits(weight: Tensor, messages: Tensor) -> bool:
    """Whether this module has a kernel for the product of values (E,) and messages (N, B)."""
    return (
        weight.dtype is messages.dtype is torch.float32
        and weight.is_cpu
        and messages.shape[1] <= MOST_COLUMNS
        and library() is not None
    )


def row_sum(indptr: Tensor, columns: Tensor, weight: Tensor, messages: Tensor, order: Tensor | None = None) -> Tensor:
    """Sparse matrix times dense matrix.

    Args:
        indptr: (N + 1,) int32 row pointers.
        columns: (E,) int32.
        weight: (E,) values, in the order of the rows or, with ``order``, in another.
        messages: (N, B) contiguous.
        order: (E,) int32 place of every value in ``weight``.

    Returns:
        (N, B).
    """
    out, pattern = torch.empty_like(messages), _pattern(indptr, columns, messages, order)
    weight = weight.contiguous()
    loaded().lobula_message_sum(byref(pattern), *(c_void_p(x.data_ptr()) for x in (weight, messages, out)))
    return out


def edge_product(indptr: Tensor, columns: Tensor, grad: Tensor, messages: Tensor) -> Tensor:
    """(E,) scalar products of ``grad`` at an edge's row and ``messages`` at its column, both (N, B) contiguous."""
    out, pattern = grad.new_empty(len(columns)), _pattern(indptr, columns, messages)
    loaded().lobula_edge_products(byref(pattern), *(c_void_p(x.data_ptr()) for x in (grad, messages, out)))
    return out


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


def _pattern(indptr: Tensor, columns: Tensor, messages: Tensor, order: Tensor | None = None) -> _Pattern:
    places = None if order is None else order.data_ptr()
    sizes = *messages.shape, torch.get_num_threads()
    return _Pattern(*sizes, indptr.data_ptr(), columns.data_ptr(), places)
