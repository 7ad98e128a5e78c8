"""The message sum against a dense float64 reference, values and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobula.data.wiring import Wiring
from lobula.errors import ConfigError
from lobula.kernels import ACTIVATIONS, SparsePattern, get_activation, message_sum


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 12), share=st.floats(0.0, 1.0), batch=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_values_and_gradients_equal_the_dense_product(n: int, share: float, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < share  # asymmetric, with self-loops and empty rows
    mask[0, 1] = True
    post, pre = np.nonzero(mask)
    pattern = SparsePattern(Wiring.from_edges(np.stack([pre, post]), n))
    weight = torch.tensor(rng.normal(size=mask.sum()), requires_grad=True)
    h = torch.tensor(rng.normal(size=(batch, n)), requires_grad=True)
    upstream = torch.tensor(rng.normal(size=(n, batch)))
    out = message_sum(weight, h.T, pattern)
    dense = torch.zeros(n, n, dtype=torch.float64)
    dense[pattern.post, pattern.pre] = weight.detach()
    dense.requires_grad_(True)
    h2 = h.detach().clone().requires_grad_(True)
    reference = dense @ h2.T
    torch.testing.assert_close(out, reference)
    (out * upstream).sum().backward()
    (reference * upstream).sum().backward()
    torch.testing.assert_close(h.grad, h2.grad)
    torch.testing.assert_close(weight.grad, dense.grad[pattern.post, pattern.pre])


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
