r"""A whole graph network whose messages depend on their source alone, in C and as one operation of torch's.

.. math:: \dot v_i = f(v_i, a_i, \sum_j W_{ij}\, g(v_j, a_j), I_i)

Its parts one by one are the same C, but what torch does around every operation is time that does not shrink with the
circuit.
"""

import typing
from ctypes import byref, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native import message_sum, mlp
from lobula.kernels.native.build import loaded
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


def fits(voltage: Tensor, external: Tensor, weight: Tensor, embedding: Tensor, network: Parts) -> bool:
    """Whether there are kernels for these arguments of `source_network`."""
    return (
        voltage.ndim == 2
        and not network.pattern.is_dense
        and message_sum.fits(weight, voltage.T)
        and mlp.fits((voltage,), embedding, network.message)
        and mlp.fits((voltage, external), embedding, network.update)
        and not torch.is_autocast_enabled("cpu")
    )


def source_network(
    voltage: Tensor, external: Tensor, weight: Tensor, embedding: Tensor, network: Parts, is_shared: bool = False
) -> Tensor:
    """Evaluates a network; differentiable once in all tensors.

    Args:
        voltage, external: (B, N).
        weight: (E,) one value per edge, in the order of the wiring.
        embedding: (N, D).
        network: for which, with these inputs, `fits`.
        is_shared: g sees zeros in place of the embedding, and is one function for all neurons.

    Returns:
        (B, N).
    """
    tensors = voltage, external, weight, embedding, *network.message.layers, *network.update.layers
    keeps = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return _SourceNetwork.apply((network, is_shared, keeps), *tensors)


class _SourceNetwork(torch.autograd.Function):
    @staticmethod
    def forward(ctx, how: tuple[Parts, bool, bool], *tensors: Tensor) -> Tensor:
        (network, is_shared, keeps), (voltage, external, weight, embedding, *_) = how, tensors
        seen = torch.zeros_like(embedding[:1]).expand(len(embedding), -1) if is_shared else embedding
        message = Evaluation((voltage,), seen, network.message)
        sent = message.place_for_output(by_neuron=True, keeps=keeps).T
        summed, values = torch.empty_like(sent), weight.contiguous()
        update = Evaluation((voltage, summed.T, external), embedding, network.update)
        out = update.place_for_output(by_neuron=False, keeps=keeps)
        pattern = message_sum.described(network.pattern, sent)
        places = (c_void_p(x.data_ptr()) for x in (values, sent, summed))
        loaded().lobula_source_network(byref(message.described), byref(pattern), *places, byref(update.described))
        ctx.save_for_backward(*tensors)  # torch sees whether they were changed
        ctx.parts = message, pattern, values, sent, update, is_shared
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        _, _, _, embedding, *_ = ctx.saved_tensors
        _, by_voltage, by_external, by_weight, by_embedding, *_ = ctx.needs_input_grad
        message, pattern, values, sent, update, is_shared = ctx.parts
        to_embedding = grad.new_zeros(embedding.shape) if by_embedding else None
        to_weight, to_sent = torch.empty_like(values) if by_weight else None, torch.empty_like(sent)
        of_inputs = by_voltage, True, by_external
        (as_target, to_summed, to_external), to_update = update.places_for_gradients(grad, of_inputs, to_embedding)
        to_source = None if is_shared else to_embedding
        (as_source,), to_message = message.places_for_gradients(to_sent.T, (by_voltage,), to_source)
        tensors = values, sent, to_summed, to_weight, to_sent
        places = (None if x is None else c_void_p(x.data_ptr()) for x in tensors)
        loaded().lobula_source_network_back(byref(message.described), byref(pattern), *places, byref(update.described))
        message.release()
        update.release()
        to_voltage = as_target + as_source if by_voltage else None
        return None, to_voltage, to_external, to_weight, to_embedding, *to_message, *to_update
