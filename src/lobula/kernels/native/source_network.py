r"""A whole graph network whose messages depend on their source alone, in C and as one operation of torch's.

.. math:: \dot v_i = f(v_i, a_i, \sum_j W_{ij}\, g(v_j, a_j), I_i)

Its parts one by one are the same C, but what torch does around every operation is time that does not shrink with the
circuit.
"""

import ctypes
import typing
from collections.abc import Sequence
from ctypes import byref, c_void_p
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native import loss, message_sum, mlp
from lobula.kernels.native.build import loaded
from lobula.kernels.native.mlp import Evaluation
from lobula.kernels.perceptron import Perceptron

if typing.TYPE_CHECKING:
    from lobula.kernels.message_sum import SparsePattern


class _Kept:
    """Place of a `_Fit` between two calls; a copy is empty."""

    def __init__(self) -> None:
        self._fits: list[_Fit] = []

    def take(self) -> "_Fit | None":
        """What was put here last, for the caller alone."""
        try:
            return self._fits.pop()
        except IndexError:
            return None

    def put(self, fit: "_Fit") -> None:
        """Keeps one, and no other."""
        self._fits[:] = [fit]

    def __reduce__(self) -> tuple[type["_Kept"], tuple[()]]:
        return _Kept, ()


@dataclass(frozen=True)
class Parts:
    """What such a network is made of, beside its weights and the embedding (N, D).

    Attributes:
        pattern: the wiring.
        message: g, on the source's voltage and embedding.
        update: f, on voltage, summed message, external input and embedding.
        kept: what `prediction_loss` keeps from call to call.
    """

    pattern: "SparsePattern"
    message: Perceptron
    update: Perceptron
    kept: _Kept = field(default_factory=_Kept, init=False, repr=False, compare=False)


def fits(weight: Tensor, embedding: Tensor, network: Parts) -> bool:
    """Whether there are kernels for a network, whatever its frames."""
    scalars = [embedding[:, 0]] * 3  # stand for voltage, summed message and external input
    return (
        not network.pattern.is_dense
        and message_sum.fits(weight, embedding[:, :1])
        and mlp.fits(scalars[:1], embedding, network.message)
        and mlp.fits(scalars, embedding, network.update)
    )


def frames_fit(voltage: Tensor, external: Tensor, network: Parts) -> bool:
    """Whether these frames are for the kernels."""
    return (
        voltage.dtype is external.dtype is torch.float32
        and voltage.is_cpu
        and voltage.shape == external.shape
        and voltage.shape[1:] == (network.pattern.n_neurons,)
        and len(voltage) <= message_sum.MOST_COLUMNS
        and not torch.is_autocast_enabled("cpu")
    )


def source_network(tensors: Sequence[Tensor], network: Parts, is_shared: bool = False) -> Tensor:
    """Evaluates a network; differentiable once in all tensors.

    Args:
        tensors: voltage (B, N), external input (B, N), weight (E,) per edge in the order of the wiring, and embedding
            (N, D).
        network: for which, with these inputs, `fits`.
        is_shared: g sees zeros in place of the embedding, and is one function for all neurons.

    Returns:
        (B, N).
    """
    everything = *tensors, *network.message.layers, *network.update.layers
    keeps = torch.is_grad_enabled() and any(t.requires_grad for t in everything)
    return _SourceNetwork.apply((network, is_shared, keeps), *everything)


def prediction_loss(
    tensors: Sequence[Tensor], target: Tensor, loss_weight: Tensor, network: Parts, is_shared: bool = False
) -> Tensor:
    """Mean of loss_weight_i (prediction - target)^2, computed together with its gradients.

    The same as prediction, loss and backward pass one by one, with less of what torch does around each. For `backward`,
    which adds to the `grad` of weight, embedding and layers; `torch.autograd.grad` finds none but the first of them.

    Args:
        tensors, network, is_shared: as in `source_network`; no gradients reach voltage and external input.
        target: (B, N).
        loss_weight: (N,); with these `loss.fits`.
    """
    parameters = [*tensors[2:], *network.message.layers, *network.update.layers]
    first = next((x for x in parameters if x.requires_grad), None)
    return _PredictionLoss.apply((tensors, target, loss_weight, network, is_shared), parameters, first)


