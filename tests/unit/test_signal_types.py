"""Message functions of cell types, and of pairs of them, found in densely connected signal networks."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.signal_recordings import network, recorded

from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.recovery import recover_spline
from lobula.scoring import in_gauge, score_ceiling, score_estimates
from lobula.training.closed_form import load_spline, train_spline

SIGNAL = {"update.weights": "absolute", "recovery.types_from": "dynamics", "training.target": "drift"}


def typed(
    model: str, sharing: str, n: int, form: str, tmp_path: Path, **more: object
) -> tuple[float, float, float, float]:
    """W fit R2 and slope of identifiable edges, tau fit R2, accuracy of cell types of the spline's functions."""
    recording, truth = recorded(network(n, seed=1, model=model), n_frames=6000, noise=0.05)
    settings = {"spline.start": "best", "spline.basis": "cubic", "spline.n_knots": 16, "spline.n_rounds": 4}
    settings |= {"spline.curve_frames": 3000, "spline.curve_neurons": 8, "spline.sharing": sharing, **more}
    config = ExperimentConfig().with_values({**SIGNAL, "update.form": form, **settings})
    train_spline(recording, config, tmp_path)
    fit = load_spline(tmp_path)
    assert fit.own is not None
    estimates = recover_spline(recording, fit, "drift", config.recovery, update=config.update)
    stated = in_gauge(truth, recording, config.update)
    estimates.save(tmp_path / "estimates.zarr")
    again = Estimates.load(tmp_path / "estimates.zarr")
    voltage, y = recording["test"].voltage(0, 20), recording["test"].target("drift", 0, 20)
    assert np.corrcoef(again.drift(voltage).ravel(), y.ravel())[0, 1] > 0.999
    scores = score_estimates(again, stated, score_ceiling(recording, stated, config, None).identifiable, config)
    weights = scores["W"]["identifiable"]
    return weights["fit_r2"], weights["slope"], scores["tau"]["fit_r2"], scores["cell_types"]["accuracy"]


def test_spline_finds_the_message_functions_of_types(tmp_path: Path) -> None:
    r2, slope, tau, types = typed("N4", "type", 60, "tanh", tmp_path)
    assert r2 > 0.99
    assert slope == pytest.approx(1.0, abs=0.02)
    assert tau > 0.999
    assert types == 1.0


def test_spline_finds_the_message_functions_of_pairs_of_types(tmp_path: Path) -> None:
    r2, slope, tau, types = typed("N5", "pair", 60, "tanh", tmp_path)
    assert r2 > 0.99
    assert slope == pytest.approx(1.0, abs=0.02)
    assert tau > 0.999
    assert types == 1.0
