"""Kernels against plain float64 formulations, values and gradients."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, ShapeError
from lobula.kernels import ACTIVATIONS, SparsePattern, get_activation, message_sum


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n_weights", "n_messages"), [(1, 3), (2, 2), (2, 4)])
def test_sizes_of_another_wiring(dtype: torch.dtype, n_weights: int, n_messages: int) -> None:
    pattern = SparsePattern(Wiring.from_edges(np.array([[0, 1], [1, 2]]), 3))
    with pytest.raises(ShapeError, match=r"expected 2 and 3, as in the wiring"):
        message_sum(torch.ones(n_weights, dtype=dtype), torch.ones(n_messages, 4, dtype=dtype), pattern)


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
