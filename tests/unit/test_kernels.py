"""Kernels against plain float64 formulations, values and gradients."""

import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, ShapeError
from lobula.kernels import ACTIVATIONS, SparsePattern, blocked_mlp, get_activation, message_sum, plain_mlp
from lobula.kernels.blocked_mlp import FUNCTIONS


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 12),
    share=st.floats(0.0, 1.0),
    batch=st.integers(1, 64),
    strided=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_values_and_gradients_equal_the_sum_over_edges(
    n: int, share: float, batch: int, strided: bool, seed: int
) -> None:
    """Weights per edge, and the same weights as a dense matrix."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < share  # asymmetric, with self-loops and empty rows
    mask[0, 1] = True
    post, pre = np.nonzero(mask)
    pattern = SparsePattern(Wiring.from_edges(np.stack([pre, post]), n))
    upstream = torch.tensor(rng.normal(size=(n, batch)))
    values = torch.tensor(rng.normal(size=mask.sum()))
    h = torch.tensor(rng.normal(size=(batch, n))).T if strided else torch.tensor(rng.normal(size=(n, batch)))

    def per_edge(weight: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(messages).index_add(0, pattern.post, weight[:, None] * messages[pattern.pre])

    def dense(weight: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
        matrix = torch.zeros(n, n, dtype=torch.float64).index_put((pattern.post, pattern.pre), weight)
        return message_sum(matrix, messages)

    def outcome(evaluate) -> tuple[torch.Tensor, ...]:
        weight, messages = values.clone().requires_grad_(True), h.detach().requires_grad_(True)
        out = evaluate(weight, messages)
        return out.detach(), *torch.autograd.grad(out, [weight, messages], upstream)

    expected = outcome(per_edge)
    for evaluate in (lambda w, m: message_sum(w, m, pattern), dense):
        for own, reference in zip(outcome(evaluate), expected, strict=True):
            torch.testing.assert_close(own, reference)


def test_weights_per_edge_need_a_wiring() -> None:
    with pytest.raises(ShapeError, match="without a wiring"):
        message_sum(torch.ones(3), torch.ones(3, 2))


def test_neurons_without_inputs_get_zero() -> None:
    pattern = SparsePattern(Wiring.from_edges(np.array([[0], [1]]), 3))
    out = message_sum(torch.tensor([2.0]), torch.ones(3, 4), pattern)
    torch.testing.assert_close(out, torch.tensor([[0.0], [2.0], [0.0]]).expand(3, 4))


def test_activations_by_name() -> None:
    v = np.array([-1.0, 0.0, 0.5])
    np.testing.assert_allclose(get_activation("relu")(v), [0, 0, 0.5])
    assert set(ACTIVATIONS) == {"relu", "softplus", "tanh", "sigmoid", "saturating", "squared"}
    with pytest.raises(ConfigError, match="expected one of"):
        get_activation("relux")


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 64),
    n=st.integers(1, 40),
    n_scalars=st.integers(1, 3),
    n_components=st.integers(1, 4),
    depth=st.integers(1, 4),
    hidden=st.integers(1, 9),
    activation=st.sampled_from(sorted(FUNCTIONS)),
    rows=st.integers(1, 200),
    shared=st.booleans(),
    strided=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_blocked_mlp_equals_the_plain_one(
    batch: int, n: int, n_scalars: int, n_components: int, depth: int, hidden: int, activation: str, rows: int,
    shared: bool, strided: bool, seed: int,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scalars = random(n, batch, n_scalars).transpose(0, 1) if strided else random(batch, n, n_scalars)
    sizes = [n_scalars + n_components, *[hidden] * depth, 1]
    tensors = [scalars, random(1 if shared else n, n_components)]
    for inputs, outputs in itertools.pairwise(sizes):
        tensors += [random(outputs, inputs), random(outputs)]
    for tensor in tensors:
        tensor.requires_grad_(True)
    layers = list(zip(tensors[2::2], tensors[3::2], strict=True))
    upstream = random(batch, n)
    blocked = blocked_mlp(*tensors[:2], layers, activation, rows)
    plain = plain_mlp(*tensors[:2], layers, activation)
    torch.testing.assert_close(blocked, plain)
    for own, reference in zip(
        torch.autograd.grad(blocked, tensors, upstream), torch.autograd.grad(plain, tensors, upstream), strict=True
    ):
        torch.testing.assert_close(own, reference)


def test_blocked_mlp_without_gradient_of_the_inputs() -> None:
    scalars, embedding = torch.ones(2, 5, 1), torch.zeros(5, 2, requires_grad=True)
    layers = [(torch.ones(3, 3), torch.zeros(3)), (torch.ones(1, 3), torch.zeros(1))]
    blocked_mlp(scalars, embedding, layers, "tanh").sum().backward()
    np.testing.assert_allclose(embedding.grad, 2 * 3 * (1 - np.tanh(1.0) ** 2), rtol=1e-5)
    assert scalars.grad is None


def test_blocked_mlp_with_gradients_of_the_layers_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    scalars, embedding, *flat = (
        torch.randn(s, generator=generator, dtype=torch.float64)
        for s in [(3, 5, 2), (5, 2), (6, 4), (6,), (1, 6), (1,)]
    )
    for tensor in flat:
        tensor.requires_grad_(True)
    layers = list(zip(flat[::2], flat[1::2], strict=True))
    own, plain = (f(scalars, embedding, layers, "relu").square().sum() for f in (blocked_mlp, plain_mlp))
    for a, b in zip(torch.autograd.grad(own, flat), torch.autograd.grad(plain, flat), strict=True):
        torch.testing.assert_close(a, b)


def test_blocked_mlp_keeps_calls_apart_that_are_open_at_the_same_time() -> None:
    """Two evaluations before either's backward pass, as penalties make them, and one without gradients between."""
    generator = torch.Generator().manual_seed(0)
    scalars = [torch.randn(2, 7, 1, generator=generator) for _ in range(2)]
    sizes = [(7, 2), (3, 3), (3,), (5, 3), (5,), (1, 5), (1,)]
    tensors = [torch.randn(s, generator=generator, requires_grad=True) for s in sizes]
    layers = list(zip(tensors[1::2], tensors[2::2], strict=True))

    def gradients(evaluate) -> tuple[torch.Tensor, ...]:
        outputs = [evaluate(s, tensors[0], layers, "relu") for s in scalars]
        with torch.no_grad():
            evaluate(scalars[1], tensors[0], layers, "relu")
        return torch.autograd.grad(outputs[0].square().sum() + outputs[1].sum(), tensors)

    for own, reference in zip(gradients(blocked_mlp), gradients(plain_mlp), strict=True):
        torch.testing.assert_close(own, reference)


