"""The stage simulate: what it stores, and that a crash changes nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.interrupt import interrupted_after

from lobula.config import ExperimentConfig
from lobula.connectome import optic_lobe
from lobula.data import Recording, RecordingWriter
from lobula.errors import ConfigError, DivergedError
from lobula.simulation import Truth, integrate, simulate, steady_state
from lobula.simulation import run as run_module
from lobula.simulation.run import default_chunk_frames

CHUNK = 40
SPLITS = ("train", "validation", "test")


def config(**settings) -> ExperimentConfig:
    values = {
        "connectome.extent": 1,
        "simulation.n_frames": 170,
        "simulation.n_frames_validation": 60,
        "simulation.n_frames_test": 50,
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    return ExperimentConfig().with_values(values)


def run(path: Path, chunk_frames: int = CHUNK, **settings) -> Recording:
    return Recording.open(simulate(config(**settings), path, chunk_frames=chunk_frames, progress=False))


def contents(recording: Recording) -> dict[str, np.ndarray]:
    splits = {name: recording[name] for name in SPLITS}
    return {
        f"{name}/{field}": split.frames(np.arange(len(split)), field)
        for name, split in splits.items()
        for field in split.fields
    }


def assert_same(a: Recording, b: Recording) -> None:
    one, other = contents(a), contents(b)
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Recording:
    """The recording of the plain config, made without interruption."""
    return run(tmp_path_factory.mktemp("plain"))


def test_recording_and_truth(plain):
    recording, c = plain, optic_lobe(1)
    truth = Truth.load(plain.path.parent / "truth.zarr")
    np.testing.assert_array_equal(recording.wiring.edge_index, c.wiring.edge_index)
    np.testing.assert_array_equal(truth.connectome.weight, c.weight)
    assert truth.dynamics.activation == "relu"
    assert truth.dynamics.gain is None
    assert [len(recording[name]) for name in SPLITS] == [170, 60, 50]
    assert recording["train"].stimulus().shape == (170, 7)
    assert recording.dt == 0.02


def test_drift_and_noise_make_the_next_frame(plain):
    split = plain["train"]
    v, drift = split.voltage(), split.drift()
    kick = v[1:] - (v[:-1] + np.float32(0.02) * drift[:-1])
    assert kick.std() == pytest.approx(0.05, rel=0.02)
    assert np.abs(np.corrcoef(kick[:-1].ravel(), kick[1:].ravel())[0, 1]) < 0.02


def test_drift_is_the_right_hand_side(plain):
    split, c = plain["test"], optic_lobe(1)
    v, outside = split.voltage(), c.wiring.spread(split.stimulus())
    dense = c.wiring.csr(c.weight).toarray()
    expected = (-v + c.v_rest + np.maximum(v, 0) @ dense.T + outside) / c.tau
    np.testing.assert_allclose(split.drift(), expected, atol=2e-4)


def test_without_noise_it_is_integrate(tmp_path):
    split, c = run(tmp_path, simulation__process_noise=0.0)["train"], optic_lobe(1)
    v = split.voltage()
    np.testing.assert_array_equal(v[0], steady_state(c))
    np.testing.assert_array_equal(v[1:], integrate(c, split.stimulus())[:-1])


def test_splits_have_their_own_scenes_and_noise(plain):
    recording = plain
    movies = [recording[name].stimulus(0, 50) for name in SPLITS]
    kicks = [
        recording[name].voltage(1, 50) - 0.02 * recording[name].drift(0, 49) - recording[name].voltage(0, 49)
        for name in SPLITS
    ]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert np.abs(movies[a] - movies[b]).mean() > 0.05
        assert abs(np.corrcoef(kicks[a].ravel(), kicks[b].ravel())[0, 1]) < 0.03


def test_same_seed_same_recording_other_seed_another(tmp_path, plain):
    assert_same(run(tmp_path / "a"), plain)
    other = run(tmp_path / "b", simulation__seed=42)
    assert not np.array_equal(plain["train"].voltage(), other["train"].voltage())


@pytest.mark.parametrize("n_chunks", [1, 3, 6])
@pytest.mark.parametrize("measurement_noise", [0.0, 0.1])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, n_chunks, measurement_noise):
    settings = {"simulation__measurement_noise": measurement_noise}
    whole = run(tmp_path / "whole", **settings)
    with interrupted_after(n_chunks, monkeypatch):
        run(tmp_path / "cut", **settings)
    before = Recording.open(tmp_path / "cut" / "recording.zarr")
    assert sum(len(before[name]) for name in SPLITS) < 280
    computed = []
    block = run_module.Simulator._block
    monkeypatch.setattr(
        run_module.Simulator, "_block", lambda self, *args: computed.append(args[:2]) or block(self, *args)
    )
    resumed = run(tmp_path / "cut", **settings)
    assert len(computed) == 9 - n_chunks  # 5 + 2 + 2 chunks in all
    assert_same(resumed, whole)


def test_killed_process_resumes(tmp_path, plain):
    script = (
        "import sys, time; from lobula.data import RecordingWriter; from lobula.config import ExperimentConfig\n"
        "from lobula.simulation import simulate\n"
        "append = RecordingWriter.append\n"
        "def slow(*args, **fields):\n"
        "    append(*args, **fields)\n"
        "    print('chunk', flush=True)\n"
        "    time.sleep(60 * slow.called)\n"
        "    slow.called = True\n"
        "slow.called = False\n"
        "RecordingWriter.append = slow\n"
        f"config = ExperimentConfig.from_dict({config().to_dict()!r})\n"
        f"simulate(config, sys.argv[1], chunk_frames={CHUNK}, progress=False)"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "cut")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    cut = RecordingWriter.resume(tmp_path / "cut" / "recording.zarr")
    assert cut.n_frames_written("train") == 2 * CHUNK
    assert_same(run(tmp_path / "cut"), plain)


def test_chunk_size_does_not_matter_without_noise(tmp_path):
    settings = {"simulation__process_noise": 0.0}
    assert_same(run(tmp_path / "a", 40, **settings), run(tmp_path / "b", 37, **settings))


def test_another_config_starts_over(tmp_path):
    run(tmp_path)
    assert_same(run(tmp_path, simulation__seed=1), run(tmp_path / "fresh", simulation__seed=1))


def test_lost_truth_starts_over(tmp_path, plain):
    run(tmp_path)
    (tmp_path / "truth.zarr" / "dynamics" / "zarr.json").unlink()
    assert_same(run(tmp_path), plain)
    Truth.load(tmp_path / "truth.zarr")


def test_measurement_noise_is_kept_apart(tmp_path, plain):
    clean = plain
    noisy = run(tmp_path / "noisy", simulation__measurement_noise=0.2)
    truth = Truth.load(tmp_path / "noisy" / "truth.zarr")
    for name in SPLITS:
        n = len(noisy[name])
        noise = truth.measurement_noise(name, 0, n)
        assert noise.std() == pytest.approx(0.2, rel=0.02)
        np.testing.assert_allclose(noisy[name].voltage() - noise, clean[name].voltage(), atol=1e-6)
        np.testing.assert_array_equal(noisy[name].drift(), clean[name].drift())
    assert not Truth.load(plain.path.parent / "truth.zarr").measurement_noise("test", 0, 50).any()


def test_variants_are_stored_as_truth(tmp_path):
    run(tmp_path, simulation__variant="gain", simulation__activation="softplus")
    dynamics = Truth.load(tmp_path / "truth.zarr").dynamics
    assert (dynamics.variant, dynamics.activation) == ("gain", "softplus")
    assert dynamics.gain.shape == (optic_lobe(1).n_neurons,)


def test_no_drift_if_not_wanted(tmp_path):
    assert not run(tmp_path, simulation__record_drift=False).has_drift


def test_the_recording_holds_no_truth(plain):
    """Annotations, which a published connectome holds, lie apart; there is nothing else among them."""
    apart = plain.path / "annotations"
    assert {path.name for path in apart.iterdir() if path.is_dir()} == {"cell_type", "n_synapses", "sign"}
    names = {path.name for path in plain.path.rglob("*") if path.is_dir() and not path.is_relative_to(apart)}
    assert not names & {"weight", "tau", "v_rest", "sign", "n_syn", "cell_type", "measurement_noise", "dynamics"}


def test_an_existing_recording_is_not_simulated(tmp_path):
    with pytest.raises(ConfigError, match=r"simulation\.recording"):
        simulate(config(simulation__recording="x.zarr"), tmp_path, progress=False)


def test_a_circuit_that_blows_up_is_reported(tmp_path):
    with pytest.raises(DivergedError):
        run(tmp_path, simulation__dt=1.0)


def test_larger_circuits_get_shorter_chunks():
    assert [default_chunk_frames(n) for n in (1, 13_741, 45_669, 78_000)] == [2_000, 2_000, 700, 400]
