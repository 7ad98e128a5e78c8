"""The graph network of signal networks: its equation, its training in every regime, and what is read out of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.signal_recordings import network, recorded

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.errors import ConfigError
from lobula.metrics import line_fit
from lobula.models import GraphNetwork, learned_messages
from lobula.recovery import recover_gnn
from lobula.regression.held_out import circuit_predictor
from lobula.regression.own_terms import TanhTerm
from lobula.regression.thinned import Thinned
from lobula.regression.update_form import prepare
from lobula.scoring import in_gauge, make_probe
from lobula.simulation.truth import Truth
from lobula.training import new_model, train
from lobula.training.alternate import alternate
from lobula.training.directions import directions_of
from lobula.training.gauss_newton import equation_grams, shared_grams
from lobula.training.phases import HeldCircuit

N = 40
BASE = {
    "model.name": "signal",
    "model.activation": "tanh",
    "model.hidden_dim": 24,
    "model.hidden_dim_update": 24,
    "update.form": "self_coupling",
    "update.weights": "absolute",
    "recovery.types_from": "dynamics",
    "training.target": "drift",
    "training.n_steps": 500,
    "training.lr": 5e-3,
    "training.lr_W": 1e-2,
    "training.rounds": 1,
    "training.round_steps": 60,
    "training.gauss_newton_steps": 8,
    "training.coeff_g_phi_norm": 0.1,
}
FEW = {"training.n_steps": 20, "training.rounds": 1, "training.round_steps": 5, "training.gauss_newton_steps": 1}


def config(**values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({**BASE, **values})


@pytest.fixture(scope="module")
def data() -> tuple[Recording, Truth]:
    return recorded(network(N, fill=0.6), n_frames=3000, noise=0.5)


@pytest.fixture(scope="module")
def trained(data: tuple[Recording, Truth], tmp_path_factory: pytest.TempPathFactory) -> GraphNetwork:
    return train(data[0], config(), tmp_path_factory.mktemp("signal"))


def true_weight(data: tuple[Recording, Truth], settings: ExperimentConfig) -> np.ndarray:
    return in_gauge(data[1], data[0], settings.update).connectome.weight


def test_the_update_adds_the_messages_to_what_a_neuron_does_by_itself(data) -> None:
    recording = data[0]
    model = new_model(recording, config(**{"model.w_init": "randn"}))
    wiring, voltage = recording.wiring, torch.from_numpy(recording["train"].voltage(0, 5).copy())
    matrix = torch.zeros(N, N)
    matrix[wiring.post.copy(), wiring.pre.copy()] = model.weight.detach()
    assert not torch.equal(matrix != 0, (matrix != 0).T)  # an asymmetric graph: a transposed one is seen
    nothing = torch.zeros_like(voltage)
    with torch.no_grad():
        alone = model.update(voltage, nothing, nothing)
        expected = alone + model.message_gain * model.message(voltage) @ matrix.T
        torch.testing.assert_close(model(voltage, nothing), expected, rtol=1e-4, atol=1e-4)
    _, _, by_message, _ = model.linearise(voltage, nothing)
    torch.testing.assert_close(by_message, torch.full_like(voltage, model.message_gain))


def test_weights_time_constants_and_types_are_recovered(data, trained: GraphNetwork) -> None:
    recording, truth = data
    settings = config()
    estimates = recover_gnn(recording, trained, "drift", settings.recovery, settings.update)
    slope, r2 = line_fit(true_weight(data, settings), estimates.edges["weight"].to_numpy())
    assert r2 > 0.999
    assert slope == pytest.approx(1.0, abs=0.03)
    assert line_fit(truth.connectome.tau, estimates.neurons["tau"].to_numpy())[1] > 0.95
    found = estimates.neurons[["tau", "v_rest"]].to_numpy()  # ten neurons of a type are few for clusters, not for this
    apart = np.linalg.norm((found[:, None] - found) / found.std(0), axis=-1) + 1e9 * np.eye(N)
    types = np.asarray(truth.connectome.cell_type)
    assert np.mean(types[apart.argmin(1)] == types) > 0.95
    voltage = recording["test"].voltage(0, 200).copy()
    predicted = estimates.drift(voltage)
    y = recording["test"].target("drift", 0, 200)
    assert np.mean((predicted - y) ** 2) < 1e-3 * y.var()


def test_the_network_itself_is_read_without_a_refit(data, trained: GraphNetwork) -> None:
    recording = data[0]
    settings = config(**{"recovery.readout": "on_distribution"})
    estimates = recover_gnn(recording, trained, "drift", settings.recovery, settings.update)
    _, r2 = line_fit(true_weight(data, settings), estimates.edges["weight"].to_numpy())
    assert r2 > 0.5
    voltage = recording["test"].voltage(0, 50).copy()
    with torch.no_grad():
        own = trained(torch.from_numpy(voltage), torch.zeros(50, N)).numpy()
    error = np.mean((estimates.drift(voltage) - own) ** 2)
    assert error < 1e-2 * own.var()
    reference = config(**{"recovery.readout": "reference"})
    with pytest.raises(ConfigError, match=r"readout: got reference with update.weights=absolute"):
        recover_gnn(recording, trained, "drift", reference.recovery, reference.update)


def test_scores_in_training_rise_from_chance(data, trained: GraphNetwork) -> None:
    recording, truth = data
    settings = config()
    probe = make_probe(in_gauge(truth, recording, settings.update), recording, settings.update)
    before = probe(new_model(recording, config(**{"model.w_init": "randn"})), None)
    after = probe(trained, None)
    assert before["connectivity_r2"] < 0.1 < 0.5 < after["connectivity_r2"]
    frames, visited = recording["train"], recording["train"].visited_range
    form = prepare("self_coupling", frames, recording.wiring, "drift")
    circuit = alternate(trained, frames, form, "drift", 0, 2000, visited, torch.device("cpu"))
    assert probe(trained, HeldCircuit.from_circuit(circuit).state())["connectivity_r2"] > 0.99


@pytest.mark.parametrize("form", ["linear", "self_coupling", "tanh", "spline"])
def test_a_held_circuit_predicts_what_the_fitted_one_does(data, trained: GraphNetwork, form: str) -> None:
    recording = data[0]
    frames, visited = recording["train"], recording["train"].visited_range
    prepared = prepare(form, frames, recording.wiring, "drift")
    circuit = alternate(trained, frames, prepared, "drift", 0, 1000, visited, torch.device("cpu"))
    voltage = recording["test"].voltage(0, 20).copy()
    expected = circuit_predictor(circuit, learned_messages(trained, visited), recording.wiring)(voltage, None)
    held = HeldCircuit.from_circuit(circuit)
    with torch.no_grad():
        found = held.predict(trained, torch.from_numpy(voltage), torch.zeros(20, N)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=5e-3 * expected.std())  # tables


@pytest.mark.parametrize(
    "values",
    [
        {"training.time_step": 1},
        {"training.time_step": 4, "training.recurrent_noise": 0.05},
        {"training.time_step": 4, "training.recurrent_loss": "dense", "training.recurrent_start": 0.5},
        {"training.time_step": 3, "training.regime": "multi_start"},
        {"training.time_step": 3, "training.regime": "neural_ode"},
        {"training.time_step": 3, "training.regime": "neural_ode", "training.ode_adjoint": True},
    ],
)
def test_every_regime_trains_it(data, tmp_path: Path, values: dict) -> None:
    settings = config(**{**FEW, "training.target": "observed", "training.regime": "recurrent", **values})
    start = new_model(data[0], settings)
    model = train(data[0], settings, tmp_path)
    for name in ("weight", "embedding"):
        assert not torch.equal(getattr(model, name), getattr(start, name))
    estimates = recover_gnn(data[0], model, "observed", settings.recovery, settings.update)
    assert np.isfinite(estimates.edges["weight"]).all()


def test_low_rank_keeps_its_rank_and_says_what_it_cannot(data, tmp_path: Path) -> None:
    settings = config(**{**FEW, "model.name": "signal_low_rank", "model.rank": 3, "update.form": "linear"})
    model = train(data[0], settings, tmp_path)
    form, left, right = model.parametrizations["weight"][0], *model.parametrizations["weight"].parameters()
    assert form.rank == 3
    assert [left.shape, right.shape] == [(N, 3), (3, N)]
    assert new_model(data[0], settings.with_values({"model.rank": None})).config.rank == 20
    with pytest.raises(ConfigError, match=r"update.form: got self_coupling with weights of rank 3"):
        train(data[0], settings.with_values({"update.form": "self_coupling"}), tmp_path / "other")


@pytest.mark.parametrize("shared", [True, False])
def test_products_for_a_step_are_the_same_for_all_equations_at_once(data, shared: bool) -> None:
    recording = data[0]
    model, wiring, own = new_model(recording, config()), recording.wiring, TanhTerm()
    if shared:
        model.share_messages()
    theta = np.random.default_rng(0).standard_normal(wiring.n_edges)
    directions = directions_of(model, recording["train"].voltage(0, 100), recording["train"].visited_range)
    frames = Thinned.to(recording["train"], "drift", 600)
    arguments = directions, frames, wiring, theta, "drift", own
    for first, second in zip(shared_grams(*arguments), equation_grams(*arguments), strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-5 * np.abs(second).max())


def test_steps_lower_the_residual_of_a_network_that_was_not_trained(data) -> None:
    recording = data[0]
    model = new_model(recording, config())
    model.share_messages()
    frames, visited = recording["train"], recording["train"].visited_range
    form, found = prepare("self_coupling", frames, recording.wiring, "drift"), []
    for n_steps in (0, 6):
        circuit = alternate(model, frames, form, "drift", n_steps, 2000, visited, torch.device("cpu"))
        found.append(np.log(circuit.residual_std).mean())
    assert found[1] < found[0] - 0.5
