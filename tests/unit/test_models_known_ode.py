"""The known equation by gradient descent: its right-hand side, its training, and what does not apply to it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT, planted_circuit

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.errors import ConfigError
from lobula.metrics import line_fit
from lobula.recovery import recover_gnn
from lobula.training import load_model, new_model, train

FAST = {"training.target": "drift", "training.n_steps": 1500, "training.lr": 2e-2, "training.lr_W": 2e-2,
        "training.batch_size": 16, "recovery.readout": "on_distribution"}  # fmt: skip


@pytest.fixture(scope="module")
def planted():
    return planted_circuit(n_frames=3000)


@pytest.fixture(scope="module")
def recording(planted) -> Recording:
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def config(name: str, **values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({"model.name": name, **FAST, **values})


@pytest.mark.parametrize("name", ["flyvis_linear", "flyvis_linear_tanh"])
def test_right_hand_side(recording: Recording, name: str) -> None:
    model, rng = new_model(recording, config(name)), np.random.default_rng(0)
    n, wiring = 30, recording.wiring
    w, tau, rest, v, x = (rng.normal(size=s) for s in (wiring.n_edges, n, n, n, n))
    tau = np.exp(tau)
    with torch.no_grad():
        for parameter, value in ((model.weight, w), (model.log_tau, np.log(tau)), (model.v_rest, rest)):
            parameter.copy_(torch.from_numpy(value))
        model.coupling.fill_(0.3 if name.endswith("tanh") else 0.0)
        found = model(*(torch.from_numpy(a[None].astype(np.float32)) for a in (v, x)))[0].numpy()
    dense = np.zeros((n, n))
    dense[wiring.post, wiring.pre] = w
    extra = 0.3 * np.tanh(v) if name.endswith("tanh") else 0.0
    np.testing.assert_allclose(found, (-v + rest + extra + dense @ np.maximum(v, 0) + x) / tau, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["flyvis_linear", "flyvis_linear_tanh"])
def test_gradient_descent_recovers_a_planted_circuit(planted, recording: Recording, tmp_path: Path, name: str) -> None:
    settings = config(name)
    model = train(recording, settings, tmp_path)
    for readout in ("on_distribution", "reference", "refit"):
        way = settings.with_values({"recovery.readout": readout})
        estimates = recover_gnn(recording, load_model(recording, settings, tmp_path), "drift", way.recovery)
        slope, r2 = line_fit(planted.weight, estimates.edges["weight"].to_numpy())
        assert r2 > 0.97, readout
        assert slope == pytest.approx(1.0, abs=0.08), readout
    if name == "flyvis_linear":
        assert line_fit(planted.tau, np.exp(model.log_tau.detach().numpy()))[1] > 0.97
    untrained = recover_gnn(recording, new_model(recording, config(name, **{"model.w_init": "randn"})), "drift",
                            settings.recovery)  # fmt: skip
    assert line_fit(planted.weight, untrained.edges["weight"].to_numpy())[1] < 0.2


def test_what_does_not_apply_is_refused(recording: Recording, tmp_path: Path) -> None:
    for values in ({"training.warm_start": "spline"}, {"training.cluster_every": 10}):
        with pytest.raises(ConfigError, match=r"model\.name: got flyvis_linear .* neither a message network"):
            train(recording, config("flyvis_linear", **values), tmp_path)
