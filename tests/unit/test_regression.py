"""Evidence ridge and the spline against plain formulations and planted circuits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.planted import DT, Planted, planted_circuit

from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.kernels import get_activation
from lobula.metrics import line_fit
from lobula.regression import PiecewiseLinear, accumulate, fit_circuit, fit_spline, gram_device, ridge, solve
from lobula.regression.curve import initial_knots, merge_close, refined_knots
from lobula.regression.curve_step import bounded_step, some_targets
from lobula.regression.gram import block_arrays
from lobula.regression.own_terms import TanhTerm
from lobula.regression.shrinkage import LOG_RATIOS, log_evidence, population_ratios
from lobula.regression.tabulate import NeuronCurves, tabulate

relu = get_activation("relu")


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_circuit()


@pytest.fixture(scope="module")
def recording(planted: Planted) -> Recording:
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def test_gram_is_the_plain_product(planted: Planted, recording: Recording) -> None:
    train = recording["train"]
    grams = accumulate(train, planted.wiring, relu, "observed")
    n = train.n_targets("observed")
    v = train.voltage(0, n + 1).astype(float)
    i = 2
    inputs = planted.wiring.pre[planted.wiring.post == i]
    y = (v[1:] - v[:-1])[:, i] / DT
    rows = np.stack([*np.maximum(v[:-1, inputs], 0).T, v[:-1, i], np.ones(n), train.stimulus(0, n)[:, i], y])
    np.testing.assert_allclose(grams.grams[i], rows @ rows.T, rtol=2e-5, atol=1e-3)


def test_ridge_with_fixed_ratio_is_the_textbook_solution(planted: Planted, recording: Recording) -> None:
    grams = accumulate(recording["train"], planted.wiring, relu, "drift")
    ratio = 1e-3
    circuit = solve(grams, planted.wiring, ratio=ratio)
    gram, d = grams.grams[7], 5
    penalty = np.diag([ratio * grams.n_frames] * d + [0.0] * (len(gram) - 1 - d))
    expected = np.linalg.solve(gram[:-1, :-1] + penalty, gram[:-1, -1])
    np.testing.assert_allclose(circuit.theta[planted.wiring.post == 7], expected[:d], rtol=1e-6)
    np.testing.assert_allclose([circuit.k[7], circuit.c[7]], expected[d : d + 2], rtol=1e-6)


def test_evidence_is_the_gaussian_marginal_likelihood() -> None:
    rng = np.random.default_rng(0)
    x, n = rng.standard_normal((200, 3)), 200
    y = x @ [1.0, -0.5, 0.2] + 0.7 * rng.standard_normal(n)
    s, vectors = np.linalg.eigh(x.T @ x)
    z = vectors.T @ x.T @ y
    ratios = np.array([0.01, 0.3, 2.0, 50.0])
    once = np.ones(1)
    evidence, variance = log_evidence(s[None], z[None] ** 2, y @ y * once, n * once, ratios, once)

    def expected(ratio: float) -> tuple[float, float]:
        covariance = np.eye(n) + x @ x.T / ratio
        quadratic = y @ np.linalg.solve(covariance, y)
        return -0.5 * np.linalg.slogdet(covariance)[1] - 0.5 * n * np.log(quadratic), quadratic / n

    np.testing.assert_allclose(np.concatenate([evidence, variance]).T, [expected(r) for r in ratios], rtol=1e-9)


def test_a_source_that_hardly_fires_is_kept_in_check_by_the_population() -> None:
    """By itself, the evidence of one input 1.5 standard errors from 0 makes its weight a thousand times too large."""
    rng = np.random.default_rng(0)
    n, n_neurons = 5000, 60
    s, theta = np.full(n_neurons, float(n)), rng.standard_normal(n_neurons)
    s[0] = n * 1e-7
    z = s * theta + np.sqrt(s) * rng.standard_normal(n_neurons)
    z[0] = 1.5 * np.sqrt(s[0])
    once = np.ones(n_neurons)
    evidence, variance = log_evidence(s[:, None], z[:, None] ** 2, n + z**2 / s, n * once, n * 10.0**LOG_RATIOS, once)
    alone = n * 10.0 ** LOG_RATIOS[evidence.argmax(1)]
    together = n * population_ratios(evidence, variance, n)
    assert abs(z[0] / (s[0] + alone[0])) > 10
    assert abs(z[0] / (s[0] + together[0])) < 0.5
    np.testing.assert_allclose((z / (s + together))[1:], theta[1:], atol=0.1)


def test_drift_is_recovered_exactly(planted: Planted, recording: Recording) -> None:
    circuit = fit_circuit(recording["train"], planted.wiring, relu, "drift")
    np.testing.assert_allclose(circuit.weight(planted.wiring), planted.weight, atol=2e-4)
    np.testing.assert_allclose(circuit.tau, planted.tau, rtol=1e-4)
    np.testing.assert_allclose(circuit.v_rest, planted.v_rest, atol=2e-4)


def test_standard_errors_are_calibrated(planted: Planted, recording: Recording) -> None:
    circuit = fit_circuit(recording["train"], planted.wiring, relu, "observed")
    score = (circuit.weight(planted.wiring) - planted.weight) / circuit.weight_stderr
    assert 0.75 < np.sqrt(np.mean(score**2)) < 1.3


def test_silent_source_is_flagged() -> None:
    planted = planted_circuit(noise=0.05)
    voltage = planted.voltage.copy()
    voltage[:, 3] = -1.0
    recording = Recording.from_arrays(voltage, planted.wiring, DT, planted.stimulus)
    circuit = fit_circuit(recording["train"], planted.wiring, relu)
    silent = planted.wiring.pre == 3
    assert silent.any()
    assert np.all(circuit.resolution[silent] == 0)
    assert np.all(np.isinf(circuit.theta_stderr[silent]))
    assert np.median(circuit.resolution[~silent]) > 0.9


def test_neurons_in_stacks_are_solved_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where some of a stack have a silent input and others none."""
    planted = planted_circuit(noise=0.05)
    voltage, wiring = planted.voltage.copy(), planted.wiring
    voltage[:, 3] = -1.0
    recording = Recording.from_arrays(voltage, wiring, DT, planted.stimulus)
    grams = accumulate(recording["train"], wiring, relu)
    assert len(np.unique(wiring.in_degree)) < wiring.n_neurons  # there are stacks
    stacked = ridge.solve(grams, wiring, ratio=1e-6)
    monkeypatch.setattr(ridge, "MOST_KEPT", 0)
    alone = ridge.solve(grams, wiring, ratio=1e-6)
    for name in ("k", "c", "q", "k_stderr", "c_stderr", "residual_std", "theta", "theta_stderr", "weight_stderr"):
        np.testing.assert_allclose(getattr(stacked, name), getattr(alone, name), rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(stacked.resolution, alone.resolution, atol=1e-8)


def test_a_self_loop_of_a_neuron_that_never_rests_is_flagged_and_spoils_nothing() -> None:
    """relu(v) = v there: the self-loop is exactly confounded with the leak, whatever the noise."""
    rng = np.random.default_rng(0)
    wiring = Wiring.from_edges(np.array([[0, 1, 1], [0, 0, 1]]), 2)
    v, drift = np.empty((3000, 2)), np.empty((3000, 2))
    x = np.array([5.0, 0.0])
    for t in range(3000):
        v[t] = x
        drift[t] = [(-x[0] + 5 + 0.5 * max(x[1], 0)) / 0.1, (-x[1]) / 0.1]
        x = x + DT * drift[t] + 0.2 * rng.standard_normal(2)
    recording = Recording.from_arrays(v.astype("f4"), wiring, DT, None, drift.astype("f4"))
    circuit = fit_circuit(recording["train"], wiring, relu, "drift")
    assert circuit.resolution[0] < 0.5 < circuit.resolution[1]
    assert circuit.tau[0] == pytest.approx(0.1, rel=1e-3)
    assert circuit.weight(wiring)[1] == pytest.approx(0.5, abs=1e-3)


def test_shuffled_time_and_wrong_wiring_fail(planted: Planted, recording: Recording) -> None:
    right = line_fit(planted.weight, fit_circuit(recording["train"], planted.wiring, relu).weight(planted.wiring))[1]
    order = np.random.default_rng(0).permutation(len(planted.voltage))
    shuffled = Recording.from_arrays(planted.voltage[order], planted.wiring, DT, planted.stimulus[order])
    circuit = fit_circuit(shuffled["train"], planted.wiring, relu)
    assert right > 0.9
    assert line_fit(planted.weight, circuit.weight(planted.wiring))[1] < 0.2
    wrong = planted.wiring.relabel(np.roll(np.arange(planted.wiring.n_neurons), 7))
    circuit = fit_circuit(recording["train"], wrong, relu)
    assert line_fit(planted.weight, circuit.weight(wrong))[1] < 0.2


@pytest.mark.parametrize("name", ["relu", "tanh", "softplus"])
def test_spline_finds_weights_without_knowing_the_message_function(name: str) -> None:
    planted = planted_circuit(activation=get_activation(name), n_frames=3000)
    recording = Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)
    fit = fit_spline(recording["train"], planted.wiring, "drift", n_rounds=10)
    slope, r2 = line_fit(planted.weight, fit.circuit.weight(planted.wiring))
    assert r2 > 0.998
    np.testing.assert_allclose(fit.circuit.tau, planted.tau, rtol=0.02)
    if name == "relu":
        assert slope == pytest.approx(1.0, abs=0.02)
        assert fit.curve(np.array([0.0]))[0] == pytest.approx(0.0, abs=1e-9)


