r"""A multilayer perceptron over neurons whose hidden activations stay in the processor's cache.

.. math:: x_0 = \sigma(U s_{bn} + e_n), \quad x_l = \sigma(A_l x_{l-1} + b_l), \quad y_{bn} = A_L x_{L-1} + b_L

with scalars s that vary from frame to frame and a contribution e of the neuron's embedding that does not. Neurons are
taken a block at a time, and the backward pass computes a block's activations again instead of reading them from memory:
at full size (13,741 neurons, batch 4, hidden 64) they are 14 MB per layer, many times the second-level cache. Narrow
products (one to three columns) go through matrix-vector products, ten times faster here than the general ones.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 4096
"""Rows (neurons x frames) of a block: a layer of 64 units takes 1 MB."""

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
    "softplus": (torch.nn.functional.softplus, _softplus_pull_back),
}
"""Name: the function and its pull-back (gradient, value of the function); both may work in place."""

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "softplus": torch.nn.functional.softplus,
}


def plain_mlp(
    scalars: Tensor, first: Tensor, weight: Tensor, layers: Sequence[tuple[Tensor, Tensor]], activation: str
) -> Tensor:
    """The same network without blocks, for any device and depth: (..., N) from scalars (..., N, S)."""
    x = torch.nn.functional.linear(scalars, weight) + first
    for a, b in layers:
        x = torch.nn.functional.linear(FUNCTIONS[activation](x), a, b)
    return x[..., 0]


def blocked_mlp(
    scalars: Tensor,
    first: Tensor,
    weight: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    activation: str,
    rows: int = ROWS,
) -> Tensor:
    """Evaluates the network; differentiable once in all tensors.

    Args:
        scalars: (B, N, S) inputs that vary.
        first: (N, H) contribution of the embeddings to the first layer, or (1, H) for all neurons.
        weight: (H, S) first layer.
        layers: further linear layers, weights (out, in) and biases (out,); the last has one output.
        activation: name in `FUNCTIONS`.
        rows: neurons x frames of a block.

    Returns:
        (B, N).
    """
    flat = [tensor for layer in layers for tensor in layer]
    return _BlockedMLP.apply(scalars, first.expand(scalars.shape[1], -1), weight, activation, rows, *flat)


class _BlockedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, scalars: Tensor, first: Tensor, weight: Tensor, activation: str, rows: int, *flat: Tensor
    ) -> Tensor:
        ctx.save_for_backward(scalars, first, weight, *flat)
        ctx.activation, ctx.rows = activation, rows
        batch, n = scalars.shape[:2]
        out = scalars.new_empty(batch, n)
        buffers = _buffers(scalars, weight, flat, rows)
        for block in _blocks(batch, n, rows):
            x = _hidden(scalars[:, block], first[block], weight, flat, activation, buffers)[-1]
            out[:, block] = torch.addmv(flat[-1], x, flat[-2][0]).view(batch, -1)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scalars, first, weight, *flat = ctx.saved_tensors
        pull_back = IN_PLACE[ctx.activation][1]
        batch, n, n_scalars = scalars.shape
        grads = [torch.zeros_like(t) for t in (weight.T.contiguous(), *flat)]
        grad_scalars = torch.empty_like(scalars) if ctx.needs_input_grad[0] else None
        grad_first = torch.empty(first.shape, dtype=first.dtype)
        buffers, spare = (_buffers(scalars, weight, flat, ctx.rows) for _ in range(2))
        for block in _blocks(batch, n, ctx.rows):
            part, g = scalars[:, block], grad[:, block].reshape(-1)
            hidden = _hidden(part, first[block], weight, flat, ctx.activation, buffers)
            grads[-1] += g.sum()
            grads[-2][0].addmv_(hidden[-1].T, g)
            delta = torch.outer(g, flat[-2][0], out=spare[-1][: len(g)])
            for k in range(len(hidden) - 1, 0, -1):
                delta = pull_back(delta, hidden[k])
                grads[2 * k - 1].addmm_(delta.T, hidden[k - 1])
                grads[2 * k] += delta.sum(0)
                delta = torch.mm(delta, flat[2 * k - 2], out=spare[k - 1][: len(g)])
            delta = pull_back(delta, hidden[0])
            torch.sum(delta.view(batch, -1, delta.shape[-1]), 0, out=grad_first[block])
            for s in range(n_scalars):
                grads[0][s].addmv_(delta.T, part[..., s].reshape(-1))
                if grad_scalars is not None:
                    grad_scalars[:, block, s] = torch.mv(delta, weight[:, s]).view(batch, -1)
        return grad_scalars, grad_first, grads[0].T, None, None, *grads[1:]


def _blocks(batch: int, n: int, rows: int) -> Iterator[slice]:
    step = max(1, rows // batch)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _buffers(scalars: Tensor, weight: Tensor, flat: Sequence[Tensor], rows: int) -> list[Tensor]:
    """One (rows, H) buffer per hidden layer, used by every block in turn."""
    batch, n = scalars.shape[:2]
    most = batch * min(n, max(1, rows // batch))
    return [scalars.new_empty(most, width) for width in (len(weight), *(len(b) for b in flat[1:-2:2]))]


def _hidden(
    scalars: Tensor, first: Tensor, weight: Tensor, flat: Sequence[Tensor], activation: str, buffers: list[Tensor]
) -> list[Tensor]:
    """Activations (B n, H) of every hidden layer for a block of n neurons, in the buffers."""
    apply = IN_PLACE[activation][0]
    batch, n, n_scalars = scalars.shape
    x = buffers[0][: batch * n]
    frames = x.view(batch, n, -1)
    if n_scalars == 1:
        torch.addcmul(first, scalars, weight[:, 0], out=frames)
    else:
        torch.mm(scalars.reshape(-1, n_scalars), weight.T, out=x)
        frames.add_(first)
    hidden = [apply(x)]
    for a, b, buffer in zip(flat[:-2:2], flat[1:-2:2], buffers[1:], strict=True):
        hidden.append(apply(torch.addmm(b, hidden[-1], a.T, out=buffer[: batch * n])))
    return hidden
