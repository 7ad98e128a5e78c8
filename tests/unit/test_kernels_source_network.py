"""A graph network as one operation in C, and the loss, against their parts in float64."""

import copy
import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.source_networks import agree, circuit, frames
from torch import Tensor

from lobula.kernels.native import build, loss, source_network
from lobula.models import CircuitGNN
from lobula.models.graph_network import GraphNetwork
from lobula.training.objectives import scaled_mse

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C compiler here")


def outcome(model: CircuitGNN, batch: tuple[Tensor, Tensor, Tensor], parts: bool = False) -> list[Tensor]:
    """Output and gradients of everything, in float64; ``parts`` takes the network apart."""
    voltage, external, upstream = batch
    inputs = [x.detach().to(model.weight.dtype).requires_grad_(True) for x in (voltage, external)]
    out = GraphNetwork.forward(model, *inputs) if parts else model(*inputs)
    wanted = [*inputs, *model.parameters()]
    found = torch.autograd.grad(out, wanted, upstream.to(out.dtype), allow_unused=True)
    return [torch.zeros_like(w).double() if x is None else x.detach().double()
            for x, w in zip((out, *found), (out, *wanted), strict=True)]  # fmt: skip


def is_one_operation(model: CircuitGNN, voltage: Tensor, external: Tensor) -> bool:
    """Whether there is a kernel for these frames."""
    return model._in_one is not None and source_network.frames_fit(voltage, external, model._in_one)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(5, 40),
    share=st.floats(0.0, 0.25),
    batch=st.sampled_from([1, 2, 4, 7, 16, 32]),
    is_shared=st.booleans(),
    squared=st.booleans(),
    n_layers=st.integers(2, 4),
    n_threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_the_whole_equals_its_parts_in_double_precision(
    n: int, share: float, batch: int, is_shared: bool, squared: bool, n_layers: int, n_threads: int, seed: int
) -> None:
    model = circuit(n, share, seed, n_layers=n_layers, g_phi_positive=squared, activation="tanh")
    if is_shared:
        model.share_messages()
    given_frames, before = frames(n, batch, seed), torch.get_num_threads()
    wanted = outcome(copy.deepcopy(model).double(), given_frames, parts=True)
    assert is_one_operation(model, *given_frames[:2]) is not model.pattern.is_dense
    torch.set_num_threads(n_threads)
    try:
        found = outcome(model, given_frames)
    finally:
        torch.set_num_threads(before)
    agree(found, wanted)


@pytest.mark.parametrize("held", ["weight", "embedding", "inputs", "messages"])
def test_gradients_that_are_wanted_are_those_of_all(held: str) -> None:
    model, (voltage, external, upstream) = circuit(12, 0.2), frames(12, 3)
    everything = outcome(model, (voltage, external, upstream))[3:]
    names = [name for name, _ in model.named_parameters()]
    left_out = [name for name in names if name == held or (held == "messages" and name.startswith("message_mlp"))]
    for name in left_out:
        model.get_parameter(name).requires_grad_(False)
    model(voltage, external).backward(upstream)
    for name, reference in zip(names, everything, strict=True):
        gradient = model.get_parameter(name).grad
        if name in left_out:
            assert gradient is None
        else:
            torch.testing.assert_close(gradient.double(), reference, rtol=1e-6, atol=1e-6)


def test_what_it_cannot_do_is_left_to_the_parts() -> None:
    """Factors, double precision, more columns than C takes, wirings of most pairs; and single precision again."""
    voltage, external, upstream = frames(12, 3)
    low_rank = circuit(12, 0.2, rank=2)
    assert low_rank._in_one is None
    agree(outcome(low_rank, (voltage, external, upstream)), outcome(low_rank.double(), (voltage, external, upstream)))
    dense = circuit(12, 0.9)
    assert not is_one_operation(dense, voltage, external)
    model = circuit(12, 0.2)
    many = torch.randn(40, 12)
    assert not is_one_operation(model, many, many)
    before = outcome(model, (voltage, external, upstream))
    doubled = outcome(model.double(), (voltage, external, upstream))
    after = outcome(model.float(), (voltage, external, upstream))
    agree(doubled, before)
    for own, reference in zip(after, before, strict=True):
        torch.testing.assert_close(own, reference, rtol=0, atol=0)


def test_messages_that_become_shared_are_seen_by_the_next_call() -> None:
    model, batch = circuit(12, 0.2), frames(12, 3)
    apart = outcome(model, batch)
    model.share_messages()
    together = outcome(model, batch)
    agree(together, outcome(model, batch, parts=True))
    assert not torch.allclose(apart[0], together[0])


def test_it_says_so_when_activations_are_gone_or_weights_have_changed() -> None:
    model, (voltage, external, _) = circuit(12, 0.2), frames(12, 3)
    out = model(voltage, external).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        out.backward()
    out = model(voltage, external).sum()
    with torch.no_grad():
        model.weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


