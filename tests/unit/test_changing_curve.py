"""Message functions that are not known, of circuits that change: plasticity (N6, N7) and drifting parameters (N3)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.signal_recordings import DT, network, recorded

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.metrics import line_fit
from lobula.recovery import recover_spline
from lobula.regression.changing_curve import Search
from lobula.regression.curve import SmoothCurve, basis_of
from lobula.regression.dense_curve import basis_columns, equations_of
from lobula.regression.modulated import products
from lobula.regression.own_terms import NoTerms
from lobula.regression.plasticity import PlasticCourse
from lobula.regression.receiver_curves import interpolated, joined
from lobula.regression.ridge import solve
from lobula.regression.varying import Change
from lobula.scoring import in_gauge, score_estimates
from lobula.simulation.signal import SignalCircuit
from lobula.simulation.truth import Truth
from lobula.training.closed_form import load_spline, train_spline
from lobula.training.unchanged import seen_by_network

SETTINGS = {
    "training.estimators": ["spline"],
    "training.target": "drift",
    "update.form": "tanh",
    "update.weights": "absolute",
    "spline.start": "best",
    "spline.basis": "cubic",
    "spline.n_rounds": 20,
    "spline.n_knots": 20,
    "recovery.types_from": "dynamics",
}
PLASTIC = [[10.0, 1.0, 1.0, 20.0, 0.05], [10.0, 2.0, 2.0, 8.0, 0.1]]
WIDE = [[10.0, 1.0, 1.0, 1.0, 20.0, 0.05], [10.0, 2.0, 2.0, 4.0, 20.0, 0.05]]
DRIFTING = [[10.0, 1.0, 1.0], [6.0, 2.0, 2.0]]


def settings(**more: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({**SETTINGS, **{k.replace("__", "."): v for k, v in more.items()}})


def recovered(recording: Recording, truth: Truth, config: ExperimentConfig, folder: Path) -> dict:
    train_spline(recording, config, folder)
    fit = load_spline(folder)
    estimates = recover_spline(recording, fit, "drift", config.recovery, update=config.update)
    stated = in_gauge(truth, recording, config.update)
    return score_estimates(estimates, stated, np.ones(truth.connectome.n_edges, dtype=bool), config)


def test_messages_of_a_network_with_plasticity_are_found_and_without_it_are_not(tmp_path: Path) -> None:
    recording, truth = recorded(network(30, seed=1, model="N6", parameters=PLASTIC), 2500, noise=0.2)
    scores = recovered(recording, truth, settings(update__varying="plasticity"), tmp_path)
    assert scores["W"]["r2"] > 0.999
    assert scores["W"]["slope"] == pytest.approx(1.0, abs=0.01)
    assert scores["plasticity"]["tau"]["largest_relative_error"] < 0.05
    assert scores["cell_types"]["accuracy"] == 1.0
    grid = np.linspace(*np.quantile(recording["train"].voltage(0, 2000), [0.01, 0.99]), 100)
    assert line_fit(np.tanh(grid), load_spline(tmp_path).curve(grid))[1] > 0.9999
    assert recovered(recording, truth, settings(), tmp_path)["W"]["r2"] < 0.98


def test_a_network_is_trained_on_the_circuit_as_if_it_did_not_change(tmp_path: Path) -> None:
    recording, _ = recorded(network(30, seed=1, model="N6", parameters=PLASTIC, activation="sigmoid"), 2500, noise=0.2)
    config = settings(update__varying="plasticity")
    train_spline(recording, config, tmp_path)
    seen, trained = seen_by_network(recording, config, tmp_path)
    assert (trained.training.target, trained.update.varying) == ("drift", "none")
    parameters = [row[:3] for row in PLASTIC]
    still = SignalCircuit(network(30, seed=1, model="N2", parameters=parameters, activation="sigmoid"), DT)
    for name in ("train", "validation"):
        voltage = seen[name].voltage(0, 200)
        wanted = np.stack([still.drift(v, np.zeros(0, "f4")) for v in voltage])
        off = seen[name].target("drift", 0, 200) - wanted
        assert np.square(off).mean() < 1e-4 * wanted.var()
    assert seen_by_network(recording, settings(), tmp_path) == (recording, settings())


def test_messages_of_a_network_that_drifts_are_found(tmp_path: Path) -> None:
    circuit = network(30, seed=1, model="N3", drift_period=25.0, parameters=DRIFTING)
    recording, truth = recorded(circuit, 2500, noise=0.2)
    config = settings(update__varying="drift", update__drift_period=25.0)
    scores = recovered(recording, truth, config, tmp_path)
    assert scores["W"]["r2"] > 0.999
    assert scores["W"]["slope"] == pytest.approx(1.0, abs=0.01)
    assert scores["drift"]["tau_half"]["r2"] > 0.999


def test_groups_of_receivers_have_their_messages(tmp_path: Path) -> None:
    recording, truth = recorded(network(24, seed=1, model="N7", parameters=WIDE), 1500, noise=0.3)
    config = settings(update__varying="plasticity", spline__sharing="receiver", spline__n_rounds=10)
    scores = recovered(recording, truth, config, tmp_path)
    own = load_spline(tmp_path).own
    assert own is not None
    np.testing.assert_array_equal(own.receiver, truth.connectome.cell_type)
    assert scores["W"]["r2"] > 0.99


def test_products_of_the_curve_are_those_of_its_columns_over_the_gain() -> None:
    recording, _ = recorded(network(6, seed=0, model="N6", parameters=PLASTIC), 300, noise=0.3)
    wiring, frames = recording.wiring, recording["train"]
    search = Search.of(frames, "drift", Change("plasticity"), NoTerms(), settings().spline)
    curve = SmoothCurve(np.linspace(-4.0, 4.0, 5), np.linspace(-1.0, 1.0, 5) ** 3)
    course = PlasticCourse(np.full(6, -2.0), np.full(6, -2.0), np.full(6, -0.1), NoTerms())
    problem = replace(search.problem(wiring, curve), every=1)
    circuit = solve(products(problem, course, None).grams, wiring)
    bases, coefficients = [(basis_of(curve), np.arange(6))], equations_of(wiring, circuit.theta)
    found = products(problem, course, circuit, lambda v: basis_columns(bases, v, coefficients), curve.size)
    assert found.with_columns is not None
    n = frames.n_targets("drift")
    voltage = frames.voltage(0, n).astype(float)
    gain = course.along(voltage, course.begin(), frames.dt)[0]
    for i in range(6):
        inputs = wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]]
        theta = circuit.theta[wiring.indptr[i] : wiring.indptr[i + 1]]
        units = [curve.with_values(unit)(voltage[:, inputs]) @ theta for unit in np.eye(5)]
        messages, summed = curve(voltage[:, inputs]), curve(voltage[:, inputs]) @ theta
        scaled = summed + circuit.c[i] - circuit.own_gain[i, 0]
        free = np.stack([voltage[:, i], gain[0, :, i], 1.0 - gain[0, :, i], *(gain[1:, :, i] * scaled)])
        y = frames.target("drift", 0, n)[:, i]
        rows = np.concatenate([units, messages.T, free / gain[0, :, i], y[None] / gain[0, :, i]])
        np.testing.assert_allclose(found.with_columns[i], rows @ rows.T, rtol=1e-2, atol=1e-2)


def test_the_least_misfit_lies_between_widths_and_few_join_the_next() -> None:
    widths, true = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.3, 2.0, 3.1, 20.0])
    left = (np.log(widths)[:, None] - np.log(true)) ** 2
    np.testing.assert_allclose(interpolated(widths, left), [1.3, 2.0, 3.1, 8.0], rtol=1e-6)
    group = np.repeat([0, 1, 2], [5, 2, 5])
    width = np.repeat([1.0, 3.0, 4.0], [5, 2, 5])
    np.testing.assert_array_equal(joined(width, group), np.repeat([0, 1], [5, 7]))
    np.testing.assert_array_equal(joined(width[:3], group[:3]), [0, 0, 0])
