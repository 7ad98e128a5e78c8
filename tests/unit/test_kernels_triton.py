"""The GPU kernels, on a GPU or else by Triton's interpreter on the CPU, against dense products in double precision.

Skipped where Triton is not installed; it takes 1 GB: ``pip install --no-deps triton``, then run this file.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="triton is not installed")
kernels = pytest.importorskip("lobula.kernels.triton_message_sum")

from lobula.data.wiring import Wiring  # noqa: E402
from lobula.kernels import SparsePattern  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # as tests/conftest.py sets the interpreter


def check_products(n: int, share: float, batch: int, seed: int) -> None:
    """Sums and both gradients against dense products."""
    rng = np.random.default_rng(seed)
    post, pre = np.nonzero(rng.random((n, n)) < share)  # self-loops and empty rows among them
    pattern = SparsePattern(Wiring.from_edges(np.stack([pre, post]), n)).to(DEVICE)
    weight = torch.tensor(rng.normal(size=len(pre)), device=DEVICE)
    messages, grad = torch.tensor(rng.normal(size=(2, n, batch)), device=DEVICE)
    dense = torch.zeros(n, n, dtype=torch.float64, device=DEVICE)
    dense[pattern.post, pattern.pre] = weight
    torch.testing.assert_close(kernels.row_sum(pattern.indptr, pattern.columns, weight, messages), dense @ messages)
    back = kernels.row_sum(pattern.indptr_out, pattern.post_by_pre, weight, grad, pattern.permutation)
    torch.testing.assert_close(back, dense.T @ grad)
    product = kernels.edge_product(pattern.pre, pattern.post, grad, messages)
    torch.testing.assert_close(product, (grad @ messages.T)[pattern.post, pattern.pre])


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 9), share=st.floats(0.0, 1.0), batch=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_rows_and_edges_equal_dense_products(n: int, share: float, batch: int, seed: int) -> None:
    check_products(n, share, batch, seed)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 2, 4, 33])
def test_compiled_for_a_gpu_they_do_so_too(batch: int) -> None:
    check_products(300, 0.1, batch, batch)


def test_a_row_longer_than_a_block_of_edges() -> None:
    n = 2 * kernels.EDGES + 7
    edges = np.stack([np.arange(n), np.zeros(n, dtype=int)])
    pattern = SparsePattern(Wiring.from_edges(edges, n)).to(DEVICE)
    messages = torch.arange(float(n), device=DEVICE)[:, None]
    total = kernels.row_sum(pattern.indptr, pattern.columns, torch.ones(n, device=DEVICE), messages)
    assert total[0, 0] == n * (n - 1) / 2
    assert total[1:].abs().sum() == 0