def backward(loss: Tensor) -> None:
    """`loss.backward()`; what `prediction_loss` gave, and nothing was done to, needs nothing of torch's for it."""
    is_bare = not loss._backward_hooks and not loss.retains_grad
    if is_bare and hasattr(loss.grad_fn, "pending"):
        _write(_taken(loss.grad_fn))
    else:
        loss.backward()


class _Described(ctypes.Structure):
    """As in source_network.c."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in ("message", "update", "pattern", "weight", "sent", "summed", "by_summed", "by_weight", "by_sent")
    )


class _Run:
    """One evaluation and its gradients; owns the memory that C reads and fills.

    Args:
        tensors: voltage and external (B, N), weight (E,), embedding (N, D).
        network, is_shared: as in `source_network`.
        keeps: gradients follow, of these frames.

    Attributes:
        out: (B, N) place of the prediction.
    """

    def __init__(self, tensors: Sequence[Tensor], network: Parts, is_shared: bool, keeps: bool) -> None:
        voltage, external, weight, embedding = tensors
        seen = torch.zeros_like(embedding[:1]).expand(len(embedding), -1) if is_shared else embedding
        message = Evaluation((voltage,), seen, network.message)
        sent = message.place_for_output(by_neuron=True, keeps=keeps).T
        summed, values = torch.empty_like(sent), weight.contiguous()
        update = Evaluation((voltage, summed.T, external), embedding, network.update)
        self.out = update.place_for_output(by_neuron=False, keeps=keeps)
        self._wiring = message_sum.read_of(network.pattern)  # stays where it is as long as C reads it
        self._message, self._update, self._is_shared = message, update, is_shared
        self._sent, self._summed, self._values = sent, summed, values
        self._pattern = message_sum.described(network.pattern, sent)
        parts = (ctypes.addressof(x) for x in (message.described, update.described, self._pattern))
        self.described = _Described(*parts, *(x.data_ptr() for x in (values, sent, summed)))

    def evaluated(self) -> Tensor:
        """(B, N) prediction, which is then no longer kept here: it will know of this run."""
        loaded().lobula_source_network(byref(self.described))
        out = self.out
        del self.out
        return out

    def pull_back(self, grad: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Gradients, once.

        Args:
            grad: (B, N) by the prediction.
            wanted: whether of voltage, external, weight and embedding; the layers' are computed always.

        Returns:
            by voltage, external, weight and embedding, None for what is not wanted, and by all layers.
        """
        by_frames = self.places_for_frames(grad, *wanted[:2])
        by_parameters = self.places_for_parameters(*wanted[2:])
        loaded().lobula_source_network_back(byref(self.described))
        self.release()
        as_source, as_target, to_external = by_frames
        to_voltage = as_target if as_target is None or as_source is None else as_target + as_source
        return [to_voltage, to_external, *by_parameters]

    def places_for_frames(self, grad: Tensor, by_voltage: bool, by_external: bool) -> tuple[Tensor | None, ...]:
        """Makes ready for gradients by voltage, that of the source and that of the target, and by external input."""
        self._grad, self._to_sent = grad, torch.empty_like(self._sent)
        as_target, to_summed, to_external = self._update.places_for_scalars(grad, (by_voltage, True, by_external))
        (as_source,) = self._message.places_for_scalars(self._to_sent.T, (by_voltage,))
        self._to_summed, self.described.by_sent = to_summed, self._to_sent.data_ptr()
        self.described.by_summed = None if to_summed is None else to_summed.data_ptr()
        return as_source, as_target, to_external

    def places_for_parameters(self, by_weight: bool, by_embedding: bool) -> list[Tensor | None]:
        """Makes ready for gradients by weight and embedding, None for what is not wanted, and by all layers."""
        to_weight = torch.empty_like(self._values) if by_weight else None
        to_embedding = torch.zeros_like(self._update.embedding) if by_embedding else None
        to_update = self._update.places_for_layers(to_embedding)
        to_message = self._message.places_for_layers(None if self._is_shared else to_embedding)
        self.described.by_weight = None if to_weight is None else to_weight.data_ptr()
        return [to_weight, to_embedding, *to_message, *to_update]

    def read(self, voltage: Tensor, external: Tensor) -> None:
        """Makes ready for these frames, of the shape and strides of those it was made for, and for their gradients."""
        self._message.reads(0, voltage)
        self._update.reads(0, voltage)
        self._update.reads(2, external)
        self._message.keep()
        self._update.keep()

    def release(self) -> None:
        """Gives back what was kept for the gradients, and lets go of the frames."""
        for network in (self._message, self._update):
            network.release()
            network.scalars = ()


