"""Unrolled objectives against plain loops, two stages, schedules, clipping, clusters; each resumes exactly."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.support.paused import resumes_exactly
from tests.support.planted import DT, configured, planted_circuit

from lobula.data.recording import Recording
from lobula.data.streams import Streams
from lobula.errors import ConfigError, MissingDependencyError, ShapeError
from lobula.training import new_model, train
from lobula.training.cluster_embeddings import cluster_and_replace
from lobula.training.optimiser import clip_gradients, optimiser_for, set_learning_rates
from lobula.training.phases import plan
from lobula.training.regimes import compared
from lobula.training.run import window_of
from lobula.training.sampler import FramePool, Window
from lobula.training.schedules import learning_rate

SMALL = {"training.n_steps": 40, "training.rounds": 0, "training.checkpoint_every": 10, "training.validation_every": 20,
         "training.gauss_newton_steps": 0, "model.hidden_dim": 16, "model.hidden_dim_update": 16,
         "model.w_init": "randn_scaled", "model.g_phi_shared": "no"}  # fmt: skip
config = configured(SMALL)
UNROLLED = {
    "recurrent": {"training.regime": "recurrent", "training.time_step": 4},
    "dense": {"training.regime": "recurrent", "training.time_step": 3, "training.recurrent_loss": "dense"},
    "noisy": {"training.regime": "recurrent", "training.time_step": 2, "training.recurrent_noise": 0.1},
    "clamped": {"training.regime": "recurrent", "training.time_step": 3, "training.state_clamp": 0.2},
    "multi_start": {"training.regime": "multi_start", "training.time_step": 3},
    "euler": {"training.regime": "neural_ode", "training.time_step": 3, "training.ode_method": "euler"},
    "consecutive": {"training.consecutive_batch": True},
    "two_stage": {"training.two_stage": True},
    "late": {"training.regime": "recurrent", "training.time_step": 2, "training.recurrent_start": 0.5},
    "clusters": {"training.cluster_every": 15, "training.n_clusters": 4},
    "restarts": {"training.schedule": "warm_restarts", "training.restart_steps": 7},
    "norm": {"training.loss": "norm", "training.grad_clip_W": 0.1},
}


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n_frames=3000)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def start_of(recording: Recording, frame: torch.Tensor) -> int:
    return int(np.flatnonzero((recording["train"].voltage() == frame.numpy()).all(1))[0])


def plain_unroll(recording: Recording, model, t: int, n: int, noise=None, sigma=0.0, clamp=None) -> list[np.ndarray]:
    """Euler steps one frame at a time from the recorded frame t."""
    split, states = recording["train"], []
    v = torch.from_numpy(split.voltage(t, t + 1))
    for k in range(n):
        seen = v if clamp is None else v.clamp(-clamp, clamp)
        external = torch.from_numpy(recording.wiring.spread(split.stimulus(t + k, t + k + 1)))
        with torch.no_grad():
            v = v + DT * model(seen, external)
        if noise is not None:
            v = v + sigma * noise[k]
        if clamp is not None:
            v = v.clamp(-clamp, clamp)
        states.append(v[0].numpy())
    return states


@pytest.mark.parametrize("name", ["recurrent", "dense", "noisy", "clamped", "multi_start", "euler"])
def test_unrolled_predictions_against_a_plain_loop(recording: Recording, name: str) -> None:
    settings = config(**UNROLLED[name])
    training, model = settings.training, new_model(recording, settings)
    pool = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 5, window=window_of(training))
    batch = pool.batch(3)
    pool.close()
    prediction, target = compared(training, training.regime, model, batch, DT)
    n, voltage = training.time_step, recording["train"].voltage()
    wanted, recorded = [], []
    for b, frame in enumerate(batch.voltage):
        t = start_of(recording, frame)
        noise = None if batch.noise is None else batch.noise[:, b]
        if name == "multi_start":
            spans = [(t + k, n - k) for k in range(n)]
            wanted.append([(plain_unroll(recording, model, s, k)[-1] - voltage[s]) / (k * DT) for s, k in spans])
            recorded.append([(voltage[t + n] - voltage[s]) / (k * DT) for s, k in spans])
            continue
        states = plain_unroll(recording, model, t, n, noise, training.recurrent_noise, training.state_clamp)
        steps = range(1, n + 1) if name == "dense" else [n]
        wanted.append([(states[k - 1] - voltage[t]) / (k * DT) for k in steps])
        recorded.append([(voltage[t + k] - voltage[t]) / (k * DT) for k in steps])
    for found, reference in ((prediction, wanted), (target, recorded)):
        rows = np.array(reference).transpose(1, 0, 2).reshape(-1, found.shape[1])  # step by step, batch inside
        np.testing.assert_allclose(found.detach().numpy(), rows, rtol=2e-4, atol=2e-3)


def test_one_unrolled_frame_is_the_one_step_objective(recording: Recording) -> None:
    settings = config(**{"training.regime": "recurrent", "training.time_step": 1})
    model = new_model(recording, settings)
    pool = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 6, window=Window(1))
    batch = pool.batch(0)
    pool.close()
    unrolled = compared(settings.training, "recurrent", model, batch, DT)
    single = compared(settings.training, "one_step", model, batch, DT)
    for a, b in zip(unrolled, single, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("regime", ["recurrent", "neural_ode"])
def test_the_clamp_acts(recording: Recording, regime: str) -> None:
    unrolled = {"training.regime": regime, "training.time_step": 4}
    free, clamped = (config(**unrolled, **({"training.state_clamp": 0.01} if c else {})) for c in (False, True))
    model = new_model(recording, free)
    pool = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 5, window=Window(4))
    batch = pool.batch(0)
    pool.close()
    with torch.no_grad():
        slopes = [compared(s.training, regime, model, batch, DT)[0] for s in (free, clamped)]
    ends = [slope * 4 * DT + batch.voltage for slope in slopes]
    assert float(ends[0].abs().max()) > 0.05
    assert float(ends[1].abs().max()) <= 0.01 + 1e-4


@pytest.mark.parametrize("method", ["midpoint", "heun3", "rk4", "dopri5"])
def test_ode_gradients_agree_with_those_of_the_adjoint_equation(recording: Recording, method: str) -> None:
    grads = []
    for adjoint in (False, True):
        settings = config(**{"training.regime": "neural_ode", "training.time_step": 2, "training.ode_method": method,
                             "training.ode_adjoint": adjoint, "training.ode_rtol": 1e-6, "training.ode_atol": 1e-7,
                             "model.activation": "tanh"})  # fmt: skip
        model = new_model(recording, settings)
        pool = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 3, window=Window(2))
        batch = pool.batch(0)
        pool.close()
        prediction, target = compared(settings.training, "neural_ode", model, batch, DT)
        (prediction - target).square().mean().backward()
        grads.append(model.weight.grad)
    assert float(grads[0].norm()) > 0
    torch.testing.assert_close(grads[0], grads[1], rtol=0.05, atol=0.02 * float(grads[0].abs().max()))


def test_frames_of_a_window_lie_in_one_trial_aligned_or_in_a_row(recording: Recording) -> None:
    split = recording["train"]
    for window, batch_size in ((Window(8, aligned=True), 4), (Window(consecutive=True), 16)):
        pool = FramePool(split, recording.wiring, "observed", Streams(0), batch_size, window=window)
        for step in range(5):
            batch = pool.batch(step)
            starts = [start_of(recording, frame) for frame in batch.voltage]
            if window.aligned:
                assert all(t % 8 == 0 and t + 8 < split.n_frames for t in starts)
                np.testing.assert_array_equal(
                    batch.later_voltage[-1, 0], split.voltage(starts[0] + 8, starts[0] + 9)[0]
                )
            else:
                assert starts == list(range(starts[0], starts[0] + batch_size))
        pool.close()


def test_a_window_longer_than_the_recording_is_named(recording: Recording) -> None:
    short = Recording.from_arrays(recording["train"].voltage(0, 60), recording.wiring, DT)
    with pytest.raises(ShapeError, match=r"training\.time_step: 256 frames in a row do not fit, got 48 frames"):
        FramePool(short["train"], recording.wiring, "observed", Streams(0), 2, window=Window(256))


@pytest.mark.parametrize("name", UNROLLED)
def test_every_regime_resumes_exactly(recording: Recording, tmp_path: Path, name: str) -> None:
    settings = config(**UNROLLED[name])
    whole = resumes_exactly(recording, settings, tmp_path, 24)
    usual = train(recording, config(), tmp_path / "usual")
    assert not torch.equal(usual.weight, whole.weight), "the regime acts"


def test_two_stages_keep_one_optimiser_and_slow_the_weights(recording: Recording, tmp_path: Path) -> None:
    settings = config(**{"training.two_stage": True, "training.alternate_lr_ratio": 0.0, "training.rounds": 1})
    phases = plan(settings.training, 3000)
    assert [(p.name, p.first, p.n_steps, p.ends) for p in phases] == [
        ("joint", 0, 16, False), ("V_rest", 16, 24, True), ("messages 1", 40, 300, True)]  # fmt: skip
    assert phases[0].schedule == phases[1].schedule == (0, 40)
    model = new_model(recording, settings)
    optimiser = optimiser_for(model, settings.training, held=False)
    set_learning_rates(optimiser, 0.5, phases[1].factors)
    rates = {group["name"]: group["lr"] for group in optimiser.param_groups}
    assert rates == {"g_phi": 0.0, "embedding": 1e-3, "f_theta": 1e-3, "W": 0.0}
    only = {**{"training.rounds": 0}, "training.two_stage": True, "training.alternate_lr_ratio": 0.0}
    short = train(recording, config(**only, **{"training.alternate_joint_ratio": 0.4}), tmp_path / "a")
    phase = [line.split(",")[2] for line in (tmp_path / "a" / "metrics.csv").read_text().splitlines()[1:]]
    assert phase == sorted(phase, key=["joint", "V_rest"].index)
    assert set(phase) == {"joint", "V_rest"}
    # W rests after the joint stage: it is what 16 of the 40 steps leave
    seen: dict[int, torch.Tensor] = {}

    def probe(model, held) -> dict[str, float]:
        seen[len(seen)] = model.weight.detach().clone()
        return {}

    train(recording, config(**only, **{"training.alternate_joint_ratio": 0.4}), tmp_path / "b", probe=probe)
    torch.testing.assert_close(seen[len(seen) - 1], short.weight.detach(), rtol=0, atol=0)
    after_joint = phase.index("V_rest") - 1
    torch.testing.assert_close(seen[after_joint], short.weight.detach(), rtol=0, atol=0)


def test_schedules() -> None:
    restarts = config(**{"training.schedule": "warm_restarts", "training.restart_steps": 10}).training
    rates = [learning_rate(restarts, step, 100) for step in range(100)]
    begun = round(restarts.warmup_fraction * 100)
    peaks = [k for k in range(1, 99) if rates[k] > rates[k - 1] and rates[k] > rates[k + 1]]
    assert all((k - begun) % 10 == 0 for k in peaks)
    assert len(peaks) >= 8
    constant = config(**{"training.schedule": "constant", "training.warmup_fraction": 0.0}).training
    assert {learning_rate(constant, step, 100) for step in range(100)} == {1.0}


def test_gradients_are_clipped_group_by_group(recording: Recording) -> None:
    settings = config(**{"training.grad_clip": None, "training.grad_clip_W": 0.5, "training.grad_clip_embedding": 2.0})
    model = new_model(recording, settings)
    optimiser = optimiser_for(model, settings.training, held=False)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    clip_gradients(optimiser, settings.training)
    assert float(model.weight.grad.norm()) == pytest.approx(0.5, rel=1e-4)
    assert float(model.embedding.grad.norm()) == pytest.approx(2.0, rel=1e-4)
    assert all(bool((p.grad == 10.0).all()) for p in model.update_mlp.parameters())


class FakeUMAP:
    """Stretches the points, as UMAP would, to clusters that are units apart."""

    def __init__(self, **options: object) -> None:
        assert options["random_state"] == 0
        assert options["n_neighbors"] == 15

    def fit_transform(self, points: np.ndarray) -> np.ndarray:
        return points * np.array([2.0, 3.0])


@pytest.mark.parametrize("method", ["gmm", "kmeans", "dbscan", "umap", "umap itself"])
def test_clusters_replace_embeddings_by_their_centres(
    recording: Recording, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "umap itself":
        pytest.importorskip("umap", reason="the extra umap is not installed")
        method = "umap"
    elif method == "umap":
        monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=FakeUMAP))
    settings = config(**{"training.cluster_method": method, "training.n_clusters": 3})
    model = new_model(recording, settings)
    kind = np.arange(30) % 3
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    points = centres[kind] + 0.05 * np.random.default_rng(0).normal(size=(30, 2))
    with torch.no_grad():
        model.embedding.copy_(torch.from_numpy(points))
    assert cluster_and_replace(model, settings.training, seed=0) == 3
    found = model.embedding.detach().numpy()
    for k in range(3):
        assert np.ptp(found[kind == k], axis=0).max() == 0
        np.testing.assert_allclose(found[kind == k][0], np.median(points[kind == k], axis=0), atol=1e-6)


def test_clustering_by_a_library_that_is_missing_fails_before_training(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    settings = config(**{"training.cluster_method": "umap", "training.cluster_every": 5})
    with pytest.raises(MissingDependencyError, match=r"pip install 'lobula\[umap\]'"):
        train(recording, settings, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training.time_step": 4}, r"training\.time_step: has no effect with training\.regime=one_step"),
        ({"training.regime": "recurrent", "training.target": "drift"}, "set training.target=observed"),
        ({"training.regime": "multi_start", "training.recurrent_loss": "dense"}, "dense is recurrent's"),
        ({"training.regime": "neural_ode", "training.recurrent_noise": 0.1}, "its solver has no noise"),
        (
            {"training.recurrent_loss": "dense"},
            r"got dense, expected end: .* training\.regime=recurrent",
        ),
        ({"training.ode_adjoint": True}, r"ode_adjoint: .* without training\.regime=neural_ode"),
        ({"training.ode_rtol": 1e-2}, r"ode_rtol: got 0\.01, expected 0\.0001: .* training\.ode_method=dopri5"),
        ({"training.regime": "neural_ode", "training.ode_atol": 1e-2}, r"ode_atol: .* training\.ode_method=dopri5"),
        ({"training.regime": "recurrent", "training.ode_method": "dopri5", "training.ode_atol": 1e-2}, "ode_atol: got"),
        ({"training.alternate_lr_ratio": 0.2}, r"alternate_lr_ratio: .* without training\.two_stage=true"),
        ({"training.alternate_joint_ratio": 0.5}, r"alternate_joint_ratio: .* without training\.two_stage=true"),
        ({"training.restart_steps": 10}, r"restart_steps: .* without training\.schedule=warm_restarts"),
        ({"training.coeff_W_L2_rate": 0.5}, r"coeff_W_L2_rate: .* without a positive training\.coeff_W_L2;"),
    ],
)
def test_settings_that_contradict_each_other(recording: Recording, tmp_path: Path, values, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(recording, config(**values), tmp_path)


def test_a_solver_without_its_regime_is_a_notice(
    recording: Recording, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(**{"training.ode_method": "midpoint", "training.n_steps": 2})
    with caplog.at_level("INFO", logger="lobula"):
        train(recording, settings, tmp_path)
    assert "training.ode_method=midpoint: no effect with training.regime=one_step" in caplog.text