def test_blocked_mlp_says_so_when_its_activations_are_gone() -> None:
    weight = torch.ones(3, 3, requires_grad=True)
    layers = [(weight, torch.zeros(3)), (torch.ones(4, 3), torch.zeros(4)), (torch.ones(1, 4), torch.zeros(1))]
    out = blocked_mlp(torch.ones(2, 5, 1), torch.zeros(5, 2), layers, "tanh").sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        out.backward()


@pytest.mark.parametrize("kind", ["complete", "loops", "most"])
def test_dense_wirings_give_the_same_sums_and_gradients_as_sparse_ones(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, rng = 17, np.random.default_rng(0)
    keep = {"complete": ~np.eye(n, dtype=bool), "loops": np.ones((n, n), bool), "most": rng.random((n, n)) < 0.6}[kind]
    post, pre = np.nonzero(keep)
    wiring = Wiring.from_edges(np.stack([pre, post]), n)
    found = []
    for share in (0.4, 2.0):
        monkeypatch.setattr(sys.modules["lobula.kernels.message_sum"], "DENSE_SHARE", share)
        pattern = SparsePattern(wiring)
        assert pattern.is_dense is (share < 1)
        generator = torch.Generator().manual_seed(0)
        weight, messages = (
            torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(True)
            for shape in ((wiring.n_edges,), (n, 5))
        )
        total = message_sum(weight, messages, pattern)
        gradients = torch.autograd.grad((total * torch.arange(5)).sin().sum(), [weight, messages])
        found.append([total.detach(), *gradients])
    for dense, sparse in zip(*found, strict=True):
        torch.testing.assert_close(dense, sparse)
