"""The equations of signal networks against loops in double precision, scipy, and what follows from them by hand."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from tests.support.signal_equations import right_hand_side

import lobula
from lobula.errors import ConfigError
from lobula.simulation import SIGNAL_MODELS, SignalCircuit, steady_state

NOTHING = np.zeros(0, dtype=np.float32)
# no two types alike in any parameter, and none at a value that hides a term
TABLES = {
    "N2": [[3, 0.7, 1.1], [2, 1.5, 0.6], [4, 0.4, 1.7]],
    "N4": [[1.1, 0.3, 3, 0.7, 1.3, -0.4], [0.6, -0.8, 2, 1.5, 0.7, 0.9], [1.7, 0.5, 4, 0.4, 2.1, 0.2]],
    "N6": [[3, 0.7, 1.1, 5, 0.3], [2, 1.5, 0.6, 2, 0.8], [4, 0.4, 1.7, 9, 0.1]],
    "N7": [[3, 0.7, 1.1, 1.6, 5, 0.3], [2, 1.5, 0.6, 0.8, 2, 0.8], [4, 0.4, 1.7, 2.3, 9, 0.1]],
    "N11": [[3, 1.1], [2, 0.6], [4, 1.7]],
}
TABLES |= {"N3": TABLES["N2"], "N5": TABLES["N4"]}
FUNCTIONS = {"N11": ["tanh", "sigmoid", "saturating"]}


def network(model: str, n: int = 11, fill: float = 0.6, **options) -> lobula.Connectome:
    options = {"parameters": TABLES[model], "message_functions": FUNCTIONS.get(model), "seed": 3} | options
    return lobula.signal_network(n, fill=fill, model=model, drift_period=7.0, **options)


def states(circuit: SignalCircuit, n_trials: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States (G, S), with plasticities within 0 and 1 and frames apart, and an input (G, N)."""
    rng, n = np.random.default_rng(1), circuit.n_neurons
    u, e = (2 * rng.standard_normal((n_trials, n)).astype(np.float32) for _ in range(2))
    state = circuit.full_state(u, 37 * np.arange(n_trials))
    state[:, n : n + circuit.n_plastic] = rng.random((n_trials, circuit.n_plastic))
    return state, u, e


