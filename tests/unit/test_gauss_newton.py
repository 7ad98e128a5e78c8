"""Gauss-Newton on the message network: its directions, its bends, its frames, and where it goes from random values."""

import numpy as np
import pytest
import torch
from tests.support.planted import DT, configured, planted_circuit

from lobula.data.recording import Recording
from lobula.errors import ShapeError
from lobula.models.bends import bends
from lobula.regression.chosen import Chosen
from lobula.regression.curve_step import some_targets
from lobula.regression.ridge import LinearCircuit
from lobula.regression.update_form import prepare
from lobula.training import new_model
from lobula.training.alternate import alternate
from lobula.training.directions import LastLayer, Tangent, directions_of, last_layer, set_last_layer

config = configured({"model.hidden_dim": 16, "model.hidden_dim_update": 16})
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n_frames=3000)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def shared_model(recording: Recording, **values: object):
    model = new_model(recording, config(**{f"model.{name}": value for name, value in values.items()}))
    model.share_messages()
    return model


def of(model, recording: Recording):
    frames = recording["train"]
    return directions_of(model, frames.voltage(0, 200), frames.visited_range)


@pytest.mark.parametrize("positive", [False, True])
def test_the_last_layers_jacobian_is_the_derivative(recording: Recording, positive: bool) -> None:
    model = new_model(recording, config(**{"model.g_phi_positive": positive}))
    directions, voltage = of(model, recording), torch.from_numpy(recording["train"].voltage(0, 3))
    assert isinstance(directions, LastLayer)
    message, jacobian = directions.jacobian(voltage)
    before, eps = last_layer(model), 1e-3
    with torch.no_grad():
        torch.testing.assert_close(message, model.message(voltage), rtol=1e-4, atol=1e-5)
        values, step = [], torch.randn(jacobian.shape[-1], generator=torch.Generator().manual_seed(0))
        for sign in (1, -1):
            set_last_layer(model, before + sign * eps * step)
            values.append(model.message(voltage))
    torch.testing.assert_close((values[0] - values[1]) / (2 * eps), jacobian @ step, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("activation", "positive"), [("relu", False), ("tanh", False), ("relu", True)])
def test_directions_of_all_parameters_are_derivatives(recording: Recording, activation: str, positive: bool) -> None:
    model = shared_model(recording, activation=activation, g_phi_positive=positive)
    directions, voltage = of(model, recording), torch.from_numpy(recording["train"].voltage(0, 60))
    assert isinstance(directions, Tangent)
    message, jacobian = directions.jacobian(voltage)
    assert 10 < directions.size <= 128
    with torch.no_grad():
        start = model.message(voltage)
        np.testing.assert_allclose(message, start, atol=1e-5)
        for number in (0, 1, 3):
            unit = np.zeros(directions.size)
            unit[number] = 1e-3  # of the parameters' length
            directions.move(unit)
            found = (model.message(voltage) - start).flatten().double()
            expected = (jacobian[..., number] * unit[number]).flatten().double()
            assert float((found - expected).norm() / expected.norm()) < 0.05  # nearly linear, and constant in cells
        directions.move(np.zeros(directions.size))
        torch.testing.assert_close(model.message(voltage), start)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_a_network_of_rectifiers_is_straight_between_its_bends(recording: Recording, layers: int) -> None:
    model = shared_model(recording, n_layers=layers).double()
    knots = bends(model, -3.0, 4.0)
    assert (knots[0], knots[-1]) == pytest.approx((-3.0, 4.0))
    assert len(knots) > layers
    inside = np.sort(np.random.default_rng(0).uniform(-3.0, 4.0, 4000))
    with torch.no_grad():
        at = [model.message(torch.from_numpy(v)[:, None])[:, 0].numpy() for v in (knots, inside)]
    np.testing.assert_allclose(np.interp(inside, knots, at[0]), at[1], atol=1e-9)
    assert len(bends(shared_model(recording, activation="tanh"), -3.0, 4.0)) == 2


def test_steps_find_the_message_function_of_a_network_that_was_not_trained(recording: Recording) -> None:
    frames = recording["train"]
    form = prepare("linear", frames, recording.wiring, "drift")
    left = {}
    for kind in ("all parameters", "last layer"):
        model = new_model(recording, config())
        if kind == "all parameters":
            model.share_messages()
        circuit: LinearCircuit = alternate(model, frames, form, "drift", 12, 3000, frames.visited_range, CPU)
        left[kind] = np.log(circuit.residual_std**2).mean()
    assert left["all parameters"] < left["last layer"] - 3  # log residual variance


def test_chosen_frames_hold_the_bursts(recording: Recording) -> None:
    frames = recording["train"]
    low, high = frames.visited_range
    lowest, highest = np.argsort(low)[:2], np.argsort(high)[-2:]
    chosen = Chosen(frames, "drift", 100, lowest, highest)
    n = chosen.n_frames
    assert 100 <= n == chosen.n_targets("drift") <= 110 + 4 * 40
    voltage = chosen.voltage(0, n)
    assert np.array_equal(voltage.max(0)[highest], high[highest])
    assert np.array_equal(voltage.min(0)[lowest], low[lowest])
    every = frames.n_frames // 100
    place = {row.tobytes(): k for k, row in enumerate(frames.voltage(0, frames.n_frames))}
    index = np.array([place[row.tobytes()] for row in voltage])
    assert set(range(0, frames.n_frames, every)) <= set(index.tolist())
    assert np.array_equal(chosen.target("drift", 5, 50), frames.target("drift", 0, frames.n_frames)[index[5:50]])
    assert np.array_equal(chosen.stimulus(0, n), frames.stimulus(0, frames.n_frames)[index])
    with pytest.raises(ShapeError, match="got target observed, expected drift"):
        chosen.target("observed", 0, 5)


def test_targets_of_some_neurons_are_added(recording: Recording) -> None:
    wiring, heard = recording.wiring, np.array([3, 7])
    part = some_targets(wiring, 5, heard)
    targets = set(part.post.tolist())
    assert set(wiring.post[np.isin(wiring.pre, heard)].tolist()) <= targets
    assert set(some_targets(wiring, 5).post.tolist()) <= targets
    assert all(part.in_degree[i] == wiring.in_degree[i] for i in targets)


def test_the_last_layer_follows_where_all_parameters_bring_nothing(recording: Recording, monkeypatch) -> None:
    frames, moved = recording["train"], []

    def stuck(model, sample, visited) -> Tangent:
        moved.append("all")
        directions = Tangent(model, sample, visited)
        monkeypatch.setattr(directions, "move", lambda coefficients: None)
        return directions

    def last(model, sample, visited) -> LastLayer:
        moved.append("last")
        return LastLayer(model)

    monkeypatch.setattr("lobula.training.alternate.directions_of", stuck)
    monkeypatch.setattr("lobula.training.alternate.last_layer_of", last)
    model, form = shared_model(recording), prepare("linear", frames, recording.wiring, "drift")
    left = []
    for n_steps in (0, 5):
        circuit = alternate(model, frames, form, "drift", n_steps, 3000, frames.visited_range, CPU)
        left.append(np.log(circuit.residual_std**2).mean())
    assert moved == ["all", "last", "all", "last", "last"]
    assert left[1] < left[0] - 0.1
