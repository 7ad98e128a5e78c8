"""Message functions of cell types, and of pairs of them, found in densely connected signal networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.signal_recordings import network, recorded

from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.recovery import recover_spline
from lobula.regression.curve import SmoothCurve
from lobula.regression.own_terms import TanhTerm
from lobula.regression.sender_curves import SenderCurves, products
from lobula.regression.sender_rounds import deviation_knots, improve_senders
from lobula.regression.thinned import Thinned
from lobula.scoring import in_gauge, score_ceiling, score_estimates
from lobula.training.closed_form import load_spline, train_spline

SIGNAL = {"update.weights": "absolute", "recovery.types_from": "dynamics", "training.target": "drift"}


ROUNDS = {
    "spline.start": "best",
    "spline.basis": "cubic",
    "spline.n_knots": 16,
    "spline.n_rounds": 4,
    "spline.curve_frames": 3000,
    "spline.curve_neurons": 8,
}


@pytest.mark.parametrize(("model", "sharing"), [("N4", "type"), ("N5", "pair")])
def test_spline_finds_message_functions_that_differ_between_types(model: str, sharing: str, tmp_path: Path) -> None:
    recording, truth = recorded(network(80, seed=1, model=model), n_frames=6000, noise=0.3)
    config = ExperimentConfig().with_values({**SIGNAL, **ROUNDS, "update.form": "tanh", "spline.sharing": sharing})
    train_spline(recording, config, tmp_path)
    fit = load_spline(tmp_path)
    assert fit.own is not None
    recovered = recover_spline(recording, fit, "drift", config.recovery, update=config.update)
    recovered.save(tmp_path / "estimates.zarr")
    estimates = Estimates.load(tmp_path / "estimates.zarr")
    voltage, y = recording["test"].voltage(0, 20), recording["test"].target("drift", 0, 20)
    assert np.corrcoef(estimates.drift(voltage).ravel(), y.ravel())[0, 1] > 0.95
    stated = in_gauge(truth, recording, config.update)
    identifiable = score_ceiling(recording, stated, config, None).identifiable
    scores = score_estimates(estimates, stated, identifiable, config)
    assert scores["W"]["identifiable"]["fit_r2"] > 0.95
    assert scores["W"]["identifiable"]["slope"] == pytest.approx(1.0, abs=0.06)
    assert scores["tau"]["fit_r2"] > 0.98
    alone = recover_spline(recording, replace(fit, own=None), "drift", config.recovery, update=config.update)
    assert score_estimates(alone, stated, identifiable, config)["W"]["identifiable"]["fit_r2"] < 0.9


def test_every_sender_finds_its_function(tmp_path: Path) -> None:
    recording, truth = recorded(network(60, seed=1, model="N4"), n_frames=5000, noise=0.3)
    frames, own = recording["train"], TanhTerm()
    voltage = frames.voltage(0, frames.n_frames)
    grid = np.linspace(float(voltage.min()), float(voltage.max()), 60)
    base = SmoothCurve(grid, np.tanh(grid / 2))
    knots = deviation_knots(base, grid[0], grid[-1], 12, 60)
    data = products(Thinned.to(frames, "drift", 2500), recording.wiring, base, knots, "drift", 2500, own)
    first = SenderCurves(base, knots, np.zeros((60, len(knots))))
    found, _ = improve_senders(data, first, np.ones(60, dtype=bool), loops=False)
    sample = voltage[::20].astype(float)
    true, learned, start = truth.dynamics.message_function()(sample), found(sample), first(sample)
    far = [np.median([1 - np.corrcoef(true[:, j], x[:, j])[0, 1] for j in range(60)]) for x in (start, learned)]
    assert far[1] < 0.2 * far[0]