@pytest.mark.parametrize("fill", [0.05, 0.6, 1.0])  # a sparse and a dense matrix
@pytest.mark.parametrize("model", SIGNAL_MODELS)
def test_right_hand_side(model, fill):
    n = 30 if fill == 0.05 else 11
    c = network(model, n, fill)
    circuit = SignalCircuit(c, dt=0.02)
    state, u, e = states(circuit)
    together = circuit.drift(state, e)
    for trial in range(len(state)):
        p = state[trial, n : 2 * n].astype(float) if circuit.n_plastic else None
        du, dp = right_hand_side(c, u[trial].astype(float), e[trial], p, time=37 * trial * 0.02)
        alone = circuit.drift(state[trial], e[trial])
        for rate in (together[trial], alone):
            np.testing.assert_allclose(rate[:n], du, rtol=2e-5, atol=2e-5)
            if circuit.n_plastic:
                np.testing.assert_allclose(rate[n : 2 * n], dp, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("model", SIGNAL_MODELS)
def test_neurons_in_another_order_do_the_same(model):
    c = network(model)
    perm = np.random.default_rng(0).permutation(c.n_neurons)
    v0 = np.random.default_rng(1).standard_normal(c.n_neurons)
    straight, relabelled = lobula.integrate(c, 50, v0=v0), lobula.integrate(c.relabel(perm), 50, v0=v0[perm])
    np.testing.assert_allclose(relabelled, straight[:, perm], atol=2e-4)
    np.testing.assert_array_equal(np.sort(c.relabel(perm).effective_weight), np.sort(c.effective_weight))


@pytest.mark.parametrize("model", ["N2", "N4", "N11"])
def test_small_steps_follow_an_adaptive_solver(model):
    c, v0 = network(model), np.linspace(-2, 2, 11)
    e = np.linspace(0, 1, 11)
    exact = solve_ivp(lambda t, u: right_hand_side(c, u, e)[0], (0, 1), v0, rtol=1e-8, atol=1e-8).y[:, -1]

    def error(dt: float) -> float:
        steps = round(1 / dt)
        return np.abs(lobula.integrate(c, np.tile(e, (steps, 1)), v0=v0, dt=dt)[-1] - exact).max()

    assert error(0.001) < 0.02
    assert error(0.004) / error(0.002) == pytest.approx(2, rel=0.1)  # first order


def test_a_lone_neuron_decays_exponentially():
    c = lobula.signal_network(4, parameters=[[0, 0, 2], [0, 0, 0.5]])
    np.testing.assert_allclose(c.tau, [0.5, 0.5, 2, 2])
    v = lobula.integrate(c, 400, v0=np.ones(4), dt=0.005)
    np.testing.assert_allclose(v[-1], np.exp(-2.0 / c.tau), rtol=0.02)


def test_n4_without_thresholds_is_n2():
    n2 = network("N2")
    same = [[c, 0, g, s, 1, 0] for g, s, c in TABLES["N2"]]
    n4 = network("N4", parameters=same)
    v0 = np.linspace(-2, 2, 11)
    np.testing.assert_array_equal(lobula.integrate(n4, 80, v0=v0), lobula.integrate(n2, 80, v0=v0))
    np.testing.assert_array_equal(n4.effective_weight, n2.effective_weight)


def test_n5_with_one_width_differs_from_n4_by_its_extra_term():
    wide = [[a, b, g, s, 1.7, h] for a, b, g, s, _, h in TABLES["N4"]]
    n4, n5 = network("N4", parameters=wide), network("N5", parameters=wide)
    u = np.linspace(-2, 2, 11).astype(np.float32)
    extra = SignalCircuit(n5).drift(u, NOTHING) - SignalCircuit(n4).drift(u, NOTHING)
    matrix = n4.wiring.csr(n4.effective_weight).toarray()
    np.testing.assert_allclose(extra, -matrix @ u * np.log(1.7) / 50, atol=2e-6)
    assert np.abs(extra).max() > 1e-3


def test_plasticity_settles_where_recovery_meets_use():
    c = network("N6", parameters=[[0, 0, 1e-9, 2, 0.5], [0, 0, 1e-9, 1, 0.2]])  # voltages stay as they are
    circuit, u = SignalCircuit(c, dt=0.05), np.linspace(-3, 3, 11).astype(np.float32)
    state = circuit.full_state(u)
    np.testing.assert_array_equal(state[11:], 1)
    for _ in range(1_000):
        state = circuit.step(state, NOTHING)
    tau, alpha = c.equation.column("tau")[c.cell_type], c.equation.column("alpha")[c.cell_type]
    np.testing.assert_allclose(state[11:], 1 / (1 + alpha * tau * np.abs(u)), rtol=1e-5)


def test_parameters_drift_to_the_next_type_and_back():
    c = network("N3")
    circuit, n2 = SignalCircuit(c, dt=0.01), SignalCircuit(network("N2"), dt=0.01)
    u = np.linspace(-2, 2, 11).astype(np.float32)

    def drift(time: float) -> np.ndarray:
        return circuit.drift(circuit.full_state(u, round(time / 0.01)), NOTHING)[:11]

    np.testing.assert_array_equal(drift(0.0), n2.drift(u, NOTHING))
    np.testing.assert_allclose(drift(7.0), drift(0.0), atol=1e-5)
    np.testing.assert_allclose(drift(1.0), drift(6.0), atol=1e-5)
    turned = SignalCircuit(network("N2", parameters=[*TABLES["N2"][1:], TABLES["N2"][0]]))
    np.testing.assert_allclose(drift(3.5), turned.drift(u, NOTHING), atol=1e-5)


def test_a_clock_counts_frames_without_rounding():
    circuit = SignalCircuit(network("N3"), dt=0.01)
    state = circuit.full_state(np.zeros(11, dtype=np.float32), 10_000_000)
    for _ in range(50):
        state = circuit.step(state, NOTHING)
    assert state[-1] == 10_000_050


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "N1"}, r"signal\.model: got 'N1', expected one of N2, N3"),
        ({"parameters": [[1, 2], [1, 2, 3]]}, r"expected 3 per cell type of N2: g, s, c"),
        ({"parameters": [[1, 2, 0]]}, "expected finite numbers, and c > 0"),
        ({"parameters": [[np.nan, 2, 1]]}, "expected finite numbers"),
        ({"parameters": []}, "expected 3 per cell type"),
        ({"activation": "sinus"}, "activation: got 'sinus'"),
        ({"message_functions": ["tanh"] * 4}, "expected null for model N2"),
        ({"model": "N11", "message_functions": ["tanh"]}, "got 1, expected one per cell type, 4"),
        ({"drift_period": 0}, "drift_period: got 0"),
        ({"n_neurons": 1}, r"signal\.n_neurons: got 1"),
        ({"fill": 0}, r"signal\.fill: got 0"),
        ({"connectivity": "cauchy"}, r"signal\.connectivity: got 'cauchy'"),
        ({"connectivity": "file"}, r"connectivity_file: got none"),
        ({"connectivity": "low_rank", "rank": 11}, r"signal\.rank: got 11"),
        ({"dale_law": True, "dale_factor": 2}, r"dale_factor: got 2"),
        ({"n_driven": 11}, r"n_driven: got 11"),
    ],
)
def test_what_makes_no_network_is_one_clear_line(options, message):
    with pytest.raises(ConfigError, match=message):
        lobula.signal_network(**({"n_neurons": 10} | options))


def test_integrate_takes_no_settings_of_the_graded_circuit():
    with pytest.raises(ConfigError, match="settings of a graded circuit"):
        lobula.integrate(network("N2"), 5, activation="tanh")
    with pytest.raises(ConfigError, match="a graded circuit, expected a signal network"):
        SignalCircuit(lobula.optic_lobe(0))
    with pytest.raises(ConfigError, match="a signal network, expected a graded circuit"):
        steady_state(network("N2"))
