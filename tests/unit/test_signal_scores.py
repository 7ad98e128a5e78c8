"""Scores of signal networks: an unknown graph, Lyapunov exponents and horizons, spectra."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score
from tests.support.signal_recordings import DT, network, recorded

import lobula
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, ShapeError
from lobula.metrics import support_scores, valid_time
from lobula.recovery.support import present_edges, z_scores
from lobula.scoring import circuit_facts, on_graph
from lobula.simulation.lyapunov import lyapunov_exponent
from lobula.training.candidates import with_candidates

UNKNOWN = {
    "update.graph": "all_pairs",
    "update.form": "self_coupling",
    "update.weights": "absolute",
    "recovery.types_from": "dynamics",
    "ridge.activation": "tanh",
}
SPLINE = {"spline.start": "best", "spline.basis": "cubic", "spline.n_rounds": 12, "spline.curve_neurons": 20}


def tangent_exponent(circuit: lobula.Connectome, start: np.ndarray, n_steps: int) -> float:
    """The same from products of Jacobians in double precision."""
    n, (g, s, c) = circuit.n_neurons, circuit.equation.table[circuit.cell_type].T
    matrix = np.zeros((n, n))
    matrix[circuit.wiring.post, circuit.wiring.pre] = circuit.weight
    u, delta, logs = start.astype(float), np.random.default_rng(0).standard_normal(n), []
    for _ in range(n_steps):
        slope = 1.0 / np.cosh(u) ** 2
        delta = delta + DT * (-c * delta + s * slope * delta + g * (matrix @ (slope * delta)))
        u = u + DT * (-c * u + s * np.tanh(u) + g * (matrix @ np.tanh(u)))
        logs.append(np.log(np.linalg.norm(delta)))
        delta /= np.linalg.norm(delta)
    return float(np.mean(logs[n_steps // 5 :]) / DT)


def test_the_exponent_of_a_network_without_messages_is_that_of_its_leak() -> None:
    circuit = network(12, parameters=[[1e-9, 1.0, 2.0]])
    assert lyapunov_exponent(circuit, np.zeros((2, 12)), DT) == pytest.approx(np.log(1 - DT) / DT, rel=1e-3)


def test_the_exponent_of_a_chaotic_network_is_that_of_its_tangent_map() -> None:
    circuit = network(120, connectivity="gaussian", parameters=[[8.0, 0.0, 1.0]])
    voltage = recorded(circuit, 600)[0]["train"].voltage(0, 480)
    found = lyapunov_exponent(circuit, voltage[[0, 160, 320]], DT, 4000)
    expected = np.mean([tangent_exponent(circuit, voltage[k], 4000) for k in (0, 160, 320)])
    assert expected > 0.3
    assert found == pytest.approx(expected, rel=0.15)


def test_valid_time_is_when_half_of_the_spread_is_passed() -> None:
    true = np.random.default_rng(0).standard_normal((3, 50, 40))
    spread = true.std()
    predicted = true.copy()
    predicted[0, 10:] += spread
    predicted[1, 20:] += spread
    assert valid_time(true, predicted, 0.1) == (pytest.approx(2.0), pytest.approx(1 / 3))
    assert valid_time(true, true, 0.1) == (pytest.approx(5.0), 1.0)


def test_support_scores_agree_with_another_implementation() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(500) < 0.2
    strength = np.round(true + rng.standard_normal(500), 1)  # with ties
    found = support_scores(true, strength, strength > 1)
    assert found["auc"] == pytest.approx(roc_auc_score(true, strength))
    assert found["f1"] == pytest.approx(f1_score(true, strength > 1))
    assert np.isnan(support_scores(true | True, strength, strength > 1)["auc"])


def test_few_of_the_connections_called_present_are_chance() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(20_000) < 0.2
    stderr = rng.uniform(0.1, 1.0, 20_000)
    weight = np.where(true, rng.choice([-8.0, 8.0], 20_000) * stderr, 0.0) + stderr * rng.standard_normal(20_000)
    present = present_edges(z_scores(weight, stderr))
    assert (present & ~true).sum() < 0.02 * present.sum()
    assert (present & true).sum() > 0.99 * true.sum()
    assert not present_edges(np.zeros(0)).any()
    assert z_scores(np.array([0.0, 1.0]), np.array([np.inf, 0.0])).tolist() == [0.0, np.inf]


@pytest.mark.parametrize("method", ["ridge", "spline"])
def test_an_unknown_graph_is_found(method: str) -> None:
    circuit = network(100, fill=0.2, seed=1)
    recording, truth = recorded(circuit, 3000, noise=0.2)
    parts = [recording[name] for name in recording.splits]
    voltage, drift = (
        np.concatenate([part.frames(np.arange(part.n_frames), field) for part in parts])
        for field in ("voltage", "drift")
    )
    nothing = Wiring.from_edges(np.zeros((2, 0), dtype=np.int64), 100)
    estimates = lobula.fit(voltage, nothing, dt=DT, drift=drift, method=method, **UNKNOWN, **SPLINE)
    weight = on_graph(truth, estimates.wiring).connectome.weight
    edges = estimates.edges
    scores = support_scores(weight != 0, edges["z"].to_numpy(), edges["present"].to_numpy())
    assert len(edges) == 100 * 99
    assert scores["auc"] > 0.99
    assert scores["f1"] > 0.97 if method == "ridge" else scores["f1"] > 0.9


def test_a_run_with_an_unknown_graph_scores_its_support_and_the_circuit(tmp_path: Path) -> None:
    sizes = {"simulation.n_frames": 3000, "simulation.n_frames_validation": 300, "simulation.n_frames_test": 300}
    small = {"signal.n_neurons": 100, "signal.fill": 0.2, "training.estimators": ["ridge"], "update.graph": "all_pairs"}
    config = lobula.load_config("signal-small").with_values({**sizes, **small, "scoring.rollout_steps": 50})
    lobula.run(config, tmp_path / "run", progress=False)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["ridge"]["support"]["n_candidates"] == 9900
    assert scores["ridge"]["support"]["auc"] > 0.99
    assert scores["ridge"]["W"]["n"] == 9900
    facts = scores["circuit"]
    true = lobula.signal_network(n_neurons=100, fill=0.2, seed=0)
    matrix = true.wiring.csr(true.effective_weight).toarray()
    assert facts["spectral_radius_gW"] == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-4)
    assert 1 <= facts["effective_rank_90"] <= facts["effective_rank_99"] <= facts["n_components"] == 100
    assert np.isfinite(facts["lyapunov_exponent"])
    assert 0 < scores["ridge"]["prediction"]["horizon_s"] <= 50 * DT
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "called present" in page
    assert "largest Lyapunov exponent" in page


def test_bad_requests_are_named(tmp_path: Path) -> None:
    config = lobula.load_config("signal-small").with_values({"update.graph": "all_pairs"})
    many = Recording.from_arrays(np.zeros((40, 3001), "f4"), Wiring.from_edges(np.zeros((2, 0), int), 3001), DT)
    with pytest.raises(ConfigError, match=r"update.graph: got all_pairs with 3,001 neurons, expected at most 3,000"):
        with_candidates(many, config.update)
    with pytest.raises(ShapeError, match="wiring: got 3 neurons, expected 3001"):
        many.on(Wiring.all_pairs(3))
    with pytest.raises(ConfigError, match=r"update.graph: got all_pairs with a prior"):
        lobula.load_config("fly-small").with_values({"update.graph": "all_pairs", "prior.sign": "known"})


def test_facts_are_those_of_the_drawn_weights() -> None:
    recording, truth = recorded(network(40), 400)
    facts = circuit_facts(truth, recording)
    assert facts["spectral_radius_gW"] == pytest.approx(10 * facts["spectral_radius_W"], rel=1e-6)