@pytest.mark.parametrize("factor", [1.0, 2.5])
@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("held", ["weight", "message_mlp.hidden.0.bias", None])
def test_prediction_and_loss_as_one_operation(factor: float, is_shared: bool, held: str | None) -> None:
    """Equal to the bit to one after the other, whatever follows the loss, and added to gradients that are there."""
    model, (voltage, external, target), weight = circuit(30, 0.2), frames(30, 4), torch.rand(30)
    if is_shared:
        model.share_messages()
    if held is not None:
        model.get_parameter(held).requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    value, _ = scaled_mse(model(voltage, external), target, weight)
    wanted = torch.autograd.grad(factor * value, parameters)
    assert model.prediction_loss(voltage, external, target, weight) == value
    for _ in range(2):
        (factor * model.prediction_loss(voltage, external, target, weight)).backward()
    for parameter, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, 2.0 * gradient)
    assert held is None or model.get_parameter(held).grad is None


def test_loss_of_what_it_cannot_do_is_left_to_others() -> None:
    model, (voltage, external, target), weight = circuit(12, 0.2), frames(12, 3), torch.rand(12)
    assert model.prediction_loss(voltage, external, target, weight) is not None
    assert model.prediction_loss(voltage, external, target[:2], weight) is None
    assert model.prediction_loss(voltage.T.contiguous().T, external, target, weight) is None, (
        "frames do not lie one after the other"
    )
    assert circuit(12, 0.2, rank=2).prediction_loss(voltage, external, target, weight) is None
    assert model.double().prediction_loss(voltage, external, target, weight) is None


def test_frames_of_another_shape_are_an_error() -> None:
    """C would read beyond them."""
    model, (voltage, external, target) = circuit(12, 0.2), frames(12, 3)
    for wrong in ((voltage, external[:2]), (voltage[:, :11], external[:, :11]), (voltage[:, :11], external)):
        assert model.prediction_loss(*wrong, target, torch.ones(12)) is None
        with pytest.raises(RuntimeError):
            model(*wrong)


def test_a_copy_has_gradients_of_its_own() -> None:
    model, (voltage, external, target) = circuit(12, 0.2), frames(12, 3)
    model(voltage, external)
    copied = copy.deepcopy(model)
    copied.prediction_loss(voltage, external, target, torch.ones(12)).backward()
    assert all(p.grad is not None for p in copied.parameters())
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        copied.weight.zero_()
    assert not torch.equal(model(voltage, external), copied(voltage, external))


@pytest.mark.parametrize("pulled_back", [False, True])
def test_what_was_read_is_let_go_at_once(pulled_back: bool) -> None:
    """And not only when Python looks for cycles, which it may never find through torch's graph."""
    model, (voltage, external, target), weight = circuit(12, 0.2), frames(12, 3), torch.ones(12)
    for evaluate in (lambda v: model(v, external).sum(), lambda v: model.prediction_loss(v, external, target, weight)):
        read = voltage.clone()
        out, seen = evaluate(read), weakref.ref(read)
        if pulled_back:
            out.backward()
        del read, out
        assert seen() is None


def test_a_prediction_outlives_its_model() -> None:
    """C reads the wiring when the gradients are asked for."""
    model, (voltage, external, upstream) = circuit(12, 0.2), frames(12, 3)
    parameters, wanted = list(model.parameters()), outcome(model, (voltage, external, upstream))[3:]
    columns, out = weakref.ref(model.pattern.columns), model(voltage, external)
    del model
    gc.collect()
    assert columns() is not None
    for own, reference in zip(torch.autograd.grad(out, parameters, upstream), wanted, strict=True):
        torch.testing.assert_close(own.double(), reference, rtol=0, atol=0)


def test_one_operation_pulls_back_once() -> None:
    model, (voltage, external, target) = circuit(12, 0.2), frames(12, 3)
    value = model.prediction_loss(voltage, external, target, torch.ones(12))
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        value.backward()


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 20), n=st.integers(1, 300), n_threads=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_loss_and_its_gradient(batch: int, n: int, n_threads: int, seed: int) -> None:
    prediction, target, _ = (x.double() for x in frames(n, batch, seed))
    weight = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    single = [x.float() for x in (prediction, target, weight)]
    assert loss.fits(*single)
    assert not loss.fits(prediction, target, weight)
    results, before = [], torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for values in (single, (prediction, target, weight)):
            own = values[0].clone().requires_grad_(True)
            value = 3.0 * scaled_mse(own, *values[1:])[0]
            value.backward()
            results.append((value.detach().double(), own.grad.double()))
    finally:
        torch.set_num_threads(before)
    wanted = prediction.clone().requires_grad_(True)
    (3.0 * (weight * (wanted - target).square()).mean()).backward()
    for value, gradient in results:
        torch.testing.assert_close(gradient, wanted.grad, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(value, 3.0 * (weight * (prediction - target).square()).mean(), rtol=1e-5, atol=1e-7)


def test_loss_lets_not_a_number_through() -> None:
    prediction = torch.tensor([[1.0, float("nan")]], requires_grad=True)
    value = scaled_mse(prediction, torch.zeros(1, 2), torch.ones(2))[0]
    value.backward()
    assert value.isnan()
    assert prediction.grad.isnan().tolist() == [[False, True]]
