"""The blocked perceptron of torch and of C against the plain one in float64, values and gradients."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lobula.kernels import Perceptron, Units, blocked_mlp, last_layer_derivatives, plain_mlp
from lobula.kernels.native import build, mlp
from lobula.kernels.perceptron import FUNCTIONS

WAYS = {"torch": torch.float64, "C": torch.float32}
"""Which kernel takes which numbers."""


@pytest.fixture(params=WAYS)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    if request.param == "C" and build.library() is None:
        pytest.skip("no C compiler here")
    return WAYS[request.param]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Network:
    """Random inputs and weights of a network, and what an evaluation and its gradients come to."""

    def __init__(self, scalars: Sequence[Tensor], embedding: Tensor, widths: Sequence[int], seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5

        first = [(widths[0], len(scalars)), (widths[0], embedding.shape[1]), (widths[0],)]
        further = [shape for n_in, n_out in itertools.pairwise([*widths, 1]) for shape in ((n_out, n_in), (n_out,))]
        self.n_scalars = len(scalars)
        self.tensors = [*scalars, embedding, *(random(*shape) for shape in (*first, *further))]
        self.upstream = random(*scalars[0].shape)

    def outcome(self, evaluate: Any, dtype: torch.dtype, activation: str, units: Units, **how: Any) -> list[Tensor]:
        """Values, then gradients of everything, in float64."""
        tensors = [x.to(dtype).detach().requires_grad_(True) for x in self.tensors]  # keeps strides
        n = self.n_scalars
        out = evaluate(tensors[:n], tensors[n], Perceptron(tuple(tensors[n + 1 :]), activation, units), **how)
        gradients = torch.autograd.grad(out, tensors, self.upstream.to(dtype))
        return [x.detach().double() for x in (out, *gradients)]


def of_ones(dtype: torch.dtype, activation: str, widths: Sequence[int]) -> Perceptron:
    """A network of one scalar and two components of an embedding, whose weights are 1 and biases 0."""
    sizes = [(widths[0], 1), (widths[0], 2)]
    first, second = (torch.ones(size, dtype=dtype) for size in sizes)
    layers = [first, second, torch.zeros(widths[0], dtype=dtype)]
    for n_in, n_out in itertools.pairwise(widths):
        layers += [torch.ones(n_out, n_in, dtype=dtype), torch.zeros(n_out, dtype=dtype)]
    return Perceptron(tuple(layers), activation)


def agree(found: Sequence[Tensor], wanted: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Within rounding of the largest number of each tensor; units of 1e-6 in single precision, sums are long."""
    share = 1e-12 if dtype is torch.float64 else 3e-5
    for own, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, reference, rtol=0, atol=share * max(1.0, float(reference.abs().max())))


