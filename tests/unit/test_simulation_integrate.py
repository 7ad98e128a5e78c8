"""The integrator against mathematics, a plain double-precision loop and flyvis itself."""

import numpy as np
import pytest

from lobula.connectome import Connectome, Wiring, optic_lobe
from lobula.errors import ConfigError, DivergedError, NonFiniteError, ShapeError
from lobula.simulation import ACTIVATIONS, integrate, make_dynamics, steady_state

PLAIN = {
    "relu": lambda v: max(v, 0.0),
    "softplus": lambda v: np.log1p(np.exp(v)),
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "saturating": lambda v: max(v, 0.0) / (1 + max(v, 0.0)),
    "squared": lambda v: max(v, 0.0) ** 2 if v < 1 else 2 * v - 1,
}


def circuit(n: int = 12, n_edges: int = 40, n_columns: int = 3, seed: int = 0, scale: float = 0.3) -> Connectome:
    """A random circuit without symmetry; the first neurons see the columns."""
    generator = np.random.default_rng(seed)
    flat = generator.choice(n * n, n_edges, replace=False)
    column = np.where(np.arange(n) < 2 * n_columns, np.arange(n) % max(n_columns, 1), -1)
    wiring = Wiring.from_edges(np.stack([flat // n, flat % n]), n, column, n_columns=n_columns)
    weight = generator.normal(0, scale, n_edges)
    return Connectome(
        wiring=wiring,
        weight=weight,
        tau=generator.uniform(0.02, 0.3, n),
        v_rest=generator.normal(0.5, 0.3, n),
        cell_type=np.arange(n) % 4,
        cell_type_names=("A", "B", "C", "D"),
        u=np.zeros(n, dtype=np.int64),
        v=np.zeros(n, dtype=np.int64),
        n_syn=np.ones(n_edges),
        sign=np.sign(weight),
        columns=np.zeros((n_columns, 2), dtype=np.int64),
    )


def dense_loop(c, stimulus, v0, dt, floor, g, coupling=0.0):
    """Euler in float64 with a dense matrix filled edge by edge."""
    n = c.n_neurons
    matrix = np.zeros((n, n))
    for (pre, post), w in zip(c.wiring.edge_index.T, c.weight, strict=True):
        matrix[post, pre] = w
    v, states = np.array(v0, dtype=np.float64), []
    for frame in stimulus:
        following = np.empty(n)
        for i in range(n):
            message = sum(matrix[i, j] * g(v[j]) for j in range(n))
            column = c.wiring.stimulus_column[i]
            outside = frame[column] if column >= 0 else 0.0
            tau = max(c.tau[i], dt) if floor == "dt" else c.tau[i]
            following[i] = v[i] + dt / tau * (-v[i] + c.v_rest[i] + message + outside + coupling * np.tanh(v[i]))
        v = following
        states.append(v)
    return np.array(states)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_euler_map(activation):
    c, generator = circuit(), np.random.default_rng(1)
    stimulus, v0 = generator.random((30, 3)), generator.normal(0.3, 0.6, 12)
    expected = dense_loop(c, stimulus, v0, 0.02, "none", PLAIN[activation])
    np.testing.assert_allclose(integrate(c, stimulus, v0=v0, activation=activation), expected, atol=2e-5)


@pytest.mark.parametrize("floor", ["none", "dt"])
def test_both_conventions_of_the_time_constant(floor):
    c, generator = circuit(), np.random.default_rng(1)
    stimulus, v0 = generator.random((30, 3)), generator.normal(0.3, 0.6, 12)
    expected = dense_loop(c, stimulus, v0, 0.03, floor, PLAIN["relu"])
    np.testing.assert_allclose(integrate(c, stimulus, v0=v0, dt=0.03, tau_floor=floor), expected, atol=2e-5)
    assert (c.tau < 0.03).any()


def test_variant_tanh_and_no_messages():
    c, stimulus, v0 = circuit(), np.random.default_rng(1).random((30, 3)), np.linspace(-1, 1, 12)
    expected = dense_loop(c, stimulus, v0, 0.02, "none", PLAIN["relu"], coupling=0.5)
    np.testing.assert_allclose(integrate(c, stimulus, v0=v0, variant="tanh"), expected, atol=2e-5)
    silent = dense_loop(c, stimulus, v0, 0.02, "none", lambda v: 0.0)
    np.testing.assert_allclose(integrate(c, stimulus, v0=v0, variant="no_messages"), silent, atol=2e-5)


def test_variant_gain_equals_relu_with_scaled_weights():
    c, stimulus, v0 = circuit(), np.random.default_rng(1).random((30, 3)), np.linspace(-1, 1, 12)
    gain = make_dynamics(c, variant="gain", seed=3).gain
    assert all(np.ptp(gain[c.cell_type == k]) == 0 for k in range(4))
    assert np.unique(gain).size == 4
    scaled = c.with_weight(c.weight * gain[c.wiring.pre])  # relu(g v) = g relu(v)
    got = integrate(c, stimulus, v0=v0, variant="gain", seed=3)
    np.testing.assert_allclose(got, integrate(scaled, stimulus, v0=v0), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_scale_of_the_message_function_is_a_unit_of_voltage(activation):
    c, generator, scale = circuit(), np.random.default_rng(1), 0.25
    stimulus, v0 = generator.random((30, 3)), generator.normal(0.3, 0.6, 12)
    rescaled = Connectome(**{**vars(c), "v_rest": c.v_rest / scale})
    expected = scale * integrate(rescaled, stimulus / scale, v0=v0 / scale, activation=activation)
    got = integrate(c, stimulus, v0=v0, activation=activation, activation_scale=scale)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    other = integrate(c, stimulus, v0=v0, activation=activation)
    assert np.allclose(got, other, atol=2e-5) == (activation == "relu")


def test_what_is_sent_at_rest_counts_in_the_unit_of_the_message_function():
    dynamics = make_dynamics(circuit(), "softplus", "gain", activation_scale=0.5)
    at_rest = dynamics.message_function()(np.zeros(12))
    np.testing.assert_allclose(at_rest, 0.5 * np.log(2))
    assert dynamics.message_at_rest == pytest.approx(at_rest[0])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_that_is_not_positive_is_an_error(scale):
    with pytest.raises(ConfigError, match=r"activation_scale: got .* expected a number > 0"):
        make_dynamics(circuit(), activation_scale=scale)


@pytest.mark.parametrize("tau", [0.05, 0.4])
def test_a_lone_neuron_decays_exponentially_with_first_order_error(tau):
    c = circuit(1, 0, 0)
    c = Connectome(**{**vars(c), "tau": np.array([tau]), "v_rest": np.array([0.2])})
    errors = []
    for dt in (tau / 50, tau / 100):
        n = round(tau / dt)
        v = integrate(c, np.zeros((n, 1)), v0=np.array([1.0]), dt=dt)
        time = dt * np.arange(1, n + 1)
        errors.append(np.abs(v[:, 0] - (0.2 + 0.8 * np.exp(-time / tau))).max())
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)


def test_relabelling_neurons_permutes_the_outputs():
    c, stimulus = optic_lobe(1), np.random.default_rng(2).random((40, 7))
    perm = np.random.default_rng(3).permutation(c.n_neurons)
    np.testing.assert_allclose(integrate(c.relabel(perm), stimulus), integrate(c, stimulus)[:, perm], atol=2e-5)


def test_stimulus_per_neuron_equals_stimulus_per_column():
    c, stimulus = circuit(), np.random.default_rng(1).random((30, 3)).astype(np.float32)
    np.testing.assert_allclose(integrate(c, c.wiring.spread(stimulus)), integrate(c, stimulus), atol=1e-6)


def test_process_noise_is_per_step_and_seeded():
    c, stimulus = circuit(scale=0.0), np.full((4_000, 3), 0.5)
    noisy = [integrate(c, stimulus, process_noise=0.1, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(noisy[0], noisy[1])
    assert not np.array_equal(noisy[0], noisy[2])
    kept = 1 - 0.02 / c.tau  # an AR(1) process: the variance is sigma^2 / (1 - kept^2), without a square root of dt
    np.testing.assert_allclose(noisy[0].std(axis=0), 0.1 / np.sqrt(1 - kept**2), rtol=0.15)


def test_steady_state_is_steady():
    c = optic_lobe(2)
    state = steady_state(c)
    grey = np.full((50, 19), 0.5)
    assert np.abs(integrate(c, grey, v0=state) - state).max() < 1e-4
    assert np.abs(integrate(c, grey) - state).max() < 1e-4  # the default initial state


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_calibrated_circuit_stays_bounded(activation):
    c = optic_lobe(2)
    stimulus = np.random.default_rng(0).random((600, 19))
    noisy = integrate(c, stimulus, process_noise=0.5, activation=activation)
    assert np.abs(noisy).max() < 30


def test_flyvis_trace(shared_data):
    trace = np.load(shared_data("flyvis_trace.npz"))
    c = optic_lobe(8, shared_data("flyvis_model_000.npz"))
    voltage = integrate(c, trace["stimulus"], v0=trace["v0"], dt=float(trace["dt"]), tau_floor="dt")
    assert np.abs(voltage - trace["voltage"]).max() < 1e-4


def test_blow_up_is_named():
    c = circuit()
    with pytest.raises(DivergedError, match="frame"):
        integrate(c.with_weight(np.full(c.n_edges, 1e4)), np.ones((200, 3)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dt": 0.0}, ConfigError, "dt"),
        ({"dt": float("nan")}, ConfigError, "dt"),
        ({"tau_floor": "tau"}, ConfigError, "tau_floor"),
        ({"variant": "cubic"}, ConfigError, "variant"),
        ({"activation": "cubic"}, ConfigError, "activation"),
        ({"process_noise": -1.0}, ConfigError, "process_noise"),
        ({"stimulus": np.zeros((5, 4))}, ShapeError, r"\(T, 3\) or \(T, 12\)"),
        ({"stimulus": np.zeros(3)}, ShapeError, "stimulus"),
        ({"stimulus": np.full((5, 3), np.nan)}, NonFiniteError, "stimulus"),
        ({"v0": np.zeros(11)}, ShapeError, r"v0: got shape \(11,\)"),
        ({"v0": np.full(12, np.inf)}, NonFiniteError, "v0"),
    ],
)
def test_bad_arguments_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        integrate(circuit(), **{"stimulus": np.zeros((5, 3)), **change})
