"""Densely connected circuits: the same numbers as neuron by neuron, and signal networks recovered from activity."""

import numpy as np
import pytest
from tests.support.planted import DT as PLANTED_DT
from tests.support.planted import planted_circuit
from tests.support.signal_recordings import network, recorded

from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError
from lobula.kernels import get_activation
from lobula.metrics import cluster_scores, line_fit
from lobula.recovery import recover_circuit
from lobula.recovery.dynamic_types import find_dynamic_types, own_rates, with_levels
from lobula.recovery.gauge import sample_voltage
from lobula.regression import LinearCircuit, accumulate, dense, fit_circuit, fit_spline, gram, ridge, solve
from lobula.regression.curve import PiecewiseLinear, SmoothCurve
from lobula.regression.curve_step import hat_grams
from lobula.regression.dense_curve import basis_grams
from lobula.regression.edge_messages import EdgeMessages, GroupMessages
from lobula.regression.gram import NeuronGrams
from lobula.regression.held_out import circuit_predictor
from lobula.regression.own_terms import NoTerms, OwnTerms, SplineTerms, TanhTerm
from lobula.regression.pair_grams import PairGrams
from lobula.regression.ridge import Recount
from lobula.regression.update_form import prepare
from lobula.scoring import in_gauge, score_ceiling
from lobula.training.closed_form import train_spline

NUMBERS = ("theta", "k", "c", "theta_stderr", "weight_stderr", "resolution", "residual_std", "k_stderr", "own_gain")
relu = get_activation("relu")
SIGNAL = {
    "update.form": "self_coupling",
    "update.weights": "absolute",
    "recovery.types_from": "dynamics",
    "training.target": "drift",
}


def all_pairs(n: int, loops: bool) -> Wiring:
    post, pre = np.nonzero(np.ones((n, n)) if loops else ~np.eye(n, dtype=bool))
    return Wiring.from_edges(np.stack([pre, post]), n)


def noisy(n_frames: int = 1500, n: int = 40) -> Recording:
    """A planted circuit whose graph is not known: all pairs are fitted."""
    planted = planted_circuit(n=n, n_frames=n_frames)
    drift = planted.drift + np.random.default_rng(1).normal(0, 0.5, planted.drift.shape).astype("f4")
    return Recording.from_arrays(planted.voltage, all_pairs(n, False), PLANTED_DT, drift=drift)


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("terms", ["none", "tanh", "spline"])
def test_all_neurons_at_once_get_the_same_numbers_as_one_by_one(
    loops: bool, terms: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = noisy()["train"]
    wiring = all_pairs(40, loops)
    v = split.voltage(0, 1000).astype(float)
    own: OwnTerms = {"none": NoTerms(), "tanh": TanhTerm(), "spline": SplineTerms.of(v, 6)}[terms]
    grams = accumulate(split, wiring, relu, "drift", own=own)
    assert isinstance(grams.grams, PairGrams)
    monkeypatch.setattr(dense, "SOLVED_AT_ONCE", 7)
    at_once = solve(grams, wiring)
    monkeypatch.setattr(ridge, "is_dense", lambda *_: False)
    monkeypatch.setattr(gram, "pairs_are_cheaper", lambda *_: False)
    one_by_one = solve(accumulate(split, wiring, relu, "drift", own=own), wiring)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(at_once, name), getattr(one_by_one, name), rtol=1e-5, atol=1e-8)


def test_messages_that_never_vary_determine_nothing() -> None:
    recording = Recording.from_arrays(40 + noisy()["train"].voltage(), all_pairs(40, False), PLANTED_DT)
    circuit = fit_circuit(recording["train"], recording.wiring, np.tanh)
    assert (circuit.theta == 0).all()
    assert (circuit.resolution == 0).all()
    assert np.isinf(circuit.theta_stderr).all()


def test_equations_too_large_to_keep_get_the_same_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    split = noisy()["train"]
    planted = planted_circuit(n=40)
    grams = accumulate(split, planted.wiring, np.tanh, "drift")
    kept = solve(grams, planted.wiring, ratio=1e-4)
    monkeypatch.setattr(ridge, "MOST_KEPT", 0)
    dropped = solve(grams, planted.wiring, ratio=1e-4)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(dropped, name), getattr(kept, name), rtol=1e-6, atol=1e-9)
    by_evidence = solve(grams, planted.wiring)
    assert len(np.unique(by_evidence.regularisation)) == 1


