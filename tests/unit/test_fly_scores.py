"""Scores of the fly's circuit: rollouts without noise, spectra, every neuron."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.one_column import recorded
from tests.support.signal_recordings import network
from tests.support.signal_recordings import recorded as signals

import lobula
from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.scoring import choose_rollouts, score_prediction, spectrum_scores, true_spectrum, with_noise_free
from lobula.simulation.truth import Truth

SCORING = {"scoring.rollout_steps": 100, "scoring.n_rollouts": 3}


def oracle(truth: Truth, recording: Recording) -> Estimates:
    """The estimates of whoever knows the truth; messages are relu."""
    circuit, rate = truth.connectome, 1.0 / truth.connectome.tau
    dynamics = {"k": -rate, "c": circuit.v_rest * rate, "q": rate}
    dynamics["theta"] = circuit.weight * rate[circuit.wiring.post]
    edges = pd.DataFrame({"weight": circuit.weight})
    neurons = pd.DataFrame({"id": np.arange(circuit.n_neurons), "tau": circuit.tau, "v_rest": circuit.v_rest})
    curve, wiring = np.array([-1.0, 0.0, 1.0]), recording.wiring
    return Estimates(edges, neurons, dynamics, curve, np.maximum(curve, 0.0), wiring, recording.dt, "ridge", "observed")


def scores_of(estimates: Estimates, truth: Truth, recording: Recording) -> dict[str, float]:
    rollouts = choose_rollouts(recording, ExperimentConfig().with_values(SCORING))
    return score_prediction(estimates, recording, with_noise_free(rollouts, truth, recording), "observed")[0]


def test_noise_does_not_keep_the_true_circuit_from_a_perfect_score() -> None:
    recording, truth = recorded(noise=0.05)
    scores = scores_of(oracle(truth, recording), truth, recording)
    assert scores["rollout_noise_free_pearson"] == pytest.approx(1.0, abs=1e-5)
    assert scores["rollout_noise_free_fraction_explained"] == pytest.approx(1.0, abs=1e-5)
    assert scores["rollout_pearson"] < 0.999


def test_wrong_weights_are_seen_without_noise() -> None:
    recording, truth = recorded(noise=0.05)
    right = oracle(truth, recording)
    shuffled = np.random.default_rng(0).permutation(right.dynamics["theta"])
    wrong = replace(right, dynamics={**right.dynamics, "theta": shuffled})
    assert scores_of(wrong, truth, recording)["rollout_noise_free_pearson"] < 0.98


def test_without_noise_both_rollouts_score_the_same() -> None:
    recording, truth = recorded(noise=0.0)
    right = oracle(truth, recording)
    wrong = replace(right, dynamics={**right.dynamics, "theta": 0.8 * right.dynamics["theta"]})
    scores = scores_of(wrong, truth, recording)
    for name in ("rmse", "pearson", "fraction_explained"):
        assert scores[f"rollout_noise_free_{name}"] == pytest.approx(scores[f"rollout_{name}"], rel=1e-4)


def test_states_that_voltages_do_not_tell_have_no_noise_free_rollout() -> None:
    for model, known in (("N2", True), ("N6", False)):
        recording, truth = signals(network(20, model=model), 600)
        rollouts = choose_rollouts(recording, ExperimentConfig().with_values(SCORING))
        found = with_noise_free(rollouts, truth, recording).noise_free
        assert (found is not None) == known
        if found is not None:
            np.testing.assert_allclose(found, rollouts.true[:, 1:], atol=1e-3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small noisy run of ridge, scored."""
    out = tmp_path_factory.mktemp("fly") / "run"
    sizes = {"connectome.extent": 0, "simulation.n_frames": 2000, "simulation.activation": "softplus"}
    small = {**sizes, "training.estimators": ["ridge"], "ridge.activation": "softplus"}
    lobula.run(lobula.load_config("fly-tiny").with_values(small), out, progress=False, until="score")
    return out


def test_a_run_scores_itself_without_noise_from_the_circuit_as_simulated(run: Path) -> None:
    prediction = json.loads((run / "scores.json").read_text())["ridge"]["prediction"]
    assert prediction["rollout_noise_free_pearson"] > max(0.95, prediction["rollout_pearson"])


def test_spectra_of_the_true_weights_are_found_and_of_others_are_not() -> None:
    recording, truth = recorded(n_frames=100)
    right, true = oracle(truth, recording), true_spectrum(truth)
    scores = spectrum_scores(right, true)
    dense = truth.connectome.wiring.csr(truth.connectome.weight).toarray()
    radius = np.abs(np.linalg.eigvals(dense)).max()
    assert scores["spectral_radius"] == scores["true_spectral_radius"] == pytest.approx(radius)
    assert scores["alignment_senders"] == pytest.approx(1.0)
    assert scores["alignment_receivers"] == pytest.approx(1.0)
    assert scores["n_directions"] == 10
    weight = np.random.default_rng(0).permutation(truth.connectome.weight)
    assert spectrum_scores(replace(right, edges=pd.DataFrame({"weight": weight})), true)["alignment_senders"] < 0.8


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_weights_that_are_nil_have_radius_0_and_no_directions(value: float) -> None:
    recording, truth = recorded(n_frames=100)
    right = oracle(truth, recording)
    nil = replace(right, edges=pd.DataFrame({"weight": np.full(truth.connectome.n_edges, value)}))
    scores = spectrum_scores(nil, true_spectrum(truth))
    assert (scores["spectral_radius"], scores["alignment_senders"], scores["n_directions"]) == (0.0, None, 0)


def test_what_does_not_converge_is_none() -> None:
    recording, truth = recorded(n_frames=100)
    scores = spectrum_scores(oracle(truth, recording), None)
    assert (scores["true_spectral_radius"], scores["alignment_receivers"]) == (None, None)
    assert scores["spectral_radius"] > 0


def test_a_run_of_the_fly_says_how_rich_its_activity_is(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    facts = scores["circuit"]
    assert 1 <= facts["effective_rank_90"] <= facts["effective_rank_99"] <= facts["n_components"] == 65
    assert facts["spectral_radius_W"] == scores["ridge"]["spectrum"]["true_spectral_radius"] > 0


def test_every_neuron_has_its_scores(run: Path) -> None:
    prediction = json.loads((run / "scores.json").read_text())["ridge"]["prediction"]
    table = pd.read_csv(run / "scores" / "ridge-by-neuron.csv")
    assert list(table["id"]) == list(range(65))
    for name in ("one_step", "rollout", "rollout_noise_free"):
        assert table[f"{name}_pearson"].median() == pytest.approx(prediction[f"{name}_pearson"], rel=1e-4)
        explained = table[f"{name}_fraction_explained"].median()
        assert explained == pytest.approx(prediction[f"{name}_fraction_explained"], rel=1e-4)
        assert np.sqrt((table[f"{name}_rmse"] ** 2).mean()) == pytest.approx(prediction[f"{name}_rmse"], rel=1e-4)