def test_knots_are_added_where_a_message_function_is_curved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, what is left of tanh between twice the first knots is most of the residual."""
    planted = planted_circuit(activation=np.tanh, n_frames=3000)
    recording = Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)
    found = fit_spline(recording["train"], planted.wiring, "drift")
    monkeypatch.setattr("lobula.regression.spline.MOST_KNOTS", 0)
    coarse = fit_spline(recording["train"], planted.wiring, "drift")
    assert np.median(found.circuit.residual_std) < 0.5 * np.median(coarse.circuit.residual_std)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_relabelling_neurons_permutes_the_solution(seed: int) -> None:
    planted = planted_circuit(n=12, in_degree=3, n_frames=400)
    order = np.random.default_rng(seed).permutation(12)
    moved = planted.wiring.relabel(order)
    fits = []
    for wiring, voltage in ((planted.wiring, planted.voltage), (moved, planted.voltage[:, order])):
        recording = Recording.from_arrays(voltage, wiring, DT, planted.stimulus)
        fits.append(fit_circuit(recording["train"], wiring, relu))
    np.testing.assert_allclose(fits[1].tau, fits[0].tau[order], rtol=1e-6)
    np.testing.assert_allclose(fits[1].theta, fits[0].theta[moved.edge_order], rtol=1e-5, atol=1e-8)


def test_chunking_is_invisible(planted: Planted, recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = accumulate(recording["train"], planted.wiring, relu)
    monkeypatch.setattr("lobula.regression.gram.BLOCK_FRAMES", 137)
    parts = accumulate(recording["train"], planted.wiring, relu)
    assert whole.n_frames == parts.n_frames
    np.testing.assert_allclose(parts.grams[0], whole.grams[0], rtol=1e-9)


def test_own_terms_of_a_sparse_circuit_never_go_to_a_gpu(
    planted: Planted, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device without memory stands for it; products with own terms are made on the CPU."""
    monkeypatch.setattr("lobula.regression.gram.pairs_are_cheaper", lambda *_: False)
    fits = [
        accumulate(recording["train"], planted.wiring, relu, device=torch.device(name), own=TanhTerm())
        for name in ("cpu", "meta")
    ]
    np.testing.assert_array_equal(fits[0].grams[3], fits[1].grams[3])


