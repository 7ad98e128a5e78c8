"""Kernels in C: sums of messages, clipping and Adam against torch; and how they come to be there, or not."""

import ctypes
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobula.data.wiring import Wiring
from lobula.kernels import Perceptron, SparsePattern, Units, blocked_mlp, message_sum, plain_mlp, table_sums
from lobula.kernels.native import build, mlp, update
from lobula.kernels.native import message_sum as native_sum

needs_compiler = pytest.mark.skipif(build.library() is None, reason="no C compiler here")


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What the process knows of its kernels is asked again, in the test and after it."""
    build.library.cache_clear()
    yield
    build.library.cache_clear()


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 30),
    share=st.floats(0.0, 0.35),
    batch=st.integers(1, 40),
    n_threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_sums_of_messages_equal_those_over_edges(n: int, share: float, batch: int, n_threads: int, seed: int) -> None:
    """Empty rows, self-loops, every width of a piece of the batch; more columns than C takes go to torch."""
    rng, before = np.random.default_rng(seed), torch.get_num_threads()
    mask = rng.random((n, n)) < share
    mask[0, 1] = True
    post, pre = np.nonzero(mask)
    pattern = SparsePattern(Wiring.from_edges(np.stack([pre, post]), n))
    weight = torch.tensor(rng.normal(size=mask.sum()), requires_grad=True)
    messages = torch.tensor(rng.normal(size=(n, batch)), requires_grad=True)
    upstream = torch.tensor(rng.normal(size=(n, batch)))
    plain = torch.zeros_like(messages).index_add(0, pattern.post, weight[:, None] * messages[pattern.pre])
    wanted = plain, *torch.autograd.grad(plain, [weight, messages], upstream)
    single = [x.detach().float().requires_grad_(True) for x in (weight, messages)]
    assert native_sum.fits(*single) is (batch <= native_sum.MOST_COLUMNS)
    torch.set_num_threads(n_threads)
    try:
        own = message_sum(*single, pattern)
        found = own, *torch.autograd.grad(own, single, upstream.float())
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clipping_is_that_of_torch(limit: float) -> None:
    generator = torch.Generator().manual_seed(0)
    own = [torch.randn(shape, generator=generator) for shape in ((3, 5), (), (20_000,), (0,))]
    parameters = [torch.nn.Parameter(torch.zeros_like(x)) for x in own]
    for parameter, gradient in zip(parameters, own, strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, limit)
    update.clip(own, limit)
    for parameter, gradient in zip(parameters, own, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@needs_compiler
def test_clipping_lets_not_a_number_through() -> None:
    gradient = torch.tensor([1.0, float("nan"), 3.0])
    update.clip([gradient], 1.0)
    assert gradient.isnan().all(), "as torch"


AVX2 = ("-std=gnu11", "-O2", "-fno-math-errno", "-mavx2", "-mfma", "-fopenmp", "-fPIC")


@needs_compiler
def test_vectors_of_eight_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors without AVX-512."""
    narrow = ctypes.CDLL(str(build.compiled(AVX2, [tmp_path])))
    generator = torch.Generator().manual_seed(0)
    sizes = [(4, 70), (4, 70), (70, 2), (48, 2), (48, 2), (48,), (33, 48), (33,), (1, 33), (1,)]
    for activation in mlp.FUNCTIONS:
        tensors = [torch.randn(s, generator=generator).div_(s[-1] ** 0.5).requires_grad_(True) for s in sizes]
        found = []
        for evaluate in (blocked_mlp, plain_mlp):
            monkeypatch.setattr(mlp, "loaded", lambda: narrow)
            network = Perceptron(tuple(tensors[3:]), activation, Units(1.0, 2.0, True))
            out = evaluate(tensors[:2], tensors[2], network)
            found.append((out, *torch.autograd.grad(out.square().sum(), tensors)))
        for own, reference in zip(*found, strict=True):
            torch.testing.assert_close(own, reference, rtol=1e-4, atol=1e-4)


def test_the_switch_leaves_everything_to_torch(monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    monkeypatch.setenv(build.SWITCH, "0")
    assert build.library() is None
    layers = torch.ones(3, 1), torch.ones(3, 2), torch.zeros(3), torch.ones(1, 3), torch.zeros(1)
    out = blocked_mlp([torch.ones(2, 5)], torch.ones(5, 2), Perceptron(layers, "relu"))
    torch.testing.assert_close(out, torch.full((2, 5), 9.0))


def test_without_a_compiler_the_log_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, forgotten: None
) -> None:
    monkeypatch.setattr(build, "_folders", lambda: iter([tmp_path]))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with caplog.at_level(logging.INFO):
        assert build.library() is None
        assert build.library() is None
    (record,) = caplog.records
    assert record.getMessage().startswith("kernels: torch's operations, slower (no C compiler found")


@needs_compiler
def test_a_compiler_that_fails_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, forgotten: None
) -> None:
    monkeypatch.setattr(build, "_folders", lambda: iter([tmp_path]))
    monkeypatch.setattr(build, "FLAGS", ("-no-such-flag",))
    assert build.library() is None
    assert "no-such-flag" in caplog.text
    assert not list(tmp_path.iterdir()), "nothing half made is left"


@needs_compiler
def test_another_compiler_is_asked_where_the_named_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    assert build.compiled(AVX2, [tmp_path]).exists()


def test_nowhere_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="writable"):
        build.compiled(build.FLAGS, [])


@needs_compiler
def test_compiled_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.compiled(AVX2, [tmp_path])
    monkeypatch.setenv("PATH", "")
    assert build.compiled(AVX2, [tmp_path / "other", tmp_path]) == first
    with pytest.raises(OSError, match="no C compiler"):
        build.compiled((*AVX2, "-g"), [tmp_path])


@needs_compiler
def test_there_is_one_pool_of_threads() -> None:
    """Ours and torch's: two would take the cores from each other."""
    code = (
        "import torch; from pathlib import Path; from lobula.kernels.native import build; build.loaded(); "
        "names = {Path(line.split()[-1]).name for line in Path('/proc/self/maps').read_text().splitlines()}; "
        "print(len([name for name in names if name.startswith(('libgomp', 'libomp', 'libiomp'))]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1"


@needs_compiler
@pytest.mark.parametrize("width", [1, 17, 64, 90, 128])
def test_rows_of_a_table_are_summed_as_by_torch(width: int, monkeypatch: pytest.MonkeyPatch, forgotten: None) -> None:
    rng, n, n_frames = np.random.default_rng(0), 13, 7
    mask = rng.random((n, n)) < 0.3
    mask[4] = False
    post, pre = np.nonzero(mask)
    wiring = Wiring.from_edges(np.stack([pre, post]), n)
    integers = [np.flatnonzero(wiring.in_degree > 0), wiring.indptr, wiring.pre, rng.integers(0, 40, (n_frames, n)).T]
    neurons, indptr, columns, cells = (torch.from_numpy(np.array(x, dtype=np.int64)) for x in integers)
    weights, table = torch.randn(wiring.n_edges), torch.randn(40, width)
    arguments = neurons, indptr, columns, weights, cells, table
    own = table_sums(*arguments)
    build.library.cache_clear()
    monkeypatch.setenv(build.SWITCH, "0")
    torch.testing.assert_close(own, table_sums(*arguments), rtol=1e-5, atol=1e-5)