def test_products_of_the_basis_are_the_same_either_way() -> None:
    recording = noisy(600, 20)
    wiring, own = recording.wiring, TanhTerm()
    curve = PiecewiseLinear(np.linspace(-1.5, 2.0, 7), np.tanh(np.linspace(-1.5, 2.0, 7)))
    theta = np.random.default_rng(0).standard_normal(wiring.n_edges)
    by_products = basis_grams(recording["train"], wiring, curve, theta, "drift", 600, own)
    by_histograms = hat_grams(recording["train"], wiring, curve, theta, "drift", 600, own)
    for first, second in zip(by_products, by_histograms, strict=True):  # the first looks up the nearest grid point
        np.testing.assert_allclose(first, second, rtol=0, atol=2e-5 * np.abs(second).max())


def test_spline_terms_are_any_smooth_function_without_straight_lines() -> None:
    v = np.random.default_rng(0).uniform(-3, 4, (2000, 2))
    terms = SplineTerms.of(v, 12)
    columns = np.concatenate([terms(v.T)[:, 0], v.T[:1], np.ones((1, 2000))])
    assert np.linalg.matrix_rank(columns) == len(columns)
    wanted = np.tanh(v[:, 0]) - 0.3 * v[:, 0]
    left = wanted - columns.T @ np.linalg.lstsq(columns.T, wanted, rcond=None)[0]
    assert np.abs(left).max() < 0.02
    outside = terms(np.array([[10.0, 11.0, 12.0]] * 2))
    np.testing.assert_allclose(np.diff(outside, 2, axis=2), 0.0, atol=1e-9)


def test_a_smooth_curve_repeats_a_smooth_function() -> None:
    knots = np.linspace(-4, 4, 33)
    smooth, linear = SmoothCurve(knots, np.tanh(knots)), PiecewiseLinear(knots, np.tanh(knots))
    v = np.linspace(-4, 4, 1001)
    assert np.abs(smooth(v) - np.tanh(v)).max() < 0.1 * np.abs(linear(v) - np.tanh(v)).max()
    np.testing.assert_allclose(smooth.as_linear()(v), smooth(v), atol=1e-9)
    beyond = smooth(np.array([5.0, 6.0, 7.0]))
    assert abs(np.diff(beyond, 2)[0]) < 1e-9


@pytest.mark.parametrize("fill", [1.0, 0.5])
@pytest.mark.parametrize("form", ["self_coupling", "tanh"])
def test_ridge_recovers_a_signal_network(fill: float, form: str) -> None:
    recording, truth = recorded(network(100, fill, seed=1))
    config = ExperimentConfig().with_values({**SIGNAL, "update.form": form})
    estimates = fitted(recording, config, np.tanh)
    stated = in_gauge(truth, recording, config.update)
    slope, r2 = line_fit(stated.connectome.weight, estimates.edges["weight"].to_numpy())
    assert r2 > 0.999
    assert slope == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(estimates.neurons["tau"], truth.connectome.tau, rtol=1e-2)
    types = cluster_scores(truth.connectome.cell_type, estimates.neurons["cluster"].to_numpy())
    assert types["accuracy"] == 1.0
    ceiling = score_ceiling(recording, stated, config, None)
    assert ceiling.scores["W"]["r2"] > 0.999
    np.testing.assert_allclose(
        estimates.drift(recording["test"].voltage(0, 50)), recording["test"].target("drift", 0, 50), atol=0.05
    )


def fitted(recording: Recording, config: ExperimentConfig, message) -> Estimates:
    frames = recording["train"]
    form = prepare(config.update.form, frames, recording.wiring, "drift")
    circuit = form.finish(fit_circuit(frames, form.wiring, message, "drift", own=form.own), message)
    return recover_circuit(recording, circuit, message, "ridge", "drift", config.recovery, update=config.update)


def test_the_transposed_graph_is_not_the_graph() -> None:
    circuit = network(fill=0.5)
    turned = Wiring.from_edges(circuit.wiring.edge_index[::-1], circuit.n_neurons)
    recording, _ = recorded(circuit, wiring=turned)
    config = ExperimentConfig().with_values(SIGNAL)
    estimates = fitted(recording, config, np.tanh)
    true = np.zeros((60, 60))
    true[circuit.wiring.post, circuit.wiring.pre] = circuit.effective_weight
    assert line_fit(true[turned.post, turned.pre], estimates.edges["weight"].to_numpy())[1] < 0.8