def test_curve_is_interpolation() -> None:
    knots = np.array([-1.0, 0.0, 0.5, 2.0])
    curve = PiecewiseLinear(knots, np.array([0.0, 0.0, 0.5, 1.0]))
    v = np.linspace(-1, 2, 50)
    np.testing.assert_allclose(curve(v), np.interp(v, knots, curve.values), atol=1e-12)
    assert curve(np.array([3.5]))[0] == pytest.approx(1.5)
    fine = curve.resampled(refined_knots(curve, 2))
    np.testing.assert_allclose(fine(v), curve(v), atol=1e-12)
    assert len(fine.knots) == 6


def test_knots_are_sorted_and_apart() -> None:
    knots = initial_knots(np.random.default_rng(0).normal(size=10_000), 40)
    assert np.all(np.diff(knots) > 0)
    assert len(merge_close(np.array([0.0, 1e-9, 1.0]))) == 2


def test_bounded_step_keeps_the_curve_monotone() -> None:
    curve = PiecewiseLinear.identity(np.linspace(-1, 1, 9))
    pull = -10.0 * np.arange(9.0)
    step = bounded_step(np.eye(9), pull, [curve], monotone=True)
    assert np.all(np.diff(curve.values + step) >= -1e-9)
    free = bounded_step(np.eye(9), pull, [curve], monotone=False)
    assert np.any(np.diff(curve.values + free) < -1e-3)