@settings(max_examples=80, deadline=None)
@given(
    batch=st.sampled_from([1, 2, 3, 4, 7, 16, 64, 130]),
    n=st.integers(1, 40),
    n_scalars=st.integers(1, 4),
    n_components=st.integers(1, 4),
    widths=st.lists(st.sampled_from([1, 3, 9, 16, 17, 40, 80]), min_size=1, max_size=4),
    activation=st.sampled_from(sorted(FUNCTIONS)),
    rows=st.integers(1, 200),
    shared=st.booleans(),
    strided=st.booleans(),
    squared=st.booleans(),
    by_neuron=st.booleans(),
    n_threads=st.integers(1, 3),
    way=st.sampled_from(sorted(WAYS)),
    seed=st.integers(0, 2**31),
)
def test_blocked_mlp_equals_the_plain_one(
    batch: int, n: int, n_scalars: int, n_components: int, widths: list[int], activation: str, rows: int, shared: bool,
    strided: bool, squared: bool, by_neuron: bool, n_threads: int, way: str, seed: int,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    before = torch.get_num_threads()

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    scalars = [random(n, batch).T if strided else random(batch, n) for _ in range(n_scalars)]
    network, units = Network(scalars, random(1 if shared else n, n_components), widths, seed), Units(0.7, 1.3, squared)
    wanted = network.outcome(plain_mlp, torch.float64, activation, units)
    torch.set_num_threads(n_threads)
    try:
        found = network.outcome(blocked_mlp, WAYS[way], activation, units, by_neuron=by_neuron, rows=rows)
    finally:
        torch.set_num_threads(before)
    agree(found, wanted, WAYS[way])


def test_c_is_what_single_precision_gets(dtype: torch.dtype) -> None:
    """The comparison above would also hold if C were never called."""
    scalars, embedding = [torch.ones(2, 5, dtype=dtype)], torch.ones(5, 2, dtype=dtype)
    network = of_ones(dtype, "relu", [3, 1])
    assert mlp.fits(scalars, embedding, network) is (dtype is torch.float32)
    assert not mlp.fits(scalars * 9, embedding, network), "more inputs than C has room for"


def test_results_are_equal_to_the_bit_from_call_to_call(dtype: torch.dtype, threads: None) -> None:
    torch.set_num_threads(2)
    network = Network([torch.randn(4, 300).double()], torch.randn(300, 2).double(), [24, 24])
    first, *others = (network.outcome(blocked_mlp, dtype, "relu", Units()) for _ in range(4))
    for other in others:
        for a, b in zip(first, other, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("activation", sorted(FUNCTIONS))
def test_not_a_number_goes_through(dtype: torch.dtype, activation: str) -> None:
    """A training that diverges must show it."""
    scalars = torch.ones(2, 5, dtype=dtype)
    scalars[1, 3] = float("nan")
    out = blocked_mlp([scalars], torch.ones(5, 2, dtype=dtype), of_ones(dtype, activation, [3, 3, 1]))
    assert torch.equal(out.isnan(), scalars.isnan())


@pytest.mark.parametrize("activation", sorted(FUNCTIONS))
def test_large_inputs_are_no_trouble(dtype: torch.dtype, activation: str) -> None:
    scalars = torch.linspace(-300, 300, 61, dtype=torch.float64)[None]
    network = Network([scalars], torch.zeros(61, 1, dtype=torch.float64), [1])
    agree(
        network.outcome(blocked_mlp, dtype, activation, Units()),
        network.outcome(plain_mlp, torch.float64, activation, Units()),
        dtype,
    )


def test_without_gradient_of_the_inputs(dtype: torch.dtype) -> None:
    scalars, embedding = torch.ones(2, 5, dtype=dtype), torch.zeros(5, 2, dtype=dtype, requires_grad=True)
    blocked_mlp([scalars], embedding, of_ones(dtype, "tanh", [3, 1])).sum().backward()
    np.testing.assert_allclose(embedding.grad, 2 * 3 * (1 - np.tanh(1.0) ** 2), rtol=1e-5)
    assert scalars.grad is None


def test_gradients_that_are_wanted_are_those_of_all(dtype: torch.dtype) -> None:
    """Of one input of three and of the layers, without the embedding."""
    network = Network([torch.randn(3, 6).double() for _ in range(3)], torch.randn(6, 2).double(), [8, 8])
    everything = network.outcome(blocked_mlp, dtype, "tanh", Units())
    tensors = [x.to(dtype) for x in network.tensors]
    wanted = [tensors[1], *tensors[4:]]
    for tensor in wanted:
        tensor.requires_grad_(True)
    out = blocked_mlp(tensors[:3], tensors[3], Perceptron(tuple(tensors[4:]), "tanh"))
    some = torch.autograd.grad(out, wanted, network.upstream.to(dtype))
    for own, reference in zip(some, [everything[2], *everything[5:]], strict=True):
        torch.testing.assert_close(own.double(), reference, rtol=1e-6, atol=1e-7)


def test_calls_that_are_open_at_the_same_time_are_kept_apart(dtype: torch.dtype) -> None:
    """Two evaluations before either's backward pass, as penalties make them, and one without gradients between."""
    generator = torch.Generator().manual_seed(0)
    scalars = [torch.randn(2, 7, generator=generator).to(dtype) for _ in range(2)]
    sizes = [(7, 2), (3, 1), (3, 2), (3,), (5, 3), (5,), (1, 5), (1,)]
    tensors = [torch.randn(s, generator=generator).to(dtype).requires_grad_(True) for s in sizes]
    network = Perceptron(tuple(tensors[1:]), "relu")

    def gradients(evaluate: Any) -> tuple[Tensor, ...]:
        outputs = [evaluate([s], tensors[0], network) for s in scalars]
        with torch.no_grad():
            evaluate([scalars[1]], tensors[0], network)
        return torch.autograd.grad(outputs[0].square().sum() + outputs[1].sum(), tensors)

    for own, reference in zip(gradients(blocked_mlp), gradients(plain_mlp), strict=True):
        torch.testing.assert_close(own, reference)


def test_it_says_so_when_activations_are_gone(dtype: torch.dtype) -> None:
    network = of_ones(dtype, "tanh", [3, 4, 1])
    network.layers[0].requires_grad_(True)
    out = blocked_mlp([torch.ones(2, 5, dtype=dtype)], torch.zeros(5, 2, dtype=dtype), network).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        out.backward()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("widths", [[5], [9, 17]])
def test_derivatives_by_the_last_layer(dtype: torch.dtype, squared: bool, widths: list[int]) -> None:
    """Against automatic differentiation, row by row of a matrix of ones."""
    generator = torch.Generator().manual_seed(0)
    scalars = [torch.randn(3, 7, generator=generator, dtype=torch.float64)]
    network, units = Network(scalars, torch.randn(7, 2, generator=generator).double(), widths), Units(0.5, 1.5, squared)
    tensors = network.tensors
    last = [tensor.requires_grad_(True) for tensor in tensors[-2:]]

    def evaluated(evaluate: Any, tensors: Sequence[Tensor]) -> Any:
        return evaluate(tensors[:1], tensors[1], Perceptron(tuple(tensors[2:]), "tanh", units))

    wanted = evaluated(plain_mlp, tensors)
    value, derivatives = evaluated(last_layer_derivatives, [x.detach().to(dtype) for x in tensors])
    agree([value.double()], [wanted.detach()], dtype)
    assert derivatives.shape == (7, 3, widths[-1] + 1)
    for frame, neuron in itertools.product(range(3), range(7)):
        by_weight, by_bias = torch.autograd.grad(wanted[frame, neuron], last, retain_graph=True)
        agree([derivatives[neuron, frame].double()], [torch.cat([by_weight[0], by_bias])], dtype)
