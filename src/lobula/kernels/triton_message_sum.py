"""The message sum on a GPU: one program per row, edges in order, no atomics, so that equal inputs give equal bits.

Rows are sorted by postsynaptic neuron, the batch is the fast axis. The transpose (gradient of the messages) is the same
kernel on the transposed pattern, whose weights are read through the permutation instead of being copied. The gradient
of the weights is a sampled dense product, one program per block of edges. Imported only where a GPU is used.
"""

import triton
import triton.language as tl
from torch import Tensor

EDGES = 32
"""Edges that a program handles at a time; the mean in-degree of the fly's optic lobe."""


@triton.jit
def _row_sum(  # noqa: ANN202
    out, indptr, column, weight, order, messages, n_batch,
    PERMUTED: tl.constexpr, EDGE: tl.constexpr, BATCH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    batch = tl.program_id(1) * BATCH + tl.arange(0, BATCH)
    first, last = tl.load(indptr + row), tl.load(indptr + row + 1)
    total = tl.zeros((BATCH,), dtype=out.dtype.element_ty)
    for start in range(first, last, EDGE):
        edge = start + tl.arange(0, EDGE)
        inside = edge < last
        source = tl.load(column + edge, mask=inside, other=0)
        place = tl.load(order + edge, mask=inside, other=0) if PERMUTED else edge
        w = tl.load(weight + place, mask=inside, other=0.0)
        mask = inside[:, None] & (batch < n_batch)[None, :]
        h = tl.load(messages + source[:, None] * n_batch + batch[None, :], mask=mask, other=0.0)
        total += tl.sum(w[:, None] * h, axis=0)
    tl.store(out + row * n_batch + batch, total, mask=batch < n_batch)


@triton.jit
def _edge_product(out, pre, post, grad, messages, n_edges, n_batch, EDGE: tl.constexpr, BATCH: tl.constexpr):  # noqa: ANN202
    edge = tl.program_id(0).to(tl.int64) * EDGE + tl.arange(0, EDGE)
    inside = edge < n_edges
    source, target = tl.load(pre + edge, mask=inside, other=0), tl.load(post + edge, mask=inside, other=0)
    total = tl.zeros((EDGE,), dtype=out.dtype.element_ty)
    for start in range(0, n_batch, BATCH):
        batch = start + tl.arange(0, BATCH)
        mask = inside[:, None] & (batch < n_batch)[None, :]
        g = tl.load(grad + target[:, None] * n_batch + batch[None, :], mask=mask, other=0.0)
        h = tl.load(messages + source[:, None] * n_batch + batch[None, :], mask=mask, other=0.0)
        total += tl.sum(g * h, axis=1)
    tl.store(out + edge, total, mask=inside)


def row_sum(indptr: Tensor, column: Tensor, weight: Tensor, messages: Tensor, order: Tensor | None = None) -> Tensor:
    """Sparse matrix times dense matrix.

    Args:
        indptr: (N + 1,) row pointers.
        column: (E,) columns.
        weight: (E,) values, in the order of the rows or, with ``order``, in another.
        messages: (N, B) contiguous.
        order: (E,) place of every value in ``weight``.

    Returns:
        (N, B).
    """
    n, n_batch = len(indptr) - 1, messages.shape[1]
    out = messages.new_empty(n, n_batch)
    width = _width(n_batch)
    grid = (n, triton.cdiv(n_batch, width))
    _row_sum[grid](
        out, indptr, column, weight, indptr if order is None else order, messages, n_batch,
        PERMUTED=order is not None, EDGE=EDGES, BATCH=width,
    )  # fmt: skip
    return out


def edge_product(pre: Tensor, post: Tensor, grad: Tensor, messages: Tensor) -> Tensor:
    """(E,) sum over the batch of grad[post] messages[pre], each (N, B) contiguous."""
    n_batch = messages.shape[1]
    out = messages.new_empty(len(pre))
    if len(pre):
        _edge_product[(triton.cdiv(len(pre), EDGES),)](
            out, pre, post, grad, messages, len(pre), n_batch, EDGE=EDGES, BATCH=_width(n_batch)
        )
    return out


def _width(n_batch: int) -> int:
    return min(triton.next_power_of_2(n_batch), 32)
