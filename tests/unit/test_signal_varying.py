"""Signal networks that change while they are recorded: plasticity (N6, N7) and drifting parameters (N3)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.signal_recordings import DT, network, recorded

import lobula
from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.split import Trials
from lobula.data.varying import Drift, Plasticity
from lobula.errors import ConfigError
from lobula.metrics import line_fit
from lobula.recovery import recover_circuit
from lobula.recovery.states import states_along
from lobula.regression import LinearCircuit, plasticity
from lobula.regression.own_terms import NoTerms
from lobula.regression.plasticity import PlasticCourse
from lobula.regression.widths import Widths, grouped
from lobula.scoring import in_gauge, score_ceiling, score_estimates
from lobula.simulation.signal import SignalCircuit
from lobula.simulation.truth import Truth
from lobula.training.closed_form import ridge_messages, train_ridge

SETTINGS = {
    "training.estimators": ["ridge"],
    "training.target": "drift",
    "update.form": "tanh",
    "update.weights": "absolute",
    "ridge.activation": "tanh",
    "recovery.types_from": "dynamics",
}
SMALL = ([10.0, 1.0, 1.0], [10.0, 2.0, 2.0])
PLASTIC = [[*row, tau, alpha] for row, tau, alpha in zip(SMALL, (20.0, 8.0), (0.05, 0.1), strict=True)]
WIDE = [[10.0, 1.0, 1.0, 1.0, 20.0, 0.05], [10.0, 2.0, 2.0, 4.0, 20.0, 0.05]]
DRIFTING = [[10.0, 1.0, 1.0], [6.0, 2.0, 2.0]]  # the gain drifts, too


def settings(**more: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({**SETTINGS, **{k.replace("__", "."): v for k, v in more.items()}})


def recovered(recording: Recording, config: ExperimentConfig, folder: Path) -> Estimates:
    circuit, message = train_ridge(recording, config, folder), ridge_messages(config, folder)
    assert vars(LinearCircuit.load(folder / "circuit.npz")).keys() == vars(circuit).keys()
    again = LinearCircuit.load(folder / "circuit.npz")
    return recover_circuit(recording, again, message, "ridge", "drift", config.recovery, update=config.update)


def weights(truth: Truth, recording: Recording, estimates: Estimates, config: ExperimentConfig) -> tuple[float, float]:
    stated = in_gauge(truth, recording, config.update).connectome.weight
    return line_fit(stated, estimates.edges["weight"].to_numpy())


def test_plasticity_follows_from_the_voltage_as_in_a_simulation() -> None:
    circuit = network(12, model="N6", seed=1)
    simulator = SignalCircuit(circuit, DT)
    state = simulator.full_state(3 * np.random.default_rng(0).standard_normal(12).astype("f4"))
    states = []
    for _ in range(130):
        states.append(state)
        state = simulator.step(state, np.zeros(0, "f4"))
    voltage, p = (np.stack(states)[:, part].astype(float) for part in (slice(12), slice(12, 24)))
    course = PlasticCourse(np.full(12, np.log(0.01)), np.full(12, np.log(0.02)), np.zeros(12), NoTerms())
    gain, _, after = course.along(voltage, course.begin(), DT)
    np.testing.assert_allclose(gain[0], p, atol=1e-5)
    np.testing.assert_allclose(after[0], state[12:], atol=1e-5)
    for k, name in enumerate(("log_rate", "log_alpha", "log_start")):
        moved = replace(course, **{name: getattr(course, name) + 1e-6})
        slope = (moved.along(voltage, moved.begin(), DT)[0][0] - gain[0]) / 1e-6
        np.testing.assert_allclose(gain[1 + k], slope, atol=1e-5)


def test_ridge_recovers_a_network_with_plasticity_and_without_it_does_not(tmp_path: Path) -> None:
    recording, truth = recorded(network(30, seed=1, model="N6", parameters=PLASTIC), 2500, noise=0.2)
    config = settings(update__varying="plasticity")
    estimates = recovered(recording, config, tmp_path)
    slope, r2 = weights(truth, recording, estimates, config)
    assert r2 > 0.9999
    assert slope == pytest.approx(1.0, abs=1e-3)
    stated = in_gauge(truth, recording, config.update)
    scores = score_estimates(estimates, stated, np.ones(truth.connectome.n_edges, dtype=bool), config)
    assert scores["tau"]["r2"] > 0.9999
    assert scores["plasticity"]["tau"]["largest_relative_error"] < 0.02
    assert scores["plasticity"]["alpha"]["largest_relative_error"] < 0.02
    assert scores["cell_types"]["accuracy"] == 1.0
    ceiling = score_ceiling(recording, stated, config, None).scores
    assert ceiling["W"]["r2"] > 0.9999
    assert weights(truth, recording, recovered(recording, settings(), tmp_path), config)[1] < 0.98


def test_neurons_with_a_poor_start_are_tried_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = network(30, seed=2, model="N6", parameters=PLASTIC, activation="sigmoid")
    recording, truth = recorded(circuit, 2500, noise=0.2)
    config = settings(update__varying="plasticity", ridge__activation="sigmoid")

    def largest_error() -> float:
        estimates = recovered(recording, config, tmp_path)
        stated = in_gauge(truth, recording, config.update)
        scores = score_estimates(estimates, stated, np.ones(circuit.n_edges, dtype=bool), config)
        return scores["plasticity"]["tau"]["largest_relative_error"]

    assert largest_error() < 1e-3
    monkeypatch.setattr(plasticity, "STUCK", np.inf)
    assert largest_error() > 0.1


def test_estimates_with_plasticity_predict_from_a_state_that_they_find(tmp_path: Path) -> None:
    recording, _ = recorded(network(30, seed=1, model="N6", parameters=PLASTIC), 2500, noise=0.2)
    recovered(recording, settings(update__varying="plasticity"), tmp_path).save(tmp_path / "kept.zarr")
    estimates, split = Estimates.load(tmp_path / "kept.zarr"), recording["test"]
    assert isinstance(estimates.varying, Plasticity)
    states = states_along(estimates, recording, "test", 200)
    y = split.target("drift", 0, 200)
    error = {
        name: np.square(estimates.drift(split.voltage(0, 200), 0.0, state) - y).mean() / y.var()
        for name, state in (("found", states), ("mean", None))
    }
    assert error["found"] < 1e-6 < 1e-4 < error["mean"]
    rolled = estimates.predict(split.voltage(0, 2), n_steps=3, state=states[:2])
    assert rolled.shape == (2, 3, 30)
    expected = split.voltage(0, 1)[0] + DT * y[0]
    np.testing.assert_allclose(rolled[0, 0], expected, atol=1e-3)


def test_widths_of_the_receivers_are_found(tmp_path: Path) -> None:
    recording, truth = recorded(network(24, seed=1, model="N7", parameters=WIDE), 1500, noise=0.3)
    config = settings(update__varying="plasticity", ridge__widths="receiver")
    estimates = recovered(recording, config, tmp_path)
    widths = Widths.load(tmp_path / "widths.npz")
    np.testing.assert_array_equal(widths.group, truth.connectome.cell_type)
    np.testing.assert_allclose(widths.width, [1.0, 4.0], rtol=1e-3)
    slope, r2 = weights(truth, recording, estimates, config)
    assert r2 > 0.999
    assert slope == pytest.approx(1.0, abs=0.01)
    stated = in_gauge(truth, recording, config.update)
    assert score_ceiling(recording, stated, config, None).scores["W"]["r2"] > 0.9999


def test_close_widths_are_one_group() -> None:
    group, width = grouped(np.array([2.0, 1.0, 1.1, 8.0, 1.05]))
    np.testing.assert_array_equal(group, [1, 0, 0, 2, 0])
    np.testing.assert_allclose(width, [1.05, 2.0, 8.0])


@pytest.mark.parametrize("period", [pytest.param(None, marks=pytest.mark.slow), 25.0])
def test_ridge_recovers_a_network_whose_parameters_drift(period: float | None, tmp_path: Path) -> None:
    circuit = network(30, seed=1, model="N3", drift_period=25.0, parameters=DRIFTING)
    recording, truth = recorded(circuit, 2500, noise=0.2)
    config = settings(update__varying="drift", update__drift_period=period)
    estimates = recovered(recording, config, tmp_path)
    slope, r2 = weights(truth, recording, estimates, config)
    assert r2 > 0.9999
    assert slope == pytest.approx(1.0, abs=1e-3)
    stated = in_gauge(truth, recording, config.update)
    scores = score_estimates(estimates, stated, np.ones(circuit.n_edges, dtype=bool), config)
    assert scores["tau"]["r2"] > 0.999
    assert scores["drift"]["tau_half"]["r2"] > 0.999
    assert scores["drift"]["period_relative_error"] < 1e-3
    assert scores["cell_types"]["accuracy"] == 1.0
    assert isinstance(estimates.varying, Drift)
    states = states_along(estimates, recording, "test", 100)
    assert states is not None
    assert states[0, 0] == pytest.approx(0.9 * 2500 * DT)
    predicted = estimates.drift(recording["test"].voltage(0, 100), 0.0, states)
    np.testing.assert_allclose(predicted, recording["test"].target("drift", 0, 100), atol=0.05)
    if period is not None:
        assert score_ceiling(recording, stated, config, None).scores["W"]["r2"] > 0.9999
        assert weights(truth, recording, recovered(recording, settings(), tmp_path), config)[1] < 0.98


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"training.estimators": ["ridge", "gnn"]}, "training.estimators gnn"),
        ({"spline.sharing": "type"}, "spline.sharing=type"),
        ({"update.form": "self_coupling"}, "update.form=self_coupling"),
        ({"update.varying": "drift", "update.form": "spline"}, "update.form=spline"),
        ({"prior.sign": "inferred"}, "prior"),
        ({"update.graph": "all_pairs"}, "all_pairs"),
        ({"simulation.trial_frames": 100}, "simulation.trial_frames"),
    ],
)
def test_a_change_is_refused_where_it_is_not_fitted(values: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"update\.varying: got .*{reason}"):
        ExperimentConfig().with_values({**SETTINGS, "update.varying": "plasticity", **values})


def test_settings_of_a_change_that_is_not_asked_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"update\.drift_period: .*update\.varying=drift"):
        settings(update__drift_period=10.0)
    with pytest.raises(ConfigError, match=r"ridge\.widths: got receiver"):
        settings(ridge__widths="receiver")
    with pytest.raises(ConfigError, match=r"spline\.sharing: got receiver .*none"):
        settings(spline__sharing="receiver")
    with pytest.raises(ConfigError, match=r"spline\.sharing: got receiver .*drift"):
        settings(update__varying="drift", spline__sharing="receiver")
    recording, _ = recorded(network(10, model="N6"), 200)
    recording["train"].trials = Trials(50, np.zeros((4, 10), "f4"))
    with pytest.raises(ConfigError, match=r"recording of trials"):
        train_ridge(recording, settings(update__varying="plasticity"), tmp_path)


def test_a_run_of_a_drifting_network_is_scored(tmp_path: Path) -> None:
    sizes = {"simulation.n_frames": 2000, "simulation.n_frames_validation": 200, "simulation.n_frames_test": 200}
    small = {"signal.n_neurons": 30, "signal.drift_period": 20, "update.drift_period": 20, "signal.burn_in": 100}
    short = {"training.n_steps": 20, "training.rounds": 0, "training.gauss_newton_steps": 2}
    small |= {"training.estimators": ["ridge", "spline", "gnn"], "training.warm_start": "spline", **short}
    config = lobula.load_config("signal-n3").with_values(
        {**sizes, **small, "scoring.rollout_steps": 20, "simulation.process_noise": 0.1}
    )
    scores = lobula.run(config, tmp_path, progress=False).scores
    for rung, least in {"ridge": 0.999, "spline": 0.999, "gnn": 0.98}.items():
        assert scores[rung]["W"]["r2"] > least
        assert scores[rung]["prediction"]["one_step_pearson"] > least
        assert scores[rung]["drift"]["tau_half"]["r2"] > least