def _described_by(
    tensors: Sequence[Tensor], parameters: Sequence[Tensor], network: Parts, wanted: Sequence[bool], is_shared: bool
) -> tuple[Any, ...] | None:
    """What tells one description from another; None where C reads copies."""
    if not all(x.is_contiguous() for x in parameters):
        return None
    voltage, external = tensors[:2]
    addresses = (x.data_ptr() for x in (*parameters, *message_sum.read_of(network.pattern)))
    strides = *voltage.shape, *voltage.stride(), *external.stride()
    return *strides, torch.get_num_threads(), is_shared, *wanted, *addresses


class _Fit:
    """Prediction, loss and gradients in one call, with what C reads of them described once for many batches.

    Args:
        tensors, network, is_shared: as in `prediction_loss`.
        wanted: whether the gradients by weight and by embedding are.
        key: as in `_described_by`.
    """

    def __init__(
        self, tensors: Sequence[Tensor], network: Parts, is_shared: bool, wanted: Sequence[bool], key: Any
    ) -> None:
        self.key, self.wanted, self.run = key, wanted, _Run(tensors, network, is_shared, keeps=False)
        self._by_prediction = torch.empty_like(self.run.out)
        self.run.places_for_frames(self._by_prediction, False, False)

    def __call__(
        self, voltage: Tensor, external: Tensor, target: Tensor, loss_weight: Tensor
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Loss, and gradients by weight, embedding and layers; for frames like the first ones."""
        self.run.read(voltage, external)
        value = target.new_empty(())
        gradients = self.run.places_for_parameters(*self.wanted)
        after = loss.described(self.run.out, target, loss_weight, self._by_prediction, value)
        loaded().lobula_source_network_fit(byref(self.run.described), byref(after))
        self.run.release()
        return value, gradients


class _SourceNetwork(torch.autograd.Function):
    @staticmethod
    def forward(ctx, how: tuple[Parts, bool, bool], *tensors: Tensor) -> Tensor:
        network, is_shared, keeps = how
        run = ctx.run = _Run(tensors[:4], network, is_shared, keeps)
        ctx.save_for_backward(*tensors)  # torch sees whether they were changed
        return run.evaluated()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018  raises if they were changed
        return None, *ctx.run.pull_back(grad, ctx.needs_input_grad[1:5])


class _PredictionLoss(torch.autograd.Function):
    """Torch would take longer to hand the gradients to seventeen tensors than Python takes."""

    @staticmethod
    def forward(ctx, how: tuple[Any, ...], parameters: list[Tensor], first: Tensor | None) -> Tensor:
        tensors, target, loss_weight, network, is_shared = how
        wanted = [x.requires_grad for x in parameters[:2]]
        key = _described_by(tensors, parameters, network, wanted, is_shared)
        fit = network.kept.take()
        if fit is None or key is None or fit.key != key:
            fit = _Fit(tensors, network, is_shared, wanted, key)
        value, gradients = fit(*tensors[:2], target, loss_weight)
        network.kept.put(fit)
        ctx.pending = [(x, gradient) for x, gradient in zip(parameters, gradients, strict=True) if x.requires_grad]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[None, None, Tensor]:
        pending = _taken(ctx)
        factor = float(grad)
        if factor != 1.0:
            pending = [(parameter, factor * gradient) for parameter, gradient in pending]
        (_, of_first), *others = pending
        _write(others)
        return None, None, of_first


def _taken(node: Any) -> list[tuple[Tensor, Tensor]]:
    pending, node.pending = node.pending, None
    if pending is None:
        raise RuntimeError("prediction loss: backward was called twice, expected once; evaluate it again")
    return pending


def _write(gradients: Sequence[tuple[Tensor, Tensor]]) -> None:
    for parameter, gradient in gradients:
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
