"""Message functions of groups of sources: the step, planted recovery with a shared function as control, pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.one_column import recorded
from tests.support.planted import DT, Planted, planted_circuit

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.errors import StoreError
from lobula.metrics import line_fit
from lobula.recovery import recover_spline
from lobula.recovery.gauge import find_gauge, sample_voltage
from lobula.regression import PiecewiseLinear, SplineFit, fit_circuit, fit_spline
from lobula.regression.held_out import circuit_predictor, held_out_error
from lobula.regression.own_curves import GroupCurves, OwnFit, _Deviations, _normal, _Prior, fit_own_curves
from lobula.training.closed_form import load_spline, train_spline
from lobula.training.own_messages import sharing_facts

N = 30
TYPE = np.arange(N) % 3
GAIN = np.array([0.5, 1.5, 4.0])[TYPE]


def with_gains(v: np.ndarray) -> np.ndarray:
    return np.tanh(GAIN * v)


def recording_of(planted: Planted) -> Recording:
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def error(fit: SplineFit | OwnFit, curve, recording: Recording, target: str) -> float:
    predict = circuit_predictor(fit.circuit, curve, recording.wiring)
    return held_out_error(predict, recording["validation"], recording.wiring, target)


@pytest.fixture(scope="module")
def gains() -> tuple[np.ndarray, Recording, SplineFit]:
    """True weights in units of the population's messages, the recording, the fit with one function for all."""
    planted = planted_circuit(n_frames=3000, activation=with_gains)
    recording = recording_of(planted)
    gauge = find_gauge(sample_voltage(recording["train"]), lambda v: with_gains(np.asarray(v, float)))
    shared = fit_spline(recording["train"], recording.wiring, "drift")
    return planted.weight * gauge.scale[planted.wiring.pre], recording, shared


@pytest.mark.parametrize("group", [TYPE, np.arange(N)], ids=["type", "neuron"])
def test_own_functions_beat_a_shared_one_where_they_differ(gains: tuple, group: np.ndarray) -> None:
    true, recording, shared = gains
    own = fit_own_curves(recording["train"], recording.wiring, shared.curve, group, "drift")
    assert error(own, own.curves, recording, "drift") < error(shared, shared.curve, recording, "drift") - 2
    settings = ExperimentConfig().recovery
    fits = {"shared": shared, "own": SplineFit(shared.circuit, shared.curve, shared.visited, own=own)}
    scores = {
        name: line_fit(true, recover_spline(recording, fit, "drift", settings).edges["weight"].to_numpy())
        for name, fit in fits.items()
    }
    (slope, r2), (_, control) = scores["own"], scores["shared"]
    assert r2 > 0.9995 > control
    assert slope == pytest.approx(1.0, abs=0.03)
    assert own.is_own.mean() > 0.8


@pytest.mark.parametrize("target", ["observed", "drift"])
def test_they_are_no_worse_where_all_are_alike(target: str) -> None:
    planted = planted_circuit(n_frames=2000)
    recording = recording_of(planted)
    shared = fit_spline(recording["train"], recording.wiring, target)
    for group in (TYPE, np.arange(N)):
        own = fit_own_curves(recording["train"], recording.wiring, shared.curve, group, target)
        before, after = (line_fit(planted.weight, fit.circuit.weight(planted.wiring))[1] for fit in (shared, own))
        assert after > before - 0.003
        worse = error(own, own.curves, recording, target) - error(shared, shared.curve, recording, target)
        assert worse < (0.01 if target == "observed" else 0.2)  # drift is met to 1 in 10^8 by either


