"""Perceptrons in C: all layers of a block of rows in one go, by threads that share nothing."""

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native.build import library, loaded
from lobula.kernels.perceptron import Perceptron
from lobula.kernels.spare import borrow, give_back

FUNCTIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "softplus")
"""In the order of vectors.h."""
MOST_INPUTS = MOST_LAYERS = 8
PAD = 16
"""Widths of layers are padded to so many units, as in mlp.c."""
_ALL = MOST_LAYERS + 1


class MLP(ctypes.Structure):
    """As in mlp.h."""

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
        *(("ends", c_void_p * 2), ("shares", c_void_p * 2), ("nodes", c_int64 * 2), ("grad_shares", c_void_p * 2)),
    )


def fits(scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron) -> bool:
    """Whether this module has a kernel for a network at these inputs, of two dimensions each."""
    return (
        all(x.dtype is torch.float32 and x.is_cpu for x in (*scalars, embedding, *network.layers))
        and all(x.shape == scalars[0].shape for x in scalars)
        and max(len(scalars), embedding.shape[1]) <= MOST_INPUTS
        and 5 <= len(network.layers) <= 2 * _ALL + 1
        and network.activation in FUNCTIONS
        and library() is not None
    )


class Evaluation:
    """One evaluation of a network and then its gradients, with what the second needs of the first.

    Args:
        scalars: S inputs that vary, each (B, N).
        embedding: (N, D), rows may be one.
        network: for which, with these inputs, `fits`.
    """

    def __init__(self, scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron) -> None:
        layers = [x.contiguous() for x in network.layers]
        if embedding.stride(1) != 1:
            embedding = embedding.contiguous()
        (batch, n), widths, (unit, gain, squared) = scalars[0].shape, [len(b) for b in layers[2:-2:2]], network.units
        sizes = n, batch, len(scalars), embedding.shape[1], len(widths)
        how = FUNCTIONS.index(network.activation), torch.get_num_threads()
        described = MLP(*sizes, *how, (c_int64 * MOST_LAYERS)(*widths), unit, gain, squared)
        for k, scalar in enumerate(scalars):
            described.scalars[k] = scalar.data_ptr()
            described.scalar_stride[k][:] = scalar.stride()
        described.embedding, described.embedding_stride = embedding.data_ptr(), embedding.stride(0)
        _point_to(described, "", layers)
        self.described, self._kept = described, None
        self.scalars, self.embedding, self.layers = scalars, embedding, layers  # their memory is read

    @property
    def inputs(self) -> list[Tensor]:
        """Scalars, embedding and layers, contiguous where C wants them so."""
        return [*self.scalars, self.embedding, *self.layers]

    def output(self, by_last: Tensor | None = None, *, by_neuron: bool = False, keeps: bool = False) -> Tensor:
        """Evaluates the network.

        Args:
            by_last: (N, B, H + 1), is given the derivatives by the last layer.
            by_neuron: the output lies in memory neuron by neuron.
            keeps: gradients follow.

        Returns:
            (B, N).
        """
        out = self.place_for_output(by_neuron, keeps)
        if by_last is not None:
            self.described.by_last = by_last.data_ptr()
        loaded().lobula_mlp_forward(byref(self.described))
        return out

    def place_for_output(self, by_neuron: bool, keeps: bool) -> Tensor:
        """Makes ready for `lobula_mlp_forward`, which fills what this returns; arguments as in `output`."""
        described, like = self.described, self.scalars[0]
        batch, n = like.shape
        out = like.new_empty(n, batch).T if by_neuron else like.new_empty(batch, n)
        described.out, described.out_stride = out.data_ptr(), (c_int64 * 2)(*out.stride())
        if keeps:
            self.keep()
        return out

    def keep(self) -> None:
        """Makes room for what the gradients need: activations of all layers but the first, and the output before it is
        squared."""
        described = self.described
        width = sum(-(-len(b) // PAD) * PAD for b in self.layers[4:-2:2]) + 1
        kept = borrow(described.n * described.batch, width, self.embedding)
        described.kept = kept.data_ptr()
        described.values = kept.data_ptr() + 4 * (kept.numel() - len(kept)) if described.squared else None
        self._kept = kept

    def reads(self, k: int, scalar: Tensor) -> None:
        """Another tensor in the place of a scalar, of its shape and strides; whoever calls keeps it alive."""
        self.described.scalars[k] = scalar.data_ptr()

    def pull_back(
        self, grad: Tensor, wanted: Sequence[bool], by_embedding: Tensor | None
    ) -> tuple[list[Tensor | None], list[Tensor]]:
        """Gradients, once.

        Args:
            grad: (B, N) by the output.
            wanted: of which scalars.
            by_embedding: (N, D), to which the gradient by the embedding is added.

        Returns:
            by every scalar (B, N) that is wanted, else None; and by every tensor of the layers.

        Raises:
            RuntimeError: if the output kept nothing, or this was called before.
        """
        places = self.places_for_scalars(grad, wanted), self.places_for_layers(by_embedding)
        loaded().lobula_mlp_backward(byref(self.described))
        self.release()
        return places

    def places_for_scalars(self, grad: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """The first half of what `pull_back` returns, which `lobula_mlp_backward` fills; arguments as there."""
        described, (batch, n) = self.described, grad.shape
        by_scalars = [grad.new_empty(n, batch).T if is_wanted else None for is_wanted in wanted]
        described.grad, described.grad_stride = grad.data_ptr(), (c_int64 * 2)(*grad.stride())
        for k, by_scalar in enumerate(by_scalars):
            described.grad_scalars[k] = None if by_scalar is None else by_scalar.data_ptr()
        return by_scalars

    def places_for_layers(self, by_embedding: Tensor | None) -> list[Tensor]:
        """The second half, with its argument; `release` is called after `lobula_mlp_backward`."""
        if self._kept is None:
            raise RuntimeError("perceptron: backward was called twice, expected once; evaluate the network again")
        by_layers = [torch.empty_like(x) for x in self.layers]
        self.described.grad_embedding = None if by_embedding is None else by_embedding.data_ptr()
        _point_to(self.described, "grad_", by_layers)
        return by_layers

    def release(self) -> None:
        """Gives back what was kept for the gradients."""
        kept, self._kept = self._kept, None
        if kept is not None:
            give_back(kept)


def _point_to(described: MLP, prefix: str, layers: Sequence[Tensor]) -> None:
    """Places of the layers, or of their gradients."""
    places = [x.data_ptr() for x in layers]
    getattr(described, prefix + "first")[:] = places[:2]
    getattr(described, prefix + "bias")[0] = places[2]
    point_to_further(described, prefix, layers[3:])


def point_to_further(described: MLP, prefix: str, layers: Sequence[Tensor]) -> None:
    """Places of weights and biases after the first layer, or of their gradients."""
    weights, biases = ([x.data_ptr() for x in layers[k::2]] for k in (0, 1))
    getattr(described, prefix + "weight")[1 : len(weights) + 1] = weights
    getattr(described, prefix + "bias")[1 : len(biases) + 1] = biases


def native_mlp(scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron, by_neuron: bool) -> Tensor:
    """(B, N) output of a network; differentiable once in all tensors. Arguments as in `Evaluation`."""
    tensors = (*scalars, embedding, *network.layers)
    keeps = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return _NativeMLP.apply((len(scalars), network, by_neuron, keeps), *tensors)


def native_last_layer(scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron) -> tuple[Tensor, Tensor]:
    """Output (B, N), and its derivatives (N, B, H + 1) by the weights and the bias of the last layer; no gradients.

    Args:
        scalars, embedding, network: as in `Evaluation`.
    """
    (batch, n), width = scalars[0].shape, network.layers[-2].shape[1]
    by_last = scalars[0].new_empty(n, batch, width + 1)
    return Evaluation(scalars, embedding, network).output(by_last), by_last


class _NativeMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, how: tuple[Any, ...], *tensors: Tensor) -> Tensor:
        n_scalars, network, by_neuron, keeps = how
        evaluation = Evaluation(tensors[:n_scalars], tensors[n_scalars], network)
        ctx.save_for_backward(*evaluation.inputs)  # torch sees whether they were changed
        ctx.evaluation = evaluation
        return evaluation.output(by_neuron=by_neuron, keeps=keeps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018  raises if they were changed
        evaluation: Evaluation = ctx.evaluation
        *wanted, by_embedding = ctx.needs_input_grad[1 : len(evaluation.scalars) + 2]
        by_embedding = grad.new_zeros(evaluation.embedding.shape) if by_embedding else None
        by_scalars, by_layers = evaluation.pull_back(grad, wanted, by_embedding)
        return None, *by_scalars, by_embedding, *by_layers
