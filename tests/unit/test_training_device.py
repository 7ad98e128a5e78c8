"""What makes training fast on a GPU, as far as a CPU can tell; and on a GPU, the rest."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT, configured, planted_circuit
from tests.support.team import SMALL

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.data.streams import Streams
from lobula.metrics import line_fit
from lobula.models import CircuitGNN
from lobula.recovery import recover_gnn
from lobula.training import new_model, train
from lobula.training.adam import Adam
from lobula.training.objectives import scaled_mse
from lobula.training.optimiser import optimiser_for, restore_optimiser, set_learning_rates
from lobula.training.phases import Phase
from lobula.training.run import _Trainer
from lobula.training.sampler import Batch, FramePool, Window, _n_slots, _Slots
from lobula.training.step import StaticStep, device_settings

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
config = configured(SMALL)


@pytest.fixture(scope="module", params=["per column", "per neuron", "none"])
def any_recording(request: pytest.FixtureRequest) -> Recording:
    planted = planted_circuit(n_frames=3000)
    stimulus = {"per column": planted.stimulus, "per neuron": planted.wiring.spread(planted.stimulus) - 0.5}
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, stimulus.get(request.param), planted.drift)


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n_frames=3000)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


@pytest.mark.parametrize("target", ["observed", "drift"])
def test_a_pool_that_holds_all_gives_the_frames_of_the_seed(any_recording: Recording, target: str) -> None:
    split, wiring = any_recording["train"], any_recording.wiring
    pool = FramePool(split, wiring, target, Streams(5), 8)
    part = FramePool(split, wiring, target, Streams(5), 8, part=slice(4, 8))
    assert pool.n_slots == len(pool.starts) == 3
    for step in (0, 1, 49, 50, 700):
        times = Streams(5).generator("sampling", "frames", step).integers(0, split.n_targets(target), 8)
        batch, last = pool.batch(step), part.batch(step)
        rows = split.stimulus()
        external = np.zeros_like(split.voltage()) if rows is None else wiring.spread(rows)
        np.testing.assert_array_equal(batch.voltage, split.voltage()[times])
        np.testing.assert_array_equal(batch.external, external[times])
        np.testing.assert_array_equal(batch.target, split.target(target)[times])
        np.testing.assert_array_equal(batch.first, split.voltage()[times[:1]])
        np.testing.assert_array_equal(last.target, batch.target[4:])
        np.testing.assert_array_equal(last.first, batch.first)
    pool.close()
    part.close()


@pytest.mark.parametrize("target", ["observed", "drift"])
def test_a_gpu_pool_takes_what_it_may_and_no_more(any_recording: Recording, target: str) -> None:
    """Chunks are counted by the places they take, with one for the chunk to come."""
    split, wiring = any_recording["train"], any_recording.wiring
    n_chunks, reach = 8, 1
    for n in (4, n_chunks):  # some of them, all of them
        taken = _Slots(split, wiring, target, n, CPU, reach).places.values()
        n_bytes = sum(place.numel() * place.element_size() for place in taken)
        count = partial(_n_slots, split, wiring, target, reach=reach, device=GPU, n_chunks=n_chunks)
        assert count(n_bytes=n_bytes) == (n if n == n_chunks else n - 1)
        assert count(n_bytes=n_bytes - 1) == n - 2


def test_a_sliding_pool_gives_matching_frames_of_every_chunk(recording: Recording) -> None:
    split = recording["train"]
    pool = FramePool(split, recording.wiring, "observed", Streams(5), 16, pool_bytes=0)
    assert (pool.n_slots, len(pool.starts)) == (2, 3)
    seen = set()
    for step in (*range(0, 400, 10), 5000, 3):
        batch = pool.batch(step)
        for v, y in zip(batch.voltage, batch.target, strict=True):
            t = int(np.flatnonzero((split.voltage() == v.numpy()).all(1))[0])
            seen.add(t // 1000)
            np.testing.assert_array_equal(split.target("observed", t, t + 1)[0], y.numpy())
    pool.close()
    assert seen == {0, 1, 2}


def updates(model: CircuitGNN, settings: ExperimentConfig) -> Callable[[Batch], dict[str, torch.Tensor]]:
    optimiser = optimiser_for(model, settings.training, held=False)
    weight = torch.ones(model.pattern.n_neurons, device=model.embedding.device)

    def update(batch: Batch) -> dict[str, torch.Tensor]:
        loss, _ = scaled_mse(model(batch.voltage, batch.external), batch.target, weight)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return {"loss": loss.detach()}

    return update


def check_static_steps(recording: Recording, device: torch.device) -> StaticStep:
    """Trains with and without fixed buffers; both must give the same losses and parameters."""
    settings = config()
    pool = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 8, device=device)
    models = [new_model(recording, settings).to(device) for _ in range(2)]
    plain = updates(models[0], settings)
    static = StaticStep(updates(models[1], settings), device)
    for step in range(10):
        wanted, found = plain(pool.batch(step))["loss"], static(pool.batch(step))["loss"]
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    pool.close()
    for wanted, found in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
    return static


def test_fixed_buffers_change_nothing(recording: Recording) -> None:
    assert not check_static_steps(recording, CPU).is_recorded


def test_a_training_on_fixed_buffers_is_the_same(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(recording, config(), tmp_path / "plain")
    steps: dict[str, StaticStep] = {}
    update = _Trainer.update

    def static(self: _Trainer, phase: Phase, optimiser: Adam, batch: Batch) -> dict[str, torch.Tensor]:
        return steps.setdefault(phase.name, StaticStep(partial(update, self, phase, optimiser), CPU))(batch)

    monkeypatch.setattr(_Trainer, "update", static)
    found = train(recording, config(), tmp_path / "static")
    assert list(steps) == ["joint", "messages 1"]
    assert (tmp_path / "plain" / "metrics.csv").read_text() == (tmp_path / "static" / "metrics.csv").read_text()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_fixed_buffers_stay_where_they_are(recording: Recording) -> None:
    places, values = set(), []

    def note(batch: Batch) -> dict[str, torch.Tensor]:
        places.add(tuple(tensor.data_ptr() for tensor in vars(batch).values() if tensor is not None))
        values.append(batch.voltage.clone())
        return {}

    pool, step = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 8), StaticStep(note, CPU)
    for number in range(4):
        step(pool.batch(number))
        torch.testing.assert_close(values[-1], pool.batch(number).voltage, rtol=0, atol=0)
    pool.close()
    assert len(places) == 1


def test_bf16_acts_on_the_networks_alone(recording: Recording) -> None:
    model = new_model(recording, config())
    voltage = torch.from_numpy(recording["train"].voltage(0, 4))
    with torch.no_grad():
        exact, summed = model.message(voltage), model.summed_message(voltage)
        with torch.autocast("cpu", torch.bfloat16):
            message, value = model.message(voltage), model(voltage, voltage)
            again = model.summed_message(voltage)
    assert message.dtype == value.dtype == torch.float32
    assert 0 < float((message - exact).abs().max()) < 0.03 * float(exact.abs().max())
    torch.testing.assert_close(again, summed, rtol=0.05, atol=0.03 * float(summed.abs().max() + 1))


def test_training_in_bf16_stays_close_to_float32(recording: Recording, tmp_path: Path) -> None:
    found = {}
    for precision in ("float32", "bf16"):
        settings = config(**{"training.precision": precision, "training.n_steps": 100, "training.round_steps": 40})
        found[precision] = train(recording, settings, tmp_path / precision).state_dict()
    assert not torch.equal(found["bf16"]["weight"], found["float32"]["weight"])
    weights = (found[name]["weight"].numpy() for name in ("float32", "bf16"))
    assert line_fit(*weights)[1] > 0.95


def test_a_shared_message_function_is_remembered(recording: Recording) -> None:
    model = new_model(recording, config())
    assert model.message_embedding.shape == model.embedding.shape
    model.share_messages()
    fresh = new_model(recording, config())
    fresh.load_state_dict(model.state_dict())
    twin = copy.deepcopy(fresh)
    assert fresh.message_embedding.shape == twin.message_embedding.shape == (1, model.embedding.shape[1])
    twin.load_state_dict(new_model(recording, config()).state_dict())
    assert twin.message_embedding.shape == model.embedding.shape
    assert fresh.message_embedding.shape == (1, model.embedding.shape[1])


def test_an_optimiser_keeps_its_own_kind_when_restored(recording: Recording) -> None:
    model, settings = new_model(recording, config()), config().training
    groups = optimiser_for(model, settings, held=False).param_groups
    kept = {name: value for name, value in groups[0].items() if name in ("name", "params", "base_lr")}
    on_gpu = Adam([{**kept, "lr": torch.tensor(0.5)}])
    on_cpu = Adam([{**kept, "lr": 0.5}])
    rate = on_gpu.param_groups[0]["lr"]
    for optimiser in (on_gpu, on_cpu):
        set_learning_rates(optimiser, 0.25, {})
        assert float(optimiser.param_groups[0]["lr"]) == pytest.approx(0.25 * settings.lr)
    assert on_gpu.param_groups[0]["lr"] is rate
    for parameter in kept["params"]:
        parameter.grad = torch.ones_like(parameter)
    on_gpu.step()
    restore_optimiser(on_cpu, on_gpu.state_dict())
    assert on_cpu.param_groups[0]["lr"] == 0.25 * settings.lr
    moments = [optimiser.state_dict()["state"][0]["exp_avg"] for optimiser in (on_gpu, on_cpu)]
    torch.testing.assert_close(moments[1], moments[0], rtol=0, atol=0)


@pytest.mark.gpu
def test_a_recorded_step_equals_a_plain_one(recording: Recording) -> None:
    with device_settings(GPU, "float32"):
        assert check_static_steps(recording, GPU).is_recorded


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("window", [Window(), Window(3, noise=True)])
def test_steps_on_a_gpu_never_wait_for_it(recording: Recording, window: Window) -> None:
    settings = config()
    with device_settings(GPU, "float32"):
        pool = FramePool(recording["train"], recording.wiring, "observed", Streams(0), 8, device=GPU, window=window)
        model = new_model(recording, settings).to(GPU)
        optimiser = optimiser_for(model, settings.training, held=False)
        step = StaticStep(updates(model, settings), GPU)
        for number in range(6):
            step(pool.batch(number))
        torch.cuda.set_sync_debug_mode("error")
        try:
            for number in range(6, 30):
                set_learning_rates(optimiser, 1.0 / number, {})
                step(pool.batch(number))
        finally:
            torch.cuda.set_sync_debug_mode("default")
            pool.close()
    assert step.is_recorded


@pytest.mark.gpu
@pytest.mark.parametrize("target", ["observed", "drift"])
def test_a_sliding_pool_on_a_gpu_gives_the_batches_of_the_cpu(any_recording: Recording, target: str) -> None:
    split, wiring = any_recording["train"], any_recording.wiring
    pools = [FramePool(split, wiring, target, Streams(5), 8, pool_bytes=0, device=device) for device in (CPU, GPU)]
    for step in (*range(0, 300, 7), 4000, 2):
        wanted, found = (pool.batch(step) for pool in pools)
        for a, b in zip(vars(wanted).values(), vars(found).values(), strict=True):
            np.testing.assert_array_equal(b.cpu().numpy(), a.numpy())
    for pool in pools:
        pool.close()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_training_on_a_gpu_resumes_and_agrees_with_the_cpu(
    recording: Recording, tmp_path: Path, precision: str
) -> None:
    class Stop(Exception):
        pass

    def progress(step: int, total: int, numbers: dict[str, float]) -> None:
        if step >= 24:
            raise Stop

    settings = config(**{"training.device": "cuda:0", "training.precision": precision})
    with pytest.raises(Stop):
        train(recording, settings, tmp_path / "parts", progress=progress)
    models = [train(recording, settings, tmp_path / name) for name in ("parts", "whole")]
    models.append(train(recording, config(), tmp_path / "cpu"))
    weights = [recover_gnn(recording, m, "observed", settings.recovery).edges["weight"].to_numpy() for m in models]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-2, atol=1e-3)
    assert line_fit(weights[1], weights[2])[1] > 0.98
