"""Variants of the true circuit: what is fitted to them, what is said of the fit, and which truth it is scored with."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.one_column import recorded

import lobula
from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.metrics import line_fit
from lobula.recovery import recover_circuit, recover_gnn
from lobula.regression import fit_circuit
from lobula.scoring import in_gauge, score_ceiling, score_estimates
from lobula.training import train


def ridge(recording: Recording, target: str = "observed") -> lobula.Estimates:
    def relu(v: np.ndarray) -> np.ndarray:
        return np.maximum(v, 0)

    circuit = fit_circuit(recording["train"], recording.wiring, relu, target)
    return recover_circuit(recording, circuit, relu, "ridge", target, ExperimentConfig().recovery)


def weights(estimates: lobula.Estimates) -> np.ndarray:
    return estimates.edges["weight"].to_numpy()


def test_without_messages_weights_are_nil_and_said_to_be() -> None:
    recording, truth = recorded("no_messages")
    estimates, stated = ridge(recording), in_gauge(truth, recording)
    everything = np.ones(recording.wiring.n_edges, bool)
    scores = score_estimates(estimates, stated, everything, ExperimentConfig())
    assert np.sqrt(np.mean(truth.connectome.weight**2)) > 0.1  # the synapses are there, nothing passes them
    assert scores["W"]["rmse"] < 0.01
    assert np.isnan(scores["W"]["fit_r2"])  # there is nothing to explain
    assert scores["tau"]["fit_r2"] > 0.95
    assert estimates.notes["warnings"] == []


def test_a_gain_is_part_of_the_weights_that_are_scored() -> None:
    recording, truth = recorded("gain")
    stated = in_gauge(truth, recording)
    pre = truth.connectome.wiring.pre
    ratio = stated.connectome.weight / (truth.connectome.weight * truth.dynamics.gain[pre])
    np.testing.assert_allclose(ratio, 1.0, rtol=0.05)  # max(gain v, 0) = gain max(v, 0)
    slope, r2 = line_fit(stated.connectome.weight, weights(ridge(recording, "drift")))
    assert r2 > 0.99
    assert slope == pytest.approx(1.0, abs=0.03)
    assert line_fit(truth.connectome.weight, weights(ridge(recording, "drift")))[1] < 0.95  # not without the gain
    ceiling = score_ceiling(recording, stated, ExperimentConfig().with_values({"training.target": "drift"}), None)
    assert ceiling.scores["W"]["r2"] > 0.99


def test_the_truth_of_other_circuits_stays_as_it_is() -> None:
    for variant, activation in (("standard", "relu"), ("tanh", "saturating")):
        recording, truth = recorded(variant, activation, n_frames=100)
        assert in_gauge(truth, recording) is truth


def test_rests_of_a_circuit_with_gains_count_messages_at_zero_once() -> None:
    recording, truth = recorded("gain", "softplus", n_frames=500)
    circuit = truth.connectome
    message = truth.dynamics.message_function()(np.zeros((1, circuit.n_neurons), "f4"))[0]
    expected = circuit.v_rest + np.bincount(circuit.wiring.post, circuit.weight * message[circuit.wiring.pre])
    np.testing.assert_allclose(in_gauge(truth, recording).connectome.v_rest, expected, rtol=1e-5, atol=1e-6)


def test_a_leak_that_is_no_line_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    for variant, noticed in (("tanh", True), ("standard", False)):
        caplog.clear()
        recording, _ = recorded(variant)
        notes = ridge(recording).notes
        assert bool(notes["warnings"]) is noticed, notes
        assert ("bends with the neuron's own voltage" in caplog.text) is noticed
        assert (notes["curvature_z"] > 5) is noticed


FAST = {"training.target": "drift", "training.n_steps": 200, "training.rounds": 0, "training.gauss_newton_steps": 2,
        "model.hidden_dim": 24, "model.hidden_dim_update": 24, "training.lr": 5e-3}  # fmt: skip


@pytest.mark.parametrize("variant", ["tanh", "gain", "no_messages"])
def test_the_network_on_every_variant(tmp_path: Path, variant: str) -> None:
    recording, truth = recorded(variant, n_frames=3000)
    config = ExperimentConfig().with_values(FAST)
    estimates = recover_gnn(recording, train(recording, config, tmp_path), "drift", config.recovery)
    true, found = in_gauge(truth, recording).connectome.weight, weights(estimates)
    slope, r2 = line_fit(true, found)
    if variant == "no_messages":
        assert np.sqrt(np.mean(found**2)) < 0.02
    if variant == "gain":
        assert r2 > 0.97
        assert slope == pytest.approx(1.0, abs=0.06)
    warned = any("affine" in warning for warning in estimates.notes["warnings"])
    assert warned is (variant == "tanh"), estimates.notes


def test_message_functions_of_their_own_give_weights_in_one_gauge() -> None:
    """Where every source has its own function, with its gain in it, the read-out moves the gain into the weights."""
    recording, truth = recorded("gain")
    message, settings = truth.dynamics.message_function(), ExperimentConfig().recovery
    circuit = fit_circuit(recording["train"], recording.wiring, message, "drift")
    slope, r2 = line_fit(truth.connectome.weight, circuit.weight(recording.wiring))
    assert (slope, r2) == pytest.approx((1.0, 1.0), abs=1e-3)
    estimates = recover_circuit(recording, circuit, message, "gnn", "drift", settings)
    slope, r2 = line_fit(in_gauge(truth, recording).connectome.weight, weights(estimates))
    assert (slope, r2) == pytest.approx((1.0, 1.0), abs=0.02)
