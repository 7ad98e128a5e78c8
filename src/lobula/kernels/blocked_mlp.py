r"""A multilayer perceptron over neurons whose hidden activations stay in the processor's cache.

.. math:: x_0 = \sigma(U s_{bn} + e_n), \quad x_l = \sigma(A_l x_{l-1} + b_l), \quad y_{bn} = A_L x_{L-1} + b_L

with scalars s that vary from frame to frame and a contribution e of the neuron's embedding that does not. Neurons are
taken a block at a time, so that a block's activations stay in the cache from one operation to the next: at full size
(13,741 neurons, batch 4, hidden 64) they are 14 MB per layer, many times the second-level cache. The backward pass
computes the first layer again, which is cheap, and reads the others, which are not, from memory. Narrow products (one
to three columns) go through matrix-vector products, ten times faster here than the general ones.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 4096
"""Rows (neurons x frames) of a block: a layer of 64 units takes 1 MB."""
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
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (scalars, first, weight, *flat))
    return _BlockedMLP.apply(scalars, first.expand(scalars.shape[1], -1), weight, activation, rows, keep, *flat)


class _BlockedMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, scalars: Tensor, first: Tensor, weight: Tensor, activation: str, rows: int, keep: bool, *flat: Tensor
    ) -> Tensor:
        ctx.save_for_backward(scalars, first, weight, *flat)
        ctx.activation, ctx.rows = activation, rows
        batch, n = scalars.shape[:2]
        out = scalars.new_empty(batch, n)
        step = max(1, rows // batch)
        x = _borrow(batch * step, len(weight), scalars)
        kept = [_borrow(batch * (n if keep else step), len(b), scalars) for b in flat[1:-2:2]]
        for block in _blocks(n, step):
            hidden = _first_layer(scalars[:, block], first[block], weight, activation, x)
            for k, buffer in enumerate(kept):
                place = _rows(buffer, batch, block) if keep else buffer[: len(hidden)]
                hidden = torch.addmm(flat[2 * k + 1], hidden, flat[2 * k].T, out=place)
                hidden = IN_PLACE[activation][0](hidden)
            out[:, block] = torch.addmv(flat[-1], hidden, flat[-2][0]).view(batch, -1)
        _give_back(x, *([] if keep else kept))
        ctx.kept = kept if keep else None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        scalars, first, weight, *flat = ctx.saved_tensors
        if ctx.kept is None:
            raise RuntimeError("blocked_mlp: backward was called twice, expected once; evaluate the network again")
        kept, ctx.kept = ctx.kept, None
        pull_back = IN_PLACE[ctx.activation][1]
        batch, n, n_scalars = scalars.shape
        step = max(1, ctx.rows // batch)
        padded = scalars.new_zeros(
            batch * step, -(-n_scalars // 4) * 4
        )  # a product with three columns takes twice as long
        grads = [scalars.new_zeros(padded.shape[1], len(weight)), *(torch.zeros_like(t) for t in flat)]
        grad_scalars = torch.empty_like(scalars) if ctx.needs_input_grad[0] else None
        grad_first = torch.empty(first.shape, dtype=first.dtype)
        spare = [_borrow(batch * step, width, scalars) for width in (len(weight), *(b.shape[1] for b in kept))]
        x = _borrow(batch * step, len(weight), scalars)
        for block in _blocks(n, step):
            part, g = scalars[:, block], grad[:, block].reshape(-1)
            hidden = [_first_layer(part, first[block], weight, ctx.activation, x)]
            hidden += [_rows(buffer, batch, block) for buffer in kept]
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
            inputs = padded[: len(g)]
            inputs[:, :n_scalars] = part.reshape(-1, n_scalars)
            grads[0].addmm_(inputs.T, delta)
            if grad_scalars is not None:
                for s in range(n_scalars):
                    grad_scalars[:, block, s] = torch.mv(delta, weight[:, s]).view(batch, -1)
        _give_back(x, *spare, *kept)
        return grad_scalars, grad_first, grads[0][:n_scalars].T, None, None, None, *grads[1:]


def _blocks(n: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _rows(buffer: Tensor, batch: int, block: slice) -> Tensor:
    return buffer[batch * block.start : batch * block.stop]


def _first_layer(scalars: Tensor, first: Tensor, weight: Tensor, activation: str, buffer: Tensor) -> Tensor:
    """Activations (B n, H) of the first hidden layer for a block of n neurons, in the buffer."""
    batch, n, n_scalars = scalars.shape
    x = buffer[: batch * n]
    frames = x.view(batch, n, -1)
    if n_scalars == 1:
        torch.addcmul(first, scalars, weight[:, 0], out=frames)
    else:
        torch.mm(scalars.reshape(-1, n_scalars), weight.T, out=x)
        frames.add_(first)
    return IN_PLACE[activation][0](x)


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
