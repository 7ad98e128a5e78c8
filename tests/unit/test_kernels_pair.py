"""The perceptron over edges in C against the plain one in float64, values and gradients."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lobula.kernels import pair_mlp
from lobula.kernels.native import build, mlp
from lobula.kernels.native import pair_mlp as native
from lobula.kernels.perceptron import FUNCTIONS

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C compiler here")


def random_tensors(n: int, m: int, batch: int, widths: list[int], seed: int) -> list[Tensor]:
    """Shares of sources and targets, then weight and bias of every further layer; float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, batch, widths[0]), (m, batch, widths[0])]
    shapes += [shape for a, b in itertools.pairwise([*widths, 1]) for shape in ((b, a), (b,))]
    return [torch.randn(s, generator=generator, dtype=torch.float64) / max(1, s[-1]) ** 0.5 for s in shapes]


def plain(tensors: list[Tensor], pre: Tensor, post: Tensor, activation: str) -> Tensor:
    """The network in the words of its equation."""
    x = tensors[0][pre] + tensors[1][post]
    for weight, bias in zip(tensors[2::2], tensors[3::2], strict=True):
        x = FUNCTIONS[activation](x) @ weight.T + bias
    return x[..., 0]


def in_c(tensors: list[Tensor], pre: Tensor, post: Tensor, activation: str) -> Tensor:
    layers = list(zip(tensors[2::2], tensors[3::2], strict=True))
    assert native.fits(*tensors[:2], pre, post, tensors[2:], activation) is (len(pre) > 0)
    return pair_mlp(tensors[0], tensors[1], pre, post, layers, activation)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    n_edges=st.integers(0, 60),
    batch=st.sampled_from([1, 2, 3, 4, 16]),
    widths=st.lists(st.sampled_from([1, 3, 16, 17, 40, 80]), min_size=1, max_size=4),
    activation=st.sampled_from(sorted(FUNCTIONS)),
    strided=st.booleans(),
    n_threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_it_equals_the_plain_one(
    n: int, m: int, n_edges: int, batch: int, widths: list[int], activation: str, strided: bool, n_threads: int,
    seed: int,
) -> None:  # fmt: skip
    """Edges in any order, several between the same ends, none at all."""
    generator, before = torch.Generator().manual_seed(seed), torch.get_num_threads()
    pre, post = (torch.randint(0, k, (n_edges,), generator=generator) for k in (n, m))
    tensors = random_tensors(n, m, batch, widths, seed)
    upstream = torch.randn(n_edges, batch, generator=generator, dtype=torch.float64)
    for tensor in tensors:
        tensor.requires_grad_(True)
    out = plain(tensors, pre, post, activation)
    wanted = out, *torch.autograd.grad(out, tensors, upstream)
    single = [x.detach().float() for x in tensors]
    if strided:
        single[0] = single[0].transpose(0, 1).contiguous().transpose(0, 1)
    for tensor in single:
        tensor.requires_grad_(True)
    torch.set_num_threads(n_threads)
    try:
        own = in_c(single, pre, post, activation)
        found = own, *torch.autograd.grad(own, single, upstream.float())
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found, wanted, strict=True):
        largest = float(b.detach().abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a.double(), b, rtol=0, atol=3e-5 * max(1.0, largest))


def test_blocks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks of rows; fewer threads where sums would take too much memory; equal to the bit from call to call."""
    pre, post = torch.arange(900) % 7, torch.arange(900) // 100
    tensors = [x.float().requires_grad_(True) for x in random_tensors(7, 9, 4, [24, 24], 0)]
    used, library, before = [], build.loaded(), torch.get_num_threads()

    class Noted:
        lobula_mlp_forward = library.lobula_mlp_forward

        @staticmethod
        def lobula_mlp_backward(described: object) -> None:
            used.append(described._obj.threads)
            library.lobula_mlp_backward(described)

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(in_c(tensors, pre, post, "relu").square().sum(), tensors)

    monkeypatch.setattr(native, "loaded", lambda: Noted)
    torch.set_num_threads(3)
    try:
        first, second = gradients(), gradients()
        monkeypatch.setattr(native, "MOST_BYTES", 2 * 4 * (7 + 9) * 4 * 24)
        fewer = gradients()
    finally:
        torch.set_num_threads(before)
    assert used == [3, 3, 2]
    for a, b, c in zip(first, second, fewer, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, c, rtol=1e-5, atol=1e-4)


def test_what_it_cannot_do_is_left_to_torch() -> None:
    tensors, pre = random_tensors(3, 4, 2, [5, 5], 0), torch.tensor([0, 1])
    assert not native.fits(*tensors[:2], pre, pre, tensors[2:], "relu"), "double precision"
    (*shares, first, second), many = [x.float() for x in tensors[:4]], mlp.MOST_LAYERS + 1
    assert native.fits(*shares, pre, pre, [first, second], "relu")
    assert not native.fits(*shares, pre, pre, [first, second] * many, "relu"), "more layers than C has room for"
    assert not native.fits(*shares, pre, pre, [], "relu"), "no further layer"
    assert not native.fits(*shares, pre[:0], pre[:0], [first, second], "relu"), "no edges"
    assert not native.fits(*shares, pre.int(), pre, [first, second], "relu"), "places of 32 bits"
    assert not native.fits(shares[0], shares[1][:, :1], pre, pre, [first, second], "relu"), "other frames"


def test_not_a_number_goes_through() -> None:
    tensors = [x.float() for x in random_tensors(3, 4, 2, [5, 5], 0)]
    tensors[0][1, 1] = float("nan")
    out = in_c(tensors, torch.tensor([0, 1]), torch.tensor([2, 2]), "relu")
    assert out.isnan().tolist() == [[False, False], [False, True]]
