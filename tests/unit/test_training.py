"""The trainer: sampler, penalties, schedules, checkpoints, exact resume, and a planted recovery."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT, configured, planted_circuit

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.data.streams import Streams
from lobula.errors import ConfigError, DivergedError, StoreError
from lobula.metrics import line_fit
from lobula.models import message_function
from lobula.recovery import recover_gnn
from lobula.regression import fit_spline
from lobula.regression.curve import PiecewiseLinear
from lobula.training import new_model, train
from lobula.training.checkpoint import load_checkpoint, save_checkpoint
from lobula.training.objectives import scaled_mse, total_loss
from lobula.training.penalties import Visited
from lobula.training.phases import plan
from lobula.training.sampler import FramePool
from lobula.training.schedules import warmup_cosine
from lobula.training.warm_start import start_from_spline, write_curve

SMALL = {"training.n_steps": 40, "training.rounds": 1, "training.round_steps": 20, "training.checkpoint_every": 10,
         "training.validation_every": 20, "training.gauss_newton_steps": 1, "model.hidden_dim": 16,
         "model.hidden_dim_update": 16}  # fmt: skip
config = configured(SMALL)


VISITED = Visited(torch.zeros(30), torch.ones(30))


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n_frames=3000)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def test_the_pool_slides_and_depends_on_the_step_alone(recording: Recording) -> None:
    split, wiring = recording["train"], recording.wiring
    tiny = 2 * 1000 * wiring.n_neurons * 4 * 2
    pools = [FramePool(split, wiring, "observed", Streams(1), 8, pool_bytes=tiny) for _ in range(2)]
    assert pools[0].n_slots == 2 < len(pools[0].starts)
    for step in range(0, 160, 20):
        pools[0].batch(step)
    late, fresh = pools[0].batch(170), pools[1].batch(170)
    torch.testing.assert_close(late.voltage, fresh.voltage, rtol=0, atol=0)
    for pool in pools:
        pool.close()


def test_a_batch_holds_matching_frames(recording: Recording) -> None:
    pool = FramePool(recording["train"], recording.wiring, "drift", Streams(0), 16)
    batch = pool.batch(3)
    pool.close()
    voltage = recording["train"].voltage()
    for v, e, y in zip(batch.voltage, batch.external, batch.target, strict=True):
        t = int(np.flatnonzero((voltage == v.numpy()).all(1))[0])
        np.testing.assert_array_equal(recording["train"].drift(t, t + 1)[0], y.numpy())
        np.testing.assert_array_equal(recording.wiring.spread(recording["train"].stimulus(t, t + 1))[0], e.numpy())


def test_objective_returns_its_parts() -> None:
    loss, parts = scaled_mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]), torch.tensor([1.0, 0.5]))
    assert float(loss) == pytest.approx((1 + 0.5 * 4) / 2)
    assert float(total_loss(loss, {"a": torch.tensor(0.25)})) == pytest.approx(1.75)
    assert set(parts) == {"prediction"}


def test_schedule_warms_up_and_decays() -> None:
    factors = [warmup_cosine(s, 100, 0.1, 0.02) for s in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.02, abs=2e-3)


def test_phases_follow_each_other() -> None:
    phases = plan(config(**{"training.rounds": 3}).training, 3000)
    assert [p.first for p in phases] == [0, 40, 60, 80]
    assert [p.held for p in phases] == [False, True, True, True]


def test_checkpoint_refuses_what_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"x": torch.arange(100)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match="truncated or foreign"):
        load_checkpoint(path)


def test_a_resumed_training_equals_the_uninterrupted_one(recording: Recording, tmp_path: Path) -> None:
    settings = config()
    whole = train(recording, settings, tmp_path / "whole")

    class Stop(Exception):
        pass

    for stop_at in (24, 45):  # inside the joint phase, then inside a round

        def progress(step: int, total: int, numbers: dict[str, float], stop_at: int = stop_at) -> None:
            if step >= stop_at:
                raise Stop

        with pytest.raises(Stop):
            train(recording, settings, tmp_path / "parts", progress=progress)
    older = load_checkpoint(tmp_path / "parts" / "checkpoint.pt")
    assert older.pop("judgement") is None  # earlier versions had none
    save_checkpoint(tmp_path / "parts" / "checkpoint.pt", older)
    parts = train(recording, settings, tmp_path / "parts")
    for (name, a), (_, b) in zip(whole.state_dict().items(), parts.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "parts" / "metrics.csv").read_text()


def test_a_kill_costs_one_gauss_newton_step(recording: Recording, tmp_path: Path) -> None:
    settings = config(**{"training.rounds": 0, "training.gauss_newton_steps": 4, "training.target": "drift"})
    taken: list[float] = []
    whole = train(recording, settings, tmp_path / "whole", progress=lambda *now: taken.append(step_of(now[2])))
    taken = [number for number in taken if number]
    assert taken[:3] == [1, 2, 3]  # one function for every neuron, then one for all
    assert taken[3:6] == [1, 2, 3]

    class Stop(Exception):
        pass

    def progress(step: int, total: int, numbers: dict[str, float]) -> None:
        if step_of(numbers):
            stopped.append(step_of(numbers))
            raise Stop

    stopped: list[float] = []
    while len(stopped) < len(taken):
        with pytest.raises(Stop):
            train(recording, settings, tmp_path / "parts", progress=progress)
    parts = train(recording, settings, tmp_path / "parts", progress=progress)
    assert stopped == taken
    for (name, a), (_, b) in zip(whole.state_dict().items(), parts.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def step_of(numbers: dict[str, float]) -> float:
    return numbers.get("Gauss-Newton step", 0)


def test_a_warm_start_repeats_the_spline(tmp_path: Path) -> None:
    planted = planted_circuit(n_frames=3000)
    recording = Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)
    spline = fit_spline(recording["train"], planted.wiring, "drift", n_rounds=8)
    settings = config(**{"training.target": "drift", "training.warm_start": "spline", "model.hidden_dim": 64})
    model = new_model(recording, settings)
    start_from_spline(model, spline, planted.wiring, recording["train"], Streams(0))
    voltage = torch.from_numpy(recording["validation"].voltage(0, 100))
    with torch.no_grad():
        error = model.message(voltage).numpy() - spline.curve(voltage.numpy())
    assert np.sqrt(np.mean(error**2)) < 0.05 * spline.curve(voltage.numpy()).std()
    np.testing.assert_allclose(model.weight.detach().numpy(), spline.circuit.weight(planted.wiring), rtol=1e-5)
    estimates = recover_gnn(recording, train(recording, settings, tmp_path, spline), "drift", settings.recovery)
    assert line_fit(planted.weight, estimates.edges["weight"].to_numpy())[1] > 0.98


def test_divergence_is_named(tmp_path: Path) -> None:
    planted = planted_circuit(n=8, in_degree=2, n_frames=200)
    huge = Recording.from_arrays(planted.voltage * np.float32(1e25), planted.wiring, DT)
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match=r"lower training\.lr"):
        train(huge, config(), tmp_path)


def test_gnn_recovers_a_planted_circuit_and_an_untrained_one_does_not(tmp_path: Path) -> None:
    planted = planted_circuit(n_frames=6000)
    recording = Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)
    settings = ExperimentConfig().with_values(
        {"training.target": "drift", "training.n_steps": 500, "training.rounds": 2, "training.round_steps": 150}
    )
    model = train(recording, settings, tmp_path)
    estimates = recover_gnn(recording, model, "drift", settings.recovery)
    slope, r2 = line_fit(planted.weight, estimates.edges["weight"].to_numpy())
    assert r2 > 0.98
    assert slope == pytest.approx(1.0, abs=0.05)
    # with w_init zeros every weight would be 0 and the control could not fail; the network's own weights are read
    raw = settings.with_values({"recovery.readout": "on_distribution", "model.w_init": "randn"})
    trained = recover_gnn(recording, model, "drift", raw.recovery).edges["weight"].to_numpy()
    untrained = recover_gnn(recording, new_model(recording, raw), "drift", raw.recovery).edges["weight"].to_numpy()
    assert np.isfinite(untrained).all()
    assert line_fit(planted.weight, trained)[1] > 0.8
    assert line_fit(planted.weight, untrained)[1] < 0.2


def test_shared_messages_are_those_of_the_mean_embedding(recording: Recording) -> None:
    model = new_model(recording, config())
    voltage = torch.from_numpy(recording["train"].voltage(0, 900))
    with torch.no_grad():
        mean = model.embedding.mean(0, keepdim=True)
        expected = model.scales.voltage * model.message_mlp((voltage / model.scales.voltage,), mean)
        assert float((model.message(voltage) - expected).abs().max()) > 1e-3
        model.share_messages()
        torch.testing.assert_close(model.message(voltage), expected, rtol=1e-5, atol=1e-6)
    table = message_function(model)(voltage.numpy())  # more points than the table of a shared function
    np.testing.assert_allclose(table, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("alike", [True, False])
def test_messages_are_shared_unless_held_out_frames_object(tmp_path: Path, alike: bool) -> None:
    def mixed(v: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(v)) % 2 == 0, np.maximum(v, 0.0), np.abs(v))

    planted = planted_circuit(n_frames=6000, activation=None if alike else mixed)
    data = Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)
    values = {"training.target": "drift", "training.n_steps": 1000, "training.gauss_newton_steps": 3}
    values |= {"training.batch_size": 32, "model.hidden_dim": 32}
    model = train(data, config(**values, **{"training.lr": 5e-3, "training.lr_embedding": 2e-2}), tmp_path)
    assert bool(model.shared) is alike
    never = new_model(data, config(**{"model.g_phi_shared": "yes"}))
    assert bool(never.shared)


def test_a_network_of_rectifiers_can_be_a_curve(recording: Recording) -> None:
    knots = np.sort(np.random.default_rng(0).uniform(-2, 3, 30))
    curve = PiecewiseLinear(knots, np.tanh(knots))
    for layers in (2, 4):
        model = new_model(recording, config(**{"model.hidden_dim": 32, "model.n_layers": layers}))
        write_curve(model, curve)
        voltage = torch.linspace(-4, 5, 3000).reshape(100, 30)
        with torch.no_grad():
            np.testing.assert_allclose(model.message(voltage).numpy(), curve(voltage.numpy()), atol=2e-5)
    simple = PiecewiseLinear(np.arange(9.0), np.maximum(np.arange(9.0) - 4, 0)).simplified(3)
    np.testing.assert_array_equal(simple.knots, [0, 4, 8])


def test_a_device_that_is_not_there_is_named(recording: Recording, tmp_path: Path) -> None:
    for name in ("cuda:63", "gpu"):
        with pytest.raises(ConfigError, match=rf"training\.device: got '{name}', expected a device"):
            train(recording, config(**{"training.device": name}), tmp_path)


@pytest.mark.gpu
def test_training_on_a_gpu_finds_the_same_circuit(recording: Recording, tmp_path: Path) -> None:
    found = []
    for device in ("cpu", "cuda:0"):
        model = train(recording, config(**{"training.device": device}), tmp_path / device)
        found.append(recover_gnn(recording, model, "observed", config().recovery).edges["weight"].to_numpy())
    assert line_fit(found[0], found[1])[1] > 0.99
