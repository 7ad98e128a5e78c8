"""`blocked_mlp` in C: all layers of a block of rows in one go, by threads that share nothing."""

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native.build import library, loaded
from lobula.kernels.spare import borrow, give_back

FUNCTIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "softplus")
"""In the order of vectors.h."""
MOST_INPUTS = MOST_LAYERS = 8
PAD = 16
"""Widths of layers are padded to so many units, as in mlp.c."""
_ALL = MOST_LAYERS + 1


class _MLP(ctypes.Structure):
    """As in mlp.c."""

    _fields_ = (
        *((name, c_int64) for name in ("n", "batch", "n_scalars", "n_embedding", "n_layers", "activation", "threads")),
        *(("width", c_int64 * MOST_LAYERS), ("unit", c_float), ("gain", c_float), ("squared", c_int64)),
        *(("scalars", c_void_p * MOST_INPUTS), ("scalar_stride", c_int64 * 2 * MOST_INPUTS)),
        *(("embedding", c_void_p), ("embedding_stride", c_int64)),
        *(("first", c_void_p * 2), ("weight", c_void_p * _ALL), ("bias", c_void_p * _ALL)),
        *(("kept", c_void_p), ("values", c_void_p)),
        *(
            ("out", c_void_p),
            ("out_stride", c_int64 * 2),
            ("by_last", c_void_p),
            ("grad", c_void_p),
            ("grad_stride", c_int64 * 2),
        ),
        *(("grad_scalars", c_void_p * MOST_INPUTS), ("grad_embedding", c_void_p)),
        *(("grad_first", c_void_p * 2), ("grad_weight", c_void_p * _ALL), ("grad_bias", c_void_p * _ALL)),
    )


def fits(scalars: Sequence[Tensor], embedding: Tensor, flat: Sequence[Tensor], activation: str) -> bool:
    """Whether this module has a kernel for these arguments of `native_mlp`."""
    return (
        all(x.dtype is torch.float32 and x.is_cpu for x in (*scalars, embedding, *flat))
        and max(len(scalars), embedding.shape[1]) <= MOST_INPUTS
        and 5 <= len(flat) <= 2 * _ALL + 1
        and activation in FUNCTIONS
        and library() is not None
    )


def native_mlp(
    scalars: Sequence[Tensor],
    embedding: Tensor,
    flat: Sequence[Tensor],
    activation: str,
    units: tuple[float, float, bool],
    by_neuron: bool,
) -> Tensor:
    """Evaluates the network; differentiable once in all tensors.

    Args:
        scalars: S inputs that vary, each (B, N).
        embedding: (N, D), rows may be one.
        flat: the first layer's weights (H, S) and (H, D) and its bias, then weight (out, in) and bias of every further
            layer.
        activation: name in `FUNCTIONS`.
        units: what scalars are divided by, what the output is multiplied with, and whether it is squared before.
        by_neuron: the output lies in memory neuron by neuron.

    Returns:
        (B, N).
    """
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (*scalars, embedding, *flat))
    how = len(scalars), activation, units, by_neuron, keep
    return _NativeMLP.apply(how, *scalars, embedding, *flat)


def native_last_layer(
    scalars: Sequence[Tensor],
    embedding: Tensor,
    flat: Sequence[Tensor],
    activation: str,
    units: tuple[float, float, bool],
) -> tuple[Tensor, Tensor]:
    """Output (B, N), and its derivatives (N, B, H + 1) by the weights and the bias of the last layer; no gradients.

    Args:
        scalars, embedding, flat, activation, units: as in `native_mlp`.
    """
    network, inputs = _described((len(scalars), activation, units), (*scalars, embedding, *flat))
    (batch, n), width = scalars[0].shape, flat[-2].shape[1]
    out, by_last = scalars[0].new_empty(batch, n), scalars[0].new_empty(n, batch, width + 1)
    network.out, network.out_stride, network.by_last = out.data_ptr(), (c_int64 * 2)(*out.stride()), by_last.data_ptr()
    loaded().lobula_mlp_forward(byref(network))
    del inputs  # until here their memory was read
    return out, by_last