def test_without_the_self_term_weights_are_wrong() -> None:
    recording, truth = recorded(network(seed=1))
    config = ExperimentConfig().with_values({**SIGNAL, "update.form": "linear"})
    with_term = ExperimentConfig().with_values(SIGNAL)
    r2 = [
        line_fit(truth.connectome.effective_weight, fitted(recording, c, np.tanh).edges["weight"].to_numpy())[1]
        for c in (config, with_term)
    ]
    assert r2[0] < 0.99 < 0.9999 < r2[1]


def test_spline_finds_the_message_function_of_a_signal_network() -> None:
    recording, truth = recorded(network(100, seed=1), noise=0.2)
    config = ExperimentConfig().with_values(SIGNAL)
    frames = recording["train"]
    form = prepare("self_coupling", frames, recording.wiring, "drift")
    rounds = {"n_knots": 24, "n_rounds": 9, "curve_frames": 1500, "curve_neurons": 15}
    fit = fit_spline(frames, form.wiring, "drift", start="best", basis="cubic", **rounds)
    circuit = form.finish(fit.circuit, fit.curve)
    estimates = recover_circuit(
        recording, circuit, fit.curve, "spline", "drift", config.recovery, fit.curve, update=config.update
    )
    stated = in_gauge(truth, recording, config.update)
    slope, r2 = line_fit(stated.connectome.weight, estimates.edges["weight"].to_numpy())
    assert r2 > 0.99
    assert slope == pytest.approx(1.0, abs=0.02)


def test_a_circuit_with_own_curves_survives_a_file(tmp_path) -> None:
    recording, _ = recorded(network(20), n_frames=400)
    form = prepare("tanh", recording["train"], recording.wiring, "drift")
    circuit = form.finish(fit_circuit(recording["train"], form.wiring, np.tanh, "drift", own=form.own), np.tanh)
    circuit.save(tmp_path / "circuit.npz")
    again = LinearCircuit.load(tmp_path / "circuit.npz")
    v = recording["test"].voltage(0, 5)
    np.testing.assert_array_equal(again.own(v), circuit.own(v))
    np.testing.assert_array_equal(again.own_gain, circuit.own_gain)


