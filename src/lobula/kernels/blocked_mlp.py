r"""A multilayer perceptron over neurons whose hidden activations stay in the processor's cache.

.. math:: x_0 = (s_{bn}, e_n), \quad x_l = \sigma(A_l x_{l-1} + b_l), \quad y_{bn} = A_L x_{L-1} + b_L

with scalars s that vary from frame to frame and the neuron's embedding e, which does not. In single precision on a CPU
with a C compiler `native.mlp` computes it. What follows is for all else. Rows (frames of a neuron, neuron by neuron)
are taken a block at a time, so that a block's activations stay in the cache from one operation to the
next: at full size (13,741 neurons, batch 4, hidden 64) they are 14 MB per layer, many times the second-level cache.
Threads keep to their rows of a block, in sums over rows, too: where two cores share no cache, and virtual machines come
to that unasked, a step is else half as fast. The backward pass computes the first layer again, which is cheap, and
reads the others, which are not, from memory. Inputs, with a one for the bias, are padded to a multiple of four columns,
for which products are twice as fast as for three; the last layer, with its single output, goes through matrix-vector
products, ten times faster here than the general ones.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lobula.kernels.native import mlp as native
from lobula.kernels.perceptron import Perceptron
from lobula.kernels.spare import borrow, give_back

ROWS = 8192
"""About so many rows (neurons x frames) has a block: a layer of 64 units takes 2 MB."""

aten = torch.ops.aten


def _softplus_pull_back(grad: Tensor, y: Tensor) -> Tensor:
    return grad.mul_(-torch.expm1(-y))


IN_PLACE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu_, lambda grad, y: aten.threshold_backward.grad_input(grad, y, 0.0, grad_input=grad)),
    "tanh": (torch.tanh_, lambda grad, y: aten.tanh_backward.grad_input(grad, y, grad_input=grad)),
    "sigmoid": (torch.sigmoid_, lambda grad, y: aten.sigmoid_backward.grad_input(grad, y, grad_input=grad)),
    "leaky_relu": (
        lambda x: torch.nn.functional.leaky_relu_(x, 0.01),
        lambda grad, y: aten.leaky_relu_backward.grad_input(grad, y, 0.01, True, grad_input=grad),
    ),
    "softplus": (lambda x: x.copy_(torch.nn.functional.softplus(x)), _softplus_pull_back),
}
"""Name: the function and its pull-back (gradient, value of the function), both in place."""


def blocked_mlp(
    scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron, by_neuron: bool = False, rows: int = ROWS
) -> Tensor:
    """Evaluates a network, in C where `native.mlp` fits; differentiable once in all tensors.

    Args:
        scalars: S inputs that vary from frame to frame, each (B, N).
        embedding: (N, D) inputs that do not, or (1, D) for all neurons.
        network: of two layers or more.
        by_neuron: the output lies in memory neuron by neuron, as sums over inputs want it; else frame by frame. Values
            are the same.
        rows: neurons x frames of a block, about, where torch computes them; blocks are of equal size.

    Returns:
        (B, N).
    """
    batch, n = scalars[0].shape
    embedding, flat = embedding.expand(n, -1), network.layers
    if native.fits(scalars, embedding, network):
        return native.native_mlp(scalars, embedding, network, by_neuron)
    stacked, first = torch.stack(tuple(scalars), dim=-1) / network.units.unit, torch.cat(flat[:2], dim=1)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (stacked, embedding, *flat))
    how = network.activation, _rows_of_a_block(batch * n, rows), keep
    return network.units.of_output(_BlockedMLP.apply(stacked, embedding, *how, first, *flat[2:]))


@torch.no_grad()
def last_layer_derivatives(scalars: Sequence[Tensor], embedding: Tensor, network: Perceptron) -> tuple[Tensor, Tensor]:
    """Output (B, N), and its derivatives (N, B, H + 1) by the weights and the bias of the last layer.

    Args:
        scalars, embedding, network: as in `blocked_mlp`, on a CPU.
    """
    embedding, units = embedding.expand(scalars[0].shape[1], -1), network.units
    if native.fits(scalars, embedding, network):
        return native.native_last_layer(scalars, embedding, network)
    linear, evaluate = torch.nn.functional.linear, IN_PLACE[network.activation][0]
    inputs, (by_scalars, *by_embedding) = torch.stack([x.T for x in scalars], dim=-1) / units.unit, network.layers[:3]
    x = evaluate(linear(inputs, by_scalars) + linear(embedding, *by_embedding)[:, None])
    *middle, last = network.further
    for weight, bias in middle:
        x = evaluate(linear(x, weight, bias))
    value, slope = linear(x, *last), units.gain
    out = units.of_output(value[..., 0]).T
    if units.squared:
        slope = 2.0 * units.gain * value
    return out, slope * torch.cat([x, torch.ones_like(value)], dim=-1)


class _BlockedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, scalars: Tensor, embedding: Tensor, activation: str, rows: int, keep: bool, *flat: Tensor
    ) -> Tensor:
        batch, n = scalars.shape[:2]
        evaluate = IN_PLACE[activation][0]
        table = _first_table(flat[0], flat[1])
        inputs = _inputs(scalars, embedding, len(table))
        x = borrow(rows, table.shape[1], scalars)
        kept = [borrow(batch * n if keep else rows, len(b), scalars) for b in flat[3:-2:2]]
        out = scalars.new_empty(n * batch)
        for block in _blocks(n * batch, rows):
            hidden = evaluate(_product(inputs[block], table, x))
            for k, buffer in enumerate(kept):
                place = buffer[block] if keep else buffer[: len(hidden)]
                hidden = evaluate(torch.addmm(flat[2 * k + 3], hidden, flat[2 * k + 2].T, out=place))
            torch.addmv(flat[-1], hidden, flat[-2][0], out=out[block])
        give_back(x, *([] if keep else [inputs, *kept]))
        ctx.save_for_backward(scalars, embedding, *flat)
        ctx.activation, ctx.rows = activation, rows
        ctx.kept = [inputs, *kept] if keep else None
        return out.view(n, batch).T

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scalars, embedding, *flat = ctx.saved_tensors
        if ctx.kept is None:
            raise RuntimeError("blocked_mlp: backward was called twice, expected once; evaluate the network again")
        (inputs, *kept), ctx.kept = ctx.kept, None
        evaluate, pull_back = IN_PLACE[ctx.activation]
        batch, n, n_scalars = scalars.shape
        n_inputs, rows = n_scalars + embedding.shape[1], ctx.rows
        table = _first_table(flat[0], flat[1])
        grad_table = torch.zeros_like(table)
        grads = [torch.zeros_like(t) for t in flat]
        for_scalars, for_embedding = ctx.needs_input_grad[:2]
        first = 0 if for_scalars else n_scalars if for_embedding else n_inputs
        wanted = table[first:n_inputs]  # the inputs whose gradients are needed
        pulled = scalars.new_empty(n * batch, len(wanted))
        x, *spare = (borrow(rows, width, scalars) for width in [table.shape[1]] * 2 + [b.shape[1] for b in kept])
        grad = grad.T.reshape(-1)
        grads[-1] += grad.sum()
        for block in _blocks(n * batch, rows):
            g, read = grad[block], inputs[block]
            hidden = [evaluate(_product(read, table, x)), *(buffer[block] for buffer in kept)]
            delta = pull_back(torch.outer(g, flat[-2][0], out=spare[-1][: len(g)]), hidden[-1])
            grads[-2] += _sum(hidden[-1].mul_(g[:, None]))  # these activations are not needed any more
            for k in range(len(kept), 0, -1):
                grads[2 * k] += _summed_product(delta, hidden[k - 1])
                grads[2 * k + 1] += _sum(delta)
                delta = pull_back(_product(delta, flat[2 * k], spare[k - 1]), hidden[k - 1])
            grad_table += _summed_product(read, delta)
            if len(wanted):
                torch.mm(delta, wanted.T, out=pulled[block])
        give_back(inputs, x, *spare, *kept)
        pulled = pulled.view(n, batch, len(wanted))
        by_scalars = pulled[..., :n_scalars].transpose(0, 1) if for_scalars else None
        by_embedding = pulled[..., n_scalars - first :].sum(1) if for_embedding else None
        grads[0], grads[1] = grad_table[:n_inputs].T, grad_table[n_inputs]
        return by_scalars, by_embedding, None, None, None, *grads


def _blocks(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _rows_of_a_block(n: int, about: int) -> int:
    """Rows for blocks of equal size: a small one at the end would cost as many calls as the others."""
    n_blocks = max(1, round(n / about))
    return max(16, -(-n // (16 * n_blocks)) * 16)


def _first_table(weight: Tensor, bias: Tensor) -> Tensor:
    """(K, H) first layer as a product with inputs, a one and zeros: K is a multiple of four."""
    hidden, n_inputs = weight.shape
    table = weight.new_zeros(-(-(n_inputs + 1) // 4) * 4, hidden)
    table[:n_inputs], table[n_inputs] = weight.T, bias
    return table


def _inputs(scalars: Tensor, embedding: Tensor, width: int) -> Tensor:
    """(N B, K) scalars, embedding, a one and zeros, neuron by neuron, in a borrowed buffer."""
    batch, n, n_scalars = scalars.shape
    n_inputs = n_scalars + embedding.shape[1]
    inputs = borrow(n * batch, width, scalars)
    by_neuron = inputs.view(n, batch, width)
    by_neuron[..., :n_scalars] = scalars.transpose(0, 1)
    by_neuron[..., n_scalars:n_inputs] = embedding[:, None]
    inputs[:, n_inputs:] = 0.0
    inputs[:, n_inputs] = 1.0
    return inputs


def _product(a: Tensor, b: Tensor, buffer: Tensor) -> Tensor:
    return torch.mm(a, b, out=buffer[: len(a)])


def _by_thread(x: Tensor) -> Tensor:
    """(T, R / T, K) the rows that each thread has: a sum over all of them would take rows to another core's cache."""
    n = torch.get_num_threads()
    return x.view(n if len(x) % n == 0 else 1, -1, x.shape[1])


def _summed_product(a: Tensor, b: Tensor) -> Tensor:
    """(J, K) sum over rows of products, a (R, J) and b (R, K)."""
    return torch.bmm(_by_thread(a).mT, _by_thread(b)).sum(0)


def _sum(x: Tensor) -> Tensor:
    """(K,) sum over rows."""
    return _by_thread(x).sum(1).sum(0)
