"""`pair_mlp` in C: the perceptron of mlp.c over edges, whose activations are computed again for the gradients."""

from collections.abc import Sequence
from ctypes import byref, c_int64

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native.build import library, loaded
from lobula.kernels.native.mlp import FUNCTIONS, MLP, MOST_LAYERS, point_to_further

MOST_BYTES = 1 << 30
"""Of the sums over edges that all threads have, each its own: fewer threads where nodes and frames are many."""


def fits(source: Tensor, target: Tensor, pre: Tensor, post: Tensor, layers: Sequence[Tensor], activation: str) -> bool:
    """Whether this module has a kernel for these arguments of `native_pair_mlp`."""
    return (
        len(pre) > 0  # C takes a network for one over edges by the place of its ends
        and all(x.dtype is torch.float32 and x.is_cpu for x in (source, target, *layers))
        and pre.dtype is post.dtype is torch.int64
        and pre.shape == post.shape
        and source.shape[1:] == target.shape[1:]
        and 2 <= len(layers) <= 2 * MOST_LAYERS
        and activation in FUNCTIONS
        and library() is not None
    )


def native_pair_mlp(
    source: Tensor, target: Tensor, pre: Tensor, post: Tensor, layers: Sequence[Tensor], activation: str
) -> Tensor:
    """(E, B) output on every edge; differentiable once in source, target and layers.

    Args:
        source, target, pre, post, activation: as in `pair_mlp`.
        layers: weight and bias of every layer after the first.
    """
    return _NativePairMLP.apply(activation, source, target, pre, post, *layers)


class _NativePairMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, activation: str, *tensors: Tensor) -> Tensor:
        tensors = tuple(x.contiguous() for x in tensors)
        out = tensors[0].new_empty(len(tensors[2]), tensors[0].shape[1])
        described = _described(activation, tensors)
        described.out, described.out_stride = out.data_ptr(), (c_int64 * 2)(1, out.shape[1])
        loaded().lobula_mlp_forward(byref(described))
        ctx.save_for_backward(*tensors)
        ctx.activation = activation
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        shares, layers = tensors[:2], tensors[4:]
        described, grad = _described(ctx.activation, tensors), grad.contiguous()
        n_bytes = sum(4 * x.numel() for x in shares)
        described.threads = max(1, min(described.threads, MOST_BYTES // max(1, n_bytes)))
        sums = [x.new_zeros(described.threads, *x.shape) for x in shares]
        by_layers = [torch.empty_like(x) for x in layers]
        described.grad, described.grad_stride = grad.data_ptr(), (c_int64 * 2)(1, grad.shape[1])
        described.grad_shares[:] = [x.data_ptr() for x in sums]
        point_to_further(described, "grad_", by_layers)
        loaded().lobula_mlp_backward(byref(described))
        return None, *(x.sum(0) for x in sums), None, None, *by_layers


def _described(activation: str, tensors: Sequence[Tensor]) -> MLP:
    source, target, pre, post, *layers = tensors
    widths = [source.shape[2], *(len(bias) for bias in layers[1:-2:2])]
    sizes = len(pre), source.shape[1], 0, 0, len(widths), FUNCTIONS.index(activation), torch.get_num_threads()
    described = MLP(*sizes, (c_int64 * MOST_LAYERS)(*widths), 1.0, 1.0, False)
    described.ends[:], described.nodes[:] = (pre.data_ptr(), post.data_ptr()), (len(source), len(target))
    described.shares[:] = source.data_ptr(), target.data_ptr()
    point_to_further(described, "", layers)
    return described