def test_the_step_is_that_of_the_whole_least_squares_problem(gains: tuple) -> None:
    _, recording, shared = gains
    frames, wiring, rng = recording["train"], recording.wiring, np.random.default_rng(0)
    knots = np.sort(rng.normal(size=(3, 4)), axis=1)
    here = _Deviations(shared.curve, TYPE, knots, 0.05 * rng.normal(size=(3, 4)), monotone=False)
    curves = here.curves()
    circuit = fit_circuit(frames, wiring, curves, "drift", 500)
    normal = _normal(frames, wiring, here, circuit, "drift", 500, np.arange(N))
    prior = _Prior(3.0, np.eye(4) + 0.5)
    found = normal.step(prior, here.values)
    voltage = frames.voltage(0, 500).astype(float)
    external, y = wiring.spread(frames.stimulus(0, 500)), frames.target("drift", 0, 500).astype(float)
    messages, variance = curves(voltage), circuit.residual_std**2
    matrix, rhs = np.kron(np.eye(3), 3.0 * prior.shape), -(here.values @ (3.0 * prior.shape)).ravel()
    for i in range(N):
        edges = np.flatnonzero(wiring.post == i)
        basis = np.zeros((500, 3, 4))
        for e in edges:
            j = wiring.pre[e]
            hats = [np.interp(voltage[:, j], knots[TYPE[j]], row) for row in np.eye(4)]
            basis[:, TYPE[j]] += circuit.theta[e] * np.stack(hats, axis=1)
        own = [messages[:, wiring.pre[edges]], voltage[:, [i]], np.ones((500, 1)), external[:, [i]]]
        own = np.concatenate(own[: 4 if i < 4 else 3], axis=1)
        ridge = np.r_[np.full(len(edges), circuit.regularisation[i] * 500), np.zeros(own.shape[1] - len(edges))]
        project = own @ np.linalg.solve(own.T @ own + np.diag(ridge) + 1e-12 * np.diag((own**2).sum(0)), own.T)
        left = basis.reshape(500, -1) - project @ basis.reshape(500, -1)
        weight = 1 / (variance[i] + 1e-3 * np.median(variance) + 1e-12)
        matrix += weight * basis.reshape(500, -1).T @ left
        rhs += weight * left.T @ y[:, i]
    np.testing.assert_allclose(found.ravel(), np.linalg.solve(matrix, rhs), rtol=1e-3, atol=1e-5 * np.abs(found).max())


def test_functions_stay_monotone_if_asked(gains: tuple) -> None:
    _, _, shared = gains
    for monotone in (True, False):
        rough = 0.3 * np.random.default_rng(0).normal(size=(3, 6))
        knots = np.tile(np.linspace(-1, 1, 6), (3, 1))
        curves = _Deviations(shared.curve, TYPE, knots, rough, monotone).curves().curves
        assert all(np.all(np.diff(c.values) >= -1e-12) for c in curves) is monotone


def test_messages_are_those_of_the_neurons_group() -> None:
    curves = [PiecewiseLinear(np.array([0.0, 1.0]), np.array([0.0, slope])) for slope in (1.0, 2.0, 3.0)]
    voltage = np.random.default_rng(0).normal(size=(5, 7))
    group = np.array([2, 0, 1, 1, 0, 2, 0])
    np.testing.assert_allclose(GroupCurves(group, curves)(voltage), voltage * (group + 1), rtol=1e-12)


@pytest.mark.parametrize(("variant", "sharing"), [("gain", "type"), ("gain", "neuron"), ("standard", "neuron")])
def test_training_keeps_them_only_where_they_predict_better(tmp_path: Path, variant: str, sharing: str) -> None:
    kind, target = ("tanh", "drift") if variant == "gain" else ("relu", "observed")
    recording, _ = recorded(variant, kind, n_frames=2500)
    values = {"spline.sharing": sharing, "training.target": target, "spline.n_rounds": 9, "recovery.n_cell_types": 12}
    config = ExperimentConfig().with_values(values)
    fit = train_spline(recording, config, tmp_path)
    again = load_spline(tmp_path)
    facts = sharing_facts(tmp_path)["sharing"]
    assert facts["asked"] == sharing
    assert facts["kept"] is (variant == "gain"), facts
    assert (again.own is not None) is facts["kept"]
    better = facts["held_out_log_error_own"] < facts["held_out_log_error_shared"]
    assert better or not facts["kept"]
    if fit.own is not None:
        voltage = recording["test"].voltage(0, 20)
        np.testing.assert_array_equal(again.own.curves(voltage), fit.own.curves(voltage))
        estimates = recover_spline(recording, again, "drift", config.recovery, sharing_facts(tmp_path))
        assert estimates.curve_message.shape == (1025, 65)
        assert estimates.notes["sharing"]["kept"]
        json.dumps(estimates.notes)
        (tmp_path / "own_curves.npz").write_bytes(b"short")
        with pytest.raises(StoreError, match="truncated or foreign"):
            load_spline(tmp_path)


def test_one_function_for_all_is_the_default(tmp_path: Path) -> None:
    recording, _ = recorded(n_frames=300)
    train_spline(recording, ExperimentConfig().with_values({"spline.n_rounds": 2}), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circuit.npz", "curve.npz", "history.csv", "rounds.npy"]
    assert sharing_facts(tmp_path) == {}