@pytest.mark.parametrize("n_types", [1, 3, 4])
def test_types_that_differ_in_their_dynamics_are_counted(n_types: int) -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, n_types, 200)
    grid = np.linspace(-2, 2, 15)
    rates = -(1.0 + kind[:, None] % 2) * grid + (kind[:, None] // 2) * np.tanh(grid)
    found = find_dynamic_types(rates + 0.02 * rng.standard_normal(rates.shape))
    assert found.n_types == n_types
    assert cluster_scores(kind, found.gmm)["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("fill", "settings", "reason"),
    [
        (0.5, {"spline.sharing": "type"}, "connections"),
        (1.0, {"spline.sharing": "neuron"}, "update.form"),
        (1.0, {"spline.sharing": "pair", "update.weights": "per_leak"}, "update.weights"),
        (1.0, {"spline.sharing": "type", "update.form": "tanh", "prior.sign": "inferred"}, "prior"),
    ],
)
def test_functions_of_groups_are_refused_where_they_are_not_fitted(
    fill: float, settings: dict, reason: str, tmp_path
) -> None:
    recording, _ = recorded(network(20, fill), n_frames=200)
    config = ExperimentConfig().with_values({**SIGNAL, **settings})
    with pytest.raises(ConfigError, match=rf"spline\.sharing: .*{reason}"):
        train_spline(recording, config, tmp_path)


@pytest.mark.parametrize("model", ["N4", "N5", "N11"])
def test_the_ceiling_is_one_where_messages_depend_on_sender_and_receiver(model: str) -> None:
    recording, truth = recorded(network(60, seed=1, model=model), noise=0.1)
    config = ExperimentConfig().with_values(SIGNAL)
    stated = in_gauge(truth, recording, config.update)
    ceiling = score_ceiling(recording, stated, config, None).scores
    assert ceiling["W"]["identifiable"]["r2"] > 0.9999  # some senders never leave saturation
    assert ceiling["tau"]["r2"] > 0.9999
    assert ceiling["W"]["identifiable"]["slope"] == pytest.approx(1.0, abs=1e-3)


def test_messages_by_group_of_targets_are_those_on_every_edge() -> None:
    recording, truth = recorded(network(24, seed=1, model="N5"), n_frames=600, noise=0.2)
    frames, wiring = recording["train"], recording.wiring
    message = truth.dynamics.message_function()
    assert isinstance(message, GroupMessages)

    def on_edges(source: np.ndarray, target: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        return message(source)[:, message.group[post] * wiring.n_neurons + pre]

    def solved(
        grams: NeuronGrams, wiring: Wiring, *, floor: float = 0.0, recount: Recount | None = None
    ) -> LinearCircuit:
        return solve(grams, wiring, 1e-5, floor, recount=recount)

    by_group, by_edge = (
        fit_circuit(frames, wiring, m, "drift", own=TanhTerm(), solver=solved)
        for m in (message, EdgeMessages(on_edges))
    )
    for name in ("k", "theta", "theta_stderr"):
        np.testing.assert_allclose(getattr(by_group, name), getattr(by_edge, name), rtol=1e-3, atol=1e-3)
    voltage, y = recording["test"].voltage(0, 9), recording["test"].target("drift", 0, 9)
    predicted = circuit_predictor(by_group, message, wiring)(voltage, None) + by_group.own_gain[:, 0] * np.tanh(voltage)
    np.testing.assert_allclose(predicted, y, atol=0.2)


def test_neurons_that_never_meet_are_compared_at_the_same_voltages() -> None:
    """Neurons that stay in one of two stable states are of the type of those that roam between them."""
    rng, n = np.random.default_rng(0), 20
    width, middle = np.where(np.arange(n) < 15, 2.0, 0.3), np.where(np.arange(n) < 15, 0.0, 1.9)
    voltage = (middle + width * rng.uniform(-1, 1, (4000, n))).astype("f4")
    drift = (-voltage + 2.0 * np.tanh(voltage)).astype("f4")
    ring = Wiring.from_edges(np.stack([np.arange(n), (np.arange(n) + 1) % n]), n)
    split = Recording.from_arrays(voltage, ring, PLANTED_DT, drift=drift)["train"]
    form = prepare("tanh", split, ring, "drift")
    circuit = form.finish(fit_circuit(split, form.wiring, np.tanh, "drift", own=form.own), np.tanh)
    rates = own_rates(circuit, voltage)
    np.testing.assert_allclose(rates, np.broadcast_to(rates[:15].mean(0), rates.shape), atol=0.05)


def test_a_level_that_is_not_known_is_that_of_the_likes() -> None:
    rng, grid = np.random.default_rng(0), np.linspace(-2, 2, 15)
    kind = np.arange(80) % 2
    rates = np.where(kind[:, None] == 0, -grid + 1.0, -2.0 * grid - 1.0) + 1e-3 * rng.standard_normal((80, 15))
    shifted, error = rates.copy(), np.zeros(80)
    shifted[:10] += rng.standard_normal((10, 1))
    error[:10] = 1.0
    np.testing.assert_allclose(with_levels(shifted, error), rates, atol=0.01)
    np.testing.assert_allclose(with_levels(shifted, np.zeros(80)), shifted, atol=1e-12)
    np.testing.assert_allclose(with_levels(shifted, np.ones(80)).mean(1), 0.0, atol=1e-12)


def test_inputs_in_saturation_make_no_types() -> None:
    """Constant inputs and a neuron's own offset say the same; many neurons of a small, sparse network have some."""
    recording, truth = recorded(network(150, 0.05, seed=3), n_frames=2000)
    estimates = fitted(recording, ExperimentConfig().with_values(SIGNAL), np.tanh)
    assert cluster_scores(truth.connectome.cell_type, estimates.neurons["cluster"].to_numpy())["accuracy"] > 0.9


def test_a_sender_that_leaves_saturation_in_few_frames_has_the_unit_of_all_frames() -> None:
    recording, truth = recorded(network(20, seed=1), n_frames=2000, noise=0.2)
    frames, n = recording["train"], recording["train"].n_frames
    voltage = np.array(frames.voltage(0, n))
    voltage[:, 0] = 12.0
    voltage[n // 2, 0] = -12.0
    wiring = recording.wiring
    few = Recording.from_arrays(voltage, wiring, PLANTED_DT, drift=np.array(frames.target("drift", 0, n)))
    assert sample_voltage(few["train"])[:, 0].min() > 0
    weight = in_gauge(truth, few, ExperimentConfig().with_values(SIGNAL).update).connectome.weight
    sent = wiring.pre == 0
    np.testing.assert_allclose(weight[sent], truth.connectome.effective_weight[sent], rtol=1e-6)
