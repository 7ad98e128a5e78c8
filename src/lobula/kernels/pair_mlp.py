r"""A multilayer perceptron over edges whose first layer is computed once per neuron.

.. math:: x_e = \sigma(s_{pre(e)} + t_{post(e)}), \quad x_l = \sigma(A_l x_{l-1} + b_l), \quad y_e = A_L x_{L-1} + b_L

with s and t the shares of the source and of the target in the first layer. Edges are taken a block at a time, and the
backward pass computes a block's activations again instead of keeping them: memory is bounded by a block, whatever the
number of edges (434,112 edges, batch 4 and 64 units would be 0.4 GB per layer).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.blocked_mlp import IN_PLACE
from lobula.kernels.native import pair_mlp as native

ROWS = 4096
"""Rows (edges x frames) of a block on a CPU: a layer of 64 units takes 1 MB, which stays in the cache."""
DEVICE_ROWS = 1 << 19
"""The same on a GPU, which needs many rows to be busy: a layer of 64 units takes 128 MB."""


def pair_mlp(
    source: Tensor,
    target: Tensor,
    pre: Tensor,
    post: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    activation: str,
    rows: int | None = None,
) -> Tensor:
    """Evaluates the network on every edge; differentiable once in source, target and layers.

    Under `torch.autocast` products are computed in the lower precision.

    Args:
        source: (N, B, H) share of the source in the first layer, batch before units.
        target: (N, B, H) share of the target, with the bias.
        pre, post: (E,) int64 ends of the edges.
        layers: the layers after the first, weights (out, in) and biases (out,), the last with one output; none where
            the first layer is the last, H = 1.
        activation: name in `perceptron.FUNCTIONS`.
        rows: edges x frames of a block of torch's operations; null: in C where `native.pair_mlp` fits, else as many as
            suit the device.

    Returns:
        (E, B) in the dtype of ``source``.
    """
    kind = source.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else source.dtype
    flat = [tensor for layer in layers for tensor in layer]
    if rows is None and dtype is source.dtype and native.fits(source, target, pre, post, flat, activation):
        return native.native_pair_mlp(source, target, pre, post, flat, activation)
    rows = rows or (ROWS if kind == "cpu" else DEVICE_ROWS)
    with torch.autocast(kind, enabled=False):
        return _PairMLP.apply(source, target, pre, post, activation, max(1, rows // source.shape[1]), dtype, *flat)


class _PairMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, source: Tensor, target: Tensor, pre: Tensor, post: Tensor, activation: str, step: int, dtype, *flat: Tensor
    ) -> Tensor:
        ctx.save_for_backward(source, target, pre, post, *flat)
        ctx.activation, ctx.step, ctx.dtype = activation, step, dtype
        out = source.new_empty(len(pre), source.shape[1])
        source, target, *lower = (tensor.to(dtype) for tensor in (source, target, *flat))
        for block in _blocks(len(pre), step):
            first = _first_layer(source, target, pre[block], post[block])
            out[block] = _activations(first, lower, activation)[-1].view(-1, out.shape[1])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, target, pre, post, *flat = ctx.saved_tensors
        grads = [torch.zeros_like(tensor) for tensor in (source, target, *flat)]
        source, target, *lower = (tensor.to(ctx.dtype) for tensor in (source, target, *flat))
        for block in _blocks(len(pre), ctx.step):
            ends = pre[block], post[block]
            kept = _activations(_first_layer(source, target, *ends), lower, ctx.activation)
            delta = grad[block].to(ctx.dtype).reshape(-1, 1)
            for k in range(len(kept) - 1, 0, -1):
                grads[2 * k] += delta.T @ kept[k - 1]
                grads[2 * k + 1] += delta.sum(0)
                delta = IN_PLACE[ctx.activation][1](delta @ lower[2 * k - 2], kept[k - 1])
            shares = delta.view(len(ends[0]), *source.shape[1:]).to(grads[0].dtype)
            for accumulated, end in zip(grads[:2], ends, strict=True):
                accumulated.index_add_(0, end, shares)
        return *grads[:2], None, None, None, None, None, *grads[2:]


def _blocks(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _first_layer(source: Tensor, target: Tensor, pre: Tensor, post: Tensor) -> Tensor:
    """(m B, H) first layer on the edges of a block, before its nonlinearity."""
    return source.index_select(0, pre).add_(target.index_select(0, post)).flatten(0, 1)


def _activations(x: Tensor, lower: list[Tensor], activation: str) -> list[Tensor]:
    """Hidden activations of every layer, then the output (m B, 1)."""
    kept = []
    for weight, bias in zip(lower[::2], lower[1::2], strict=True):
        kept.append(IN_PLACE[activation][0](x))
        x = torch.addmm(bias, kept[-1], weight.T)
    return [*kept, x]
