r"""A multilayer perceptron over neurons whose hidden activations stay in the processor's cache.

.. math:: x_0 = (s_{bn}, e_n), \quad x_l = \sigma(A_l x_{l-1} + b_l), \quad y_{bn} = A_L x_{L-1} + b_L

with scalars s that vary from frame to frame and the neuron's embedding e, which does not. Neurons are taken a block at
a time, so that a block's activations stay in the cache from one operation to the next: at full size (13,741 neurons,
batch 4, hidden 64) they are 14 MB per layer, many times the second-level cache. The backward pass computes the first
layer again, which is cheap, and reads the others, which are not, from memory. Inputs, with a one for the bias, are
padded to a multiple of four columns, for which products are twice as fast as for three; the last layer, with its
single output, goes through matrix-vector products, ten times faster here than the general ones.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 8192
"""Rows (neurons x frames) of a block: a layer of 64 units takes 2 MB."""
MOST_SPARE = 4

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

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "softplus": torch.nn.functional.softplus,
}


def plain_mlp(scalars: Tensor, embedding: Tensor, layers: Sequence[tuple[Tensor, Tensor]], activation: str) -> Tensor:
    """The same network without blocks, for any device and depth; arguments as in `blocked_mlp`, scalars (..., N, S)."""
    (weight, bias), *further = layers
    by_scalars, by_embedding = weight.split([scalars.shape[-1], embedding.shape[-1]], dim=1)
    linear = torch.nn.functional.linear
    x = linear(scalars, by_scalars) + linear(embedding, by_embedding, bias)  # the embedding's share once per neuron
    for a, b in further:
        x = linear(FUNCTIONS[activation](x), a, b)
    return x[..., 0]


def blocked_mlp(
    scalars: Tensor,
    embedding: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    activation: str,
    rows: int = ROWS,
) -> Tensor:
    """Evaluates the network; differentiable once in all tensors.

    Args:
        scalars: (B, N, S) inputs that vary.
        embedding: (N, D) inputs that do not, or (1, D) for all neurons.
        layers: two or more linear layers, weights (out, in) and biases (out,); the first takes the S scalars and then
            the D components of the embedding, the last has one output.
        activation: name in `FUNCTIONS`.
        rows: neurons x frames of a block.

    Returns:
        (B, N).
    """
    flat = [tensor for layer in layers for tensor in layer]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (scalars, embedding, *flat))
    return _BlockedMLP.apply(scalars, embedding.expand(scalars.shape[1], -1), activation, rows, keep, *flat)


class _BlockedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, scalars: Tensor, embedding: Tensor, activation: str, rows: int, keep: bool, *flat: Tensor
    ) -> Tensor:
        ctx.save_for_backward(scalars, embedding, *flat)
        ctx.activation, ctx.rows = activation, rows
        batch, n = scalars.shape[:2]
        out = scalars.new_empty(batch, n)
        step = max(1, rows // batch)
        table = _first_table(flat[0], flat[1])
        inputs, x = (_borrow(batch * step, width, scalars) for width in table.shape)
        kept = [_borrow(batch * (n if keep else step), len(b), scalars) for b in flat[3:-2:2]]
        for block in _blocks(n, step):
            _, hidden = _first_layer(scalars[:, block], embedding[block], table, activation, inputs, x)
            for k, buffer in enumerate(kept):
                place = _rows(buffer, batch, block) if keep else buffer[: len(hidden)]
                hidden = torch.addmm(flat[2 * k + 3], hidden, flat[2 * k + 2].T, out=place)
                hidden = IN_PLACE[activation][0](hidden)
            out[:, block] = torch.addmv(flat[-1], hidden, flat[-2][0]).view(batch, -1)
        _give_back(inputs, x, *([] if keep else kept))
        ctx.kept = kept if keep else None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scalars, embedding, *flat = ctx.saved_tensors
        if ctx.kept is None:
            raise RuntimeError("blocked_mlp: backward was called twice, expected once; evaluate the network again")
        kept, ctx.kept = ctx.kept, None
        pull_back = IN_PLACE[ctx.activation][1]
        batch, n, n_scalars = scalars.shape
        n_inputs = n_scalars + embedding.shape[1]
        step = max(1, ctx.rows // batch)
        table = _first_table(flat[0], flat[1])
        grad_table = torch.zeros_like(table)
        grads = [torch.zeros_like(t) for t in flat]
        grad_scalars = torch.empty_like(scalars) if ctx.needs_input_grad[0] else None
        grad_embedding = torch.empty(embedding.shape, dtype=table.dtype) if ctx.needs_input_grad[1] else None
        wanted = table[0 if grad_scalars is not None else n_scalars : n_inputs]  # the inputs whose gradients are needed
        spare = [_borrow(batch * step, width, scalars) for width in (table.shape[1], *(b.shape[1] for b in kept))]
        inputs, x = (_borrow(batch * step, width, scalars) for width in table.shape)
        for block in _blocks(n, step):
            g = grad[:, block].reshape(-1)
            first = _first_layer(scalars[:, block], embedding[block], table, ctx.activation, inputs, x)
            hidden = [*first, *(_rows(buffer, batch, block) for buffer in kept)]
            grads[-1] += g.sum()
            grads[-2][0].addmv_(hidden[-1].T, g)
            delta = pull_back(torch.outer(g, flat[-2][0], out=spare[-1][: len(g)]), hidden[-1])
            for k in range(len(hidden) - 1, 1, -1):
                grads[2 * k - 2].addmm_(delta.T, hidden[k - 1])
                grads[2 * k - 1] += delta.sum(0)
                delta = torch.mm(delta, flat[2 * k - 2], out=spare[k - 2][: len(g)])
                delta = pull_back(delta, hidden[k - 1])
            grad_table.addmm_(hidden[0].T, delta)
            if grad_scalars is None and grad_embedding is None:
                continue
            pulled = torch.mm(wanted, delta.T).view(len(wanted), batch, -1)
            if grad_scalars is not None:
                grad_scalars[:, block] = pulled[:n_scalars].permute(1, 2, 0)
            if grad_embedding is not None:
                grad_embedding[block] = pulled[len(wanted) - embedding.shape[1] :].sum(1).T
        _give_back(inputs, x, *spare, *kept)
        grads[0], grads[1] = grad_table[:n_inputs].T, grad_table[n_inputs]
        return grad_scalars, grad_embedding, None, None, None, *grads


def _blocks(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _rows(buffer: Tensor, batch: int, block: slice) -> Tensor:
    return buffer[batch * block.start : batch * block.stop]


def _first_table(weight: Tensor, bias: Tensor) -> Tensor:
    """(K, H) first layer as a product with inputs, a one and zeros: K is a multiple of four."""
    hidden, n_inputs = weight.shape
    table = weight.new_zeros(-(-(n_inputs + 1) // 4) * 4, hidden)
    table[:n_inputs], table[n_inputs] = weight.T, bias
    return table


def _first_layer(
    scalars: Tensor, embedding: Tensor, table: Tensor, activation: str, inputs: Tensor, buffer: Tensor
) -> tuple[Tensor, Tensor]:
    """Inputs (B n, K) and activations (B n, H) of the first hidden layer for a block of n neurons, in the buffers."""
    batch, n, n_scalars = scalars.shape
    n_inputs = n_scalars + embedding.shape[1]
    inputs = inputs[: batch * n]
    by_frame = inputs.view(batch, n, -1)
    by_frame[..., :n_scalars] = scalars
    by_frame[..., n_scalars:n_inputs] = embedding
    inputs[:, n_inputs:] = 0.0
    inputs[:, n_inputs] = 1.0
    x = torch.mm(inputs, table, out=buffer[: batch * n])
    return inputs, IN_PLACE[activation][0](x)


_spare: dict[tuple[int, int, torch.dtype], list[Tensor]] = {}
"""Buffers that nobody uses. A fresh one costs more than what is written into it: it arrives page by page."""


def _borrow(n_rows: int, width: int, like: Tensor) -> Tensor:
    try:
        return _spare[n_rows, width, like.dtype].pop()
    except (KeyError, IndexError):
        return like.new_empty(n_rows, width)


def _give_back(*buffers: Tensor) -> None:
    for buffer in buffers:
        free = _spare.setdefault((*buffer.shape, buffer.dtype), [])
        if len(free) < MOST_SPARE:
            free.append(buffer)
