r"""A whole graph network whose messages depend on their source alone, in C and as one operation of torch's.

.. math:: \dot v_i = f(v_i, a_i, \sum_j W_{ij}\, g(v_j, a_j), I_i)

Its parts one by one are the same C, but what torch does around every operation is time that does not shrink with the
circuit.
"""

import ctypes
import typing
from collections.abc import Sequence
from ctypes import byref, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native import loss, message_sum, mlp
from lobula.kernels.native.build import loaded
from lobula.kernels.native.loss import Loss
from lobula.kernels.native.mlp import Evaluation
from lobula.kernels.perceptron import Perceptron

if typing.TYPE_CHECKING:
    from lobula.kernels.message_sum import SparsePattern


class Parts(NamedTuple):
    """What such a network is made of, beside its weights and the embedding (N, D).

    Attributes:
        pattern: the wiring.
        message: g, on the source's voltage and embedding.
        update: f, on voltage, summed message, external input and embedding.
    """

    pattern: "SparsePattern"
    message: Perceptron
    update: Perceptron


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
        keeps: gradients follow.

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
        self._wiring = network.pattern  # C reads it
        self._message, self._update, self._is_shared = message, update, is_shared
        self._sent, self._values, self._pattern = sent, values, message_sum.described(network.pattern, sent)
        parts = (ctypes.addressof(x) for x in (message.described, update.described, self._pattern))
        self._described = _Described(*parts, *(x.data_ptr() for x in (values, sent, summed)))

    def evaluated(self) -> Tensor:
        """(B, N) prediction, which is then no longer kept here: it will know of this run."""
        loaded().lobula_source_network(byref(self._described))
        out = self.out
        del self.out
        return out

    def pull_back(self, grad: Tensor, wanted: Sequence[bool], after: Loss | None = None) -> list[Tensor | None]:
        """Gradients, once.

        Args:
            grad: (B, N) by the prediction.
            wanted: whether of voltage, external, weight and embedding; the layers' are computed always.
            after: prediction and this loss are computed first, in the same call, and with the loss ``grad``.

        Returns:
            by voltage, external, weight and embedding, None for what is not wanted, and by all layers.
        """
        (by_voltage, by_external, by_weight, by_embedding), message, update = wanted, self._message, self._update
        to_weight, to_sent = torch.empty_like(self._values) if by_weight else None, torch.empty_like(self._sent)
        to_embedding = grad.new_zeros(update.embedding.shape) if by_embedding else None
        to_inputs, to_update = update.places_for_gradients(grad, (by_voltage, True, by_external), to_embedding)
        to_sender = None if self._is_shared else to_embedding
        (as_source,), to_message = message.places_for_gradients(to_sent.T, (by_voltage,), to_sender)
        as_target, to_summed, to_external = to_inputs
        places = (None if x is None else x.data_ptr() for x in (to_summed, to_weight, to_sent))
        self._described.by_summed, self._described.by_weight, self._described.by_sent = places
        if after is None:
            loaded().lobula_source_network_back(byref(self._described))
        else:
            loaded().lobula_source_network_fit(byref(self._described), byref(after))
        message.release()
        update.release()
        to_voltage = as_target if as_target is None or as_source is None else as_target + as_source
        return [to_voltage, to_external, to_weight, to_embedding, *to_message, *to_update]


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
        run = _Run(tensors, network, is_shared, keeps=True)
        value, by_prediction = target.new_empty(()), torch.empty_like(target)
        described = loss.described(run.out, target, loss_weight, by_prediction, value)
        wanted = False, False, *(x.requires_grad for x in parameters[:2])
        _, _, *gradients = run.pull_back(by_prediction, wanted, described)
        ctx.found = [(x, gradient) for x, gradient in zip(parameters, gradients, strict=True) if x.requires_grad]
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[None, None, Tensor]:
        found, ctx.found = ctx.found, None
        if found is None:
            raise RuntimeError("prediction loss: backward was called twice, expected once; evaluate it again")
        factor = float(grad)
        if factor != 1.0:
            found = [(parameter, factor * gradient) for parameter, gradient in found]
        (_, of_first), *others = found
        for parameter, gradient in others:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return None, None, of_first