def test_some_targets_keeps_whole_equations(planted: Planted) -> None:
    part = some_targets(planted.wiring, 8)
    fed = np.flatnonzero(part.in_degree > 0)
    assert len(fed) == 8
    np.testing.assert_array_equal(part.in_degree[fed], planted.wiring.in_degree[fed])


def test_tabulated_messages_follow_the_function(recording: Recording) -> None:
    visited = recording["train"].visited_range
    table = tabulate(lambda v: np.tanh(v) + 0.1 * v, visited)
    v = recording["train"].voltage(0, 300)
    np.testing.assert_allclose(table(v), np.tanh(v) + 0.1 * v, atol=2e-5)


@pytest.mark.parametrize("kind", ["observed", "drift"])
def test_grams_of_a_device_are_those_of_the_cpu(
    planted: Planted, recording: Recording, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The batched formulation runs on any device of torch; here on the CPU, in several buckets and products."""
    monkeypatch.setattr(gram_device, "WIDTH_STEP", 2)
    monkeypatch.setattr(gram_device, "PRODUCT_BYTES", 100_000)
    split, wiring = recording["train"], planted.wiring
    expected = accumulate(split, wiring, relu, kind)
    grams, n = gram_device.DeviceGrams(wiring, torch.device("cpu")), split.n_targets(kind)
    for low in range(0, n, 700):
        span = slice(low, min(low + 700, n))
        voltage, external, y = block_arrays(split, wiring, kind, span)
        grams.add(relu(voltage), voltage, external, y)
    for own, other in zip(grams.grams(expected.has_stimulus), expected.grams, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-6)


@pytest.mark.gpu
def test_ridge_on_a_gpu_is_ridge(planted: Planted, recording: Recording) -> None:
    arguments = recording["train"], planted.wiring, relu, "drift"
    own, other = fit_circuit(*arguments, device=torch.device("cuda")), fit_circuit(*arguments)
    np.testing.assert_allclose(own.theta, other.theta, rtol=1e-5, atol=1e-7)


def test_tables_of_many_neurons_are_interpolated_and_continued() -> None:
    rng = np.random.default_rng(0)
    n = 3000  # several blocks of frames
    curves = NeuronCurves(
        rng.normal(-2, 0.1, n).astype(np.float32),
        rng.uniform(0.05, 0.1, n).astype(np.float32),
        rng.normal(size=(65, n)).astype(np.float32),
    )
    voltage = rng.normal(0, 2, (100, n)).astype(np.float32)
    found = curves(voltage)
    for i in range(0, n, 250):
        knots = curves.low[i] + curves.step[i] * np.arange(65)
        expected = PiecewiseLinear(knots.astype(np.float64), curves.table[:, i].astype(np.float64))(voltage[:, i])
        np.testing.assert_allclose(found[:, i], expected, rtol=2e-3, atol=2e-3)
    assert found.dtype == curves(voltage.astype(np.float64)).dtype == np.float32
    np.testing.assert_allclose(curves(voltage.astype(np.float64)), found, rtol=2e-3, atol=2e-3)
    assert curves(voltage[:0]).shape == (0, n)
