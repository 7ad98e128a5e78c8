"""What C reads of a network is described once for many batches: a call must see all that changed since the last."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.support.source_networks import agree, circuit, frames
from torch import Tensor

from lobula.kernels.native import build, source_network
from lobula.models import CircuitGNN

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C compiler here")


def loss_and_gradients(model: CircuitGNN, batch: tuple[Tensor, Tensor, Tensor]) -> list[Tensor | None]:
    """Of one call, from no gradients on."""
    voltage, external, target = batch
    for parameter in model.parameters():
        parameter.grad = None
    value = model.prediction_loss(voltage, external, target, torch.linspace(0.5, 1.5, voltage.shape[1]))
    source_network.backward(value)
    return [value.detach(), *(p.grad for p in model.parameters())]


def names(model: CircuitGNN) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def other_storage(model: CircuitGNN) -> None:
    model.embedding.data = torch.randn_like(model.embedding)


def other_strides(model: CircuitGNN) -> None:
    layer = model.get_parameter("update_mlp.hidden.0.weight")
    layer.data = torch.randn(layer.shape[::-1]).T


def in_place(model: CircuitGNN) -> None:
    with torch.no_grad():
        model.weight.mul_(-1.0)


CHANGES = {
    "nothing": lambda model: None,
    "values": in_place,
    "storage": other_storage,
    "strides": other_strides,
    "held": lambda model: model.weight.requires_grad_(False),
    "shared": CircuitGNN.share_messages,
    "loaded": lambda model: model.load_state_dict({k: 2 * x for k, x in model.state_dict().items()}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_call_sees_what_changed_since_the_last(change: str) -> None:
    """Equal to the bit to a model that was never called."""
    model, fresh = circuit(20, 0.2), circuit(20, 0.2)
    loss_and_gradients(model, frames(20, 3))
    for one in (model, fresh):
        torch.manual_seed(0)
        CHANGES[change](one)
    found, wanted = (loss_and_gradients(one, frames(20, 3, seed=7)) for one in (model, fresh))
    for own, reference in zip(found, wanted, strict=True):
        assert (own is None) == (reference is None)
        assert own is None or torch.equal(own, reference)
    assert (model.weight.grad is None) == (change == "held")


def test_batches_of_many_shapes_take_turns() -> None:
    model = circuit(20, 0.2)
    for turn, n_frames in enumerate((3, 3, 5, 1, 3, 3)):
        batch = frames(20, n_frames, seed=turn)
        found, wanted = loss_and_gradients(model, batch), loss_and_gradients(circuit(20, 0.2), batch)
        assert all(map(torch.equal, found, wanted))


def test_a_call_sees_other_strides_threads_and_wiring() -> None:
    """None of these is part of a batch's shape."""
    model, (voltage, external, target) = circuit(200, 0.05), frames(200, 4)
    apart = torch.randn(4, 400)[:, ::2]
    apart.copy_(external)
    wanted = [x.clone() for x in loss_and_gradients(model, (voltage, external, target))]
    for other in (apart, external, apart):
        assert all(map(torch.equal, loss_and_gradients(model, (voltage, other, target)), wanted))
    n_threads = torch.get_num_threads()
    try:
        for n in (3, 1, 2):
            torch.set_num_threads(n)
            found = loss_and_gradients(model, (voltage, external, target))
            assert model._in_one.kept.take().run._message.described.threads == n
            agree([x.double() for x in found], [x.double() for x in wanted])
    finally:
        torch.set_num_threads(n_threads)
    before = loss_and_gradients(model, (voltage, external, target))
    model.pattern._apply(lambda x: x.clone())  # without the model's knowledge
    kept = model._in_one.kept.take()
    model._in_one.kept.put(kept)
    assert all(map(torch.equal, loss_and_gradients(model, (voltage, external, target)), before))
    assert model._in_one.kept.take() is not kept


def test_calls_of_several_threads_do_not_share_what_is_kept() -> None:
    model, batch = circuit(60, 0.2), frames(60, 4)
    voltage, external, target = batch
    weight = torch.linspace(0.5, 1.5, 60)
    loss_and_gradients(model, batch)
    wanted = {id(parameter): parameter.grad.clone() for parameter in model.parameters()}

    def gradients(_: int) -> bool:
        pending = model.prediction_loss(voltage, external, target, weight).grad_fn.pending
        return all(torch.equal(gradient, wanted[id(parameter)]) for parameter, gradient in pending)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(gradients, range(200)))


def test_hooks_of_the_loss_are_heard() -> None:
    model, (voltage, external, target), weight = circuit(20, 0.2), frames(20, 3), torch.ones(20)
    wanted = loss_and_gradients(model, (voltage, external, target))
    model.weight.grad = None
    value = model.prediction_loss(voltage, external, target, torch.linspace(0.5, 1.5, 20))
    value.register_hook(lambda grad: 3.0 * grad)
    source_network.backward(value)
    torch.testing.assert_close(model.weight.grad, 3.0 * wanted[1 + names(model).index("weight")])
    value = model.prediction_loss(voltage, external, target, weight)
    value.retain_grad()
    source_network.backward(value)
    assert value.grad == 1.0


def test_gradients_of_a_call_stay_as_they_are() -> None:
    """The next call fills memory of its own."""
    model = circuit(20, 0.2)
    found = loss_and_gradients(model, frames(20, 3))
    kept = [x.clone() for x in found]
    loss_and_gradients(model, frames(20, 3, seed=1))
    assert all(map(torch.equal, found, kept))


def test_models_are_copied_between_two_calls() -> None:
    model = circuit(20, 0.2)
    wanted = [x.clone() for x in loss_and_gradients(model, frames(20, 3))]
    assert all(map(torch.equal, loss_and_gradients(copy.deepcopy(model), frames(20, 3)), wanted))


def test_backward_without_torch_is_that_of_torch() -> None:
    model, (voltage, external, target), weight = circuit(20, 0.2), frames(20, 3), torch.ones(20)
    model.prediction_loss(voltage, external, target, weight).backward()
    wanted = [p.grad.clone() for p in model.parameters()]
    for factor in (1.0, 3.0):  # a loss that was scaled goes through torch
        value = model.prediction_loss(voltage, external, target, weight)
        source_network.backward(value if factor == 1.0 else factor * value)
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, 5.0 * gradient)
    value = model.prediction_loss(voltage, external, target, weight)
    source_network.backward(value)
    with pytest.raises(RuntimeError, match="called twice"):
        source_network.backward(value)
