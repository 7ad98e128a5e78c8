r"""Weights of low rank, W = W_L W_R with W_L (N, r) and W_R (r, N): as many numbers as 2 r N, whatever the edges.

A network whose activity has few dimensions determines few numbers: a free weight per edge is then a guess, a
factorised one need not be. Messages are summed over the edges of the wiring; where those are all pairs of neurons, the
sum goes through the r latent variables z = W_R g,

.. math:: m = W_L (W_R\, g) - \mathrm{diag}(W_L W_R)\, g,

the last term only where no neuron has a synapse on itself: O(N r) per frame instead of O(E).
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lobula.data.streams import Streams
from lobula.kernels import SparsePattern

SPARE_DIMENSIONS = 8
POWER_STEPS = 2


class LowRankWeights(nn.Module):
    """How factors make the weights of edges; a parametrization of torch.

    Args:
        pattern: the known graph; may be that of the model.
        rank: r.
    """

    def __init__(self, pattern: SparsePattern, rank: int) -> None:
        super().__init__()
        self.rank, self.pattern = rank, pattern
        n, n_loops = pattern.n_neurons, int((pattern.pre == pattern.post).sum())
        self.has_loops = n_loops > 0
        self.is_complete = len(pattern.pre) == n * (n - 1) + n_loops and n_loops in (0, n)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(E,) weights from W_L (N, r) and W_R (r, N)."""
        pre, post = self.pattern.pre, self.pattern.post
        return (left @ right)[post, pre] if self.is_complete else (left[post] * right.T[pre]).sum(1)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Balanced factors near to given weights (E,): the leading directions of the matrix, 0 where there is no edge.

        Reference: Halko, Martinsson & Tropp (2011), randomised decompositions.
        """
        n, generator = self.pattern.n_neurons, torch.Generator().manual_seed(0)
        width = min(n, self.rank + SPARE_DIMENSIONS)
        basis = torch.randn(n, width, generator=generator).to(weight)
        forward, backward = self.pattern.forward_matrix(weight), self.pattern.backward_matrix(weight)
        for _ in range(POWER_STEPS):
            basis = torch.linalg.qr(backward @ (forward @ basis))[0]
        image = torch.linalg.qr(forward @ basis)[0]
        u, s, v = torch.linalg.svd((backward @ image).T, full_matrices=False)
        root = s[: self.rank].sqrt()
        left, right = image @ u[:, : self.rank] * root, root[:, None] * v[: self.rank]
        missing = self.rank - len(root)
        return nn.functional.pad(left, (0, missing)), nn.functional.pad(right, (0, 0, 0, missing))

    def summed(self, left: Tensor, right: Tensor, messages: Tensor) -> Tensor:
        """(B, N) weighted messages summed over all pairs of neurons, messages (B, N)."""
        total = (messages @ right.T) @ left.T
        return total if self.has_loops else total - (left * right.T).sum(1) * messages


def factorise(model: nn.Module, pattern: SparsePattern, rank: int, size: float, streams: Streams) -> None:
    """Makes the weights of a model a product of factors.

    Args:
        model: its parameter `weight` is replaced.
        pattern: the known graph.
        rank: r.
        size: standard deviation of the initial weights; at 0 the left factor starts at 0, so that it can leave it.
        streams: random streams; "init" is used.
    """
    generator, n = streams.torch_generator("init", "weight"), pattern.n_neurons
    spread = (size if size > 0 else 1.0) ** 0.5 * rank**-0.25
    factors = [spread * torch.randn(*shape, generator=generator) for shape in ((n, rank), (rank, n))]
    parametrize.register_parametrization(model, "weight", LowRankWeights(pattern, rank))
    with torch.no_grad():
        for parameter, factor in zip(weight_parameters(model), factors, strict=True):
            parameter.copy_(factor)
        if size == 0:
            weight_parameters(model)[0].zero_()


def low_rank(model: nn.Module) -> tuple[LowRankWeights, Tensor, Tensor] | None:
    """How the factors of a model make its weights, and the factors; None where its weights are free."""
    if not parametrize.is_parametrized(model, "weight"):
        return None
    (form, *_), (left, *right) = model.parametrizations["weight"], weight_parameters(model)
    return (form, left, right[0]) if isinstance(form, LowRankWeights) else None


def weight_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What an optimiser moves when it trains the weights."""
    if not parametrize.is_parametrized(model, "weight"):
        return [model.weight]
    return [*model.parametrizations["weight"].parameters()]


@torch.no_grad()
def set_weight(model: nn.Module, weight: Tensor) -> None:
    """Sets the weights (E,), as far as their form allows."""
    if parametrize.is_parametrized(model, "weight"):
        model.weight = weight
    else:
        model.weight.copy_(weight)