class _NativeMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, how: tuple[Any, ...], *tensors: Tensor) -> Tensor:
        n_scalars, _, units, by_neuron, keep = how
        network, inputs = _described(how, tensors)
        like, flat = tensors[0], tensors[n_scalars + 1 :]
        batch, n = like.shape
        kept = borrow(n * batch, sum(-(-len(b) // PAD) * PAD for b in flat[4:-2:2]) + 1, like) if keep else None
        out = like.new_empty(n, batch).T if by_neuron else like.new_empty(batch, n)
        network.out, network.out_stride = out.data_ptr(), (c_int64 * 2)(*out.stride())
        _point_to_kept(network, kept, units)
        loaded().lobula_mlp_forward(byref(network))
        ctx.save_for_backward(*inputs)
        ctx.how, ctx.kept, ctx.network = how, kept, network
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kept is None:
            raise RuntimeError("blocked_mlp: backward was called twice, expected once; evaluate the network again")
        tensors, n_scalars, network = ctx.saved_tensors, ctx.how[0], ctx.network
        kept, ctx.kept = ctx.kept, None
        batch, n = tensors[0].shape
        wanted = ctx.needs_input_grad[1:]
        by_scalars = [grad.new_empty(n, batch).T if wanted[k] else None for k in range(n_scalars)]
        by_embedding = torch.empty_like(tensors[n_scalars], memory_format=torch.contiguous_format)
        grads = [torch.zeros_like(t) for t in tensors[n_scalars + 1 :]]
        network.grad, network.grad_stride = grad.data_ptr(), (c_int64 * 2)(*grad.stride())
        for k, by_scalar in enumerate(by_scalars):
            network.grad_scalars[k] = None if by_scalar is None else by_scalar.data_ptr()
        network.grad_embedding = by_embedding.data_ptr() if wanted[n_scalars] else None
        _point_to(network, "grad_", grads)
        loaded().lobula_mlp_backward(byref(network))
        give_back(kept)
        return None, *by_scalars, by_embedding if wanted[n_scalars] else None, *grads


def _described(how: tuple[Any, ...], tensors: Sequence[Tensor]) -> tuple[_MLP, list[Tensor]]:
    """What C reads, and the tensors whose memory it points to."""
    n_scalars, activation, (unit, gain, squared), *_ = how
    scalars, embedding = tensors[:n_scalars], tensors[n_scalars]
    flat = [x.contiguous() for x in tensors[n_scalars + 1 :]]
    if embedding.stride(1) != 1:
        embedding = embedding.contiguous()
    (batch, n), widths = scalars[0].shape, [len(b) for b in flat[2:-2:2]]
    sizes = n, batch, n_scalars, embedding.shape[1], len(widths), FUNCTIONS.index(activation), torch.get_num_threads()
    network = _MLP(*sizes, (c_int64 * MOST_LAYERS)(*widths), unit, gain, squared)
    for k, scalar in enumerate(scalars):
        network.scalars[k] = scalar.data_ptr()
        network.scalar_stride[k][:] = scalar.stride()
    network.embedding, network.embedding_stride = embedding.data_ptr(), embedding.stride(0)
    _point_to(network, "", flat)
    return network, [*scalars, embedding, *flat]


def _point_to(network: _MLP, prefix: str, flat: Sequence[Tensor]) -> None:
    """Places of the layers, or of their gradients."""
    places = [x.data_ptr() for x in flat]
    weights, biases = places[3::2], places[2::2]
    getattr(network, prefix + "first")[:] = places[:2]
    getattr(network, prefix + "weight")[1 : len(weights) + 1] = weights
    getattr(network, prefix + "bias")[: len(biases)] = biases


def _point_to_kept(network: _MLP, kept: Tensor | None, units: tuple[float, float, bool]) -> None:
    """Places of the activations, and after them of the output before it is squared."""
    if kept is not None:
        network.kept = kept.data_ptr()
        values = kept.data_ptr() + 4 * (kept.numel() - len(kept))
        network.values = values if units[2] else None
