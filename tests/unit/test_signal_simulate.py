"""The stage simulate for signal networks: what is stored, with a stimulus or without, and that a crash does no harm."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.signal_oracle import Products, products, regress
from tests.support.interrupt import interrupted_after
from tests.support.signal_equations import right_hand_side

import lobula
from lobula.config import ExperimentConfig
from lobula.data import Recording, RecordingWriter
from lobula.errors import ConfigError, LobulaError, MissingInputError, NonFiniteError, ShapeError, StoreError
from lobula.simulation import SignalCircuit, Truth, simulate
from lobula.simulation import run as run_module

CHUNK, N = 40, 24
SPLITS = ("train", "validation", "test")


def config(**settings) -> ExperimentConfig:
    values = {
        "connectome.source": "signal",
        "signal.n_neurons": N,
        "signal.fill": 0.6,
        "signal.burn_in": 20,
        "simulation.n_frames": 170,
        "simulation.n_frames_validation": 60,
        "simulation.n_frames_test": 50,
        "simulation.dt": 0.01,
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    return ExperimentConfig().with_values(values)


def run(path: Path, chunk_frames: int = CHUNK, **settings) -> Recording:
    return Recording.open(simulate(config(**settings), path, chunk_frames=chunk_frames, progress=False))


def truth(recording: Recording) -> Truth:
    assert recording.path is not None
    return Truth.load(recording.path.parent / "truth.zarr")


def contents(recording: Recording) -> dict[str, np.ndarray]:
    return {f"{name}/{field}": recording[name].window(field) for name in SPLITS for field in recording[name].fields}


def assert_same(a: Recording, b: Recording) -> None:
    one, other = contents(a), contents(b)
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_a_recording_without_a_stimulus(tmp_path):
    recording = run(tmp_path)
    c = lobula.signal_network(N, fill=0.6)
    np.testing.assert_array_equal(recording.wiring.edge_index, c.wiring.edge_index)
    np.testing.assert_array_equal(truth(recording).connectome.weight, c.weight)
    assert [len(recording[name]) for name in SPLITS] == [170, 60, 50]
    split = recording["train"]
    assert split.fields == ("voltage", "drift")
    assert split.stimulus() is None
    assert [block.stimulus for block in split.blocks(50, "observed")] == [None] * 4
    assert recording.column_positions is None
    folders = [path for path in recording.path.rglob("*") if path.is_dir() and "annotations" not in path.parts]
    names = {path.name for path in folders}
    assert not names & {"weight", "tau", "v_rest", "sign", "cell_type", "equation", "state", "plasticity"}


def test_without_noise_frames_follow_from_each_other(tmp_path):
    recording = run(tmp_path, simulation__process_noise=0.0)
    c = truth(recording).connectome
    for name in SPLITS:
        v, drift = recording[name].voltage(), recording[name].drift()
        np.testing.assert_array_equal(v[1:], v[:-1] + np.float32(0.01) * drift[:-1])
        expected = [right_hand_side(c, frame.astype(float), np.zeros(N))[0] for frame in v[::20]]
        np.testing.assert_allclose(drift[::20], expected, atol=2e-4)
        np.testing.assert_array_equal(lobula.integrate(c, len(v) - 1, v0=v[0]), v[1:])


def test_noise_and_start(tmp_path):
    recording = run(tmp_path, simulation__process_noise=0.1, signal__burn_in=0, signal__u0_scale=7.0)
    kicks = []
    for name in SPLITS:
        v, drift = recording[name].voltage(), recording[name].drift()
        kicks.append(v[1:] - (v[:-1] + np.float32(0.01) * drift[:-1]))
        assert kicks[-1].std() == pytest.approx(0.1, rel=0.05)
    starts = np.stack([recording[name].voltage(0, 1)[0] for name in SPLITS])
    assert starts.std() == pytest.approx(7.0, rel=0.2)
    assert np.abs(np.corrcoef(starts) - np.eye(3)).max() < 0.5
    assert abs(np.corrcoef(kicks[0][:40].ravel(), kicks[1][:40].ravel())[0, 1]) < 0.1


def test_the_burn_in_is_what_comes_before(tmp_path):
    quiet = {"simulation__process_noise": 0.0}
    late = run(tmp_path / "late", signal__burn_in=30, **quiet)["train"].voltage(0, 100)
    early = run(tmp_path / "early", signal__burn_in=0, **quiet)["train"].voltage(0, 130)
    np.testing.assert_allclose(late, early[30:], atol=1e-3)


@pytest.mark.parametrize("n_chunks", [1, 6])
@pytest.mark.parametrize(
    "settings",
    [
        {"signal__model": "N2", "simulation__measurement_noise": 0.1},
        {"signal__model": "N3", "signal__drift_period": 1.0},
        {"signal__model": "N7", "signal__record_plasticity": True},
        {"signal__model": "N2", "drive__kind": "triggered", "drive__pulse_interval": 30, "drive__pulse_frames": 9},
    ],
    ids=lambda settings: settings["signal__model"] + ("-driven" if "drive__kind" in settings else ""),
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, settings, n_chunks):
    whole = run(tmp_path / "whole", **settings)
    with interrupted_after(n_chunks, monkeypatch):
        run(tmp_path / "cut", **settings)
    computed = []
    block = run_module.Simulator._block
    monkeypatch.setattr(
        run_module.Simulator, "_block", lambda self, *args: computed.append(args[:2]) or block(self, *args)
    )
    resumed = run(tmp_path / "cut", **settings)
    assert len(computed) == 9 - n_chunks
    assert_same(resumed, whole)
    if "signal__record_plasticity" in settings:
        for name in SPLITS:
            kept = [truth(recording).plasticity(name, 0, 50) for recording in (resumed, whole)]
            np.testing.assert_array_equal(*kept)


def test_resumed_trials_equal_uninterrupted_ones(tmp_path, monkeypatch):
    settings = {"simulation__trial_frames": 100, "simulation__n_frames": 430, "signal__model": "N6"}
    whole = run(tmp_path / "whole", **settings)
    with interrupted_after(2, monkeypatch):
        run(tmp_path / "cut", **settings)
    assert_same(run(tmp_path / "cut", **settings), whole)
    starts = whole["train"].voltage()[::100]
    assert np.abs(np.corrcoef(starts)[np.triu_indices(5, 1)]).max() < 0.8  # every trial from a state of its own
    kick = 0.01 * (whole["train"].target("observed") - whole["train"].target("drift"))
    assert kick.std() == pytest.approx(0.05, rel=0.05)  # at the ends of trials as well
    assert np.abs(kick).max() < 0.3


def test_trials_of_drifting_parameters_go_on_with_the_clock(tmp_path):
    settings = {"signal__model": "N3", "signal__drift_period": 3.0, "simulation__process_noise": 0.0}
    recording = run(tmp_path, **settings, simulation__trial_frames=100, simulation__n_frames=300)
    c = truth(recording).connectome
    splits = {"train": (0, (0, 99, 100, 299)), "validation": (300, (0, 59)), "test": (360, (0, 49))}
    for name, (offset, frames) in splits.items():
        v, drift = recording[name].voltage(), recording[name].drift()
        for frame in frames:
            expected, _ = right_hand_side(c, v[frame].astype(float), np.zeros(N), time=0.01 * (offset + frame))
            np.testing.assert_allclose(drift[frame], expected, atol=2e-3)


def test_plasticity_of_every_frame_is_kept_with_the_truth(tmp_path):
    settings = {"signal__model": "N6", "simulation__process_noise": 0.0, "signal__record_plasticity": True}
    recording = run(tmp_path, **settings)
    known = truth(recording)
    v, drift, p = (
        x[:50] for x in (*map(recording["test"].window, ("voltage", "drift")), known.plasticity("test", 0, 50))
    )
    assert 0 < p.min() < p.max() < 1
    du, dp = right_hand_side(known.connectome, v[7].astype(float), np.zeros(N), p[7].astype(float))
    np.testing.assert_allclose(drift[7], du, atol=2e-4)
    np.testing.assert_allclose((p[8] - p[7]) / 0.01, dp, atol=2e-5)
    with pytest.raises(MissingInputError, match="no plasticity in test"):
        truth(run(tmp_path / "other", signal__model="N6")).plasticity("test", 0, 50)


def test_killed_process_resumes(tmp_path):
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
        f"config = ExperimentConfig.from_dict({config(signal__model='N6').to_dict()!r})\n"
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
    settings = {"signal__model": "N6"}
    assert_same(run(tmp_path / "cut", **settings), run(tmp_path / "whole", **settings))


def test_chunk_size_does_not_matter_without_noise(tmp_path):
    settings = {"simulation__process_noise": 0.0, "signal__model": "N7"}
    assert_same(run(tmp_path / "a", 40, **settings), run(tmp_path / "b", 37, **settings))


def test_another_network_starts_over(tmp_path):
    run(tmp_path)
    assert_same(run(tmp_path, signal__fill=0.5), run(tmp_path / "fresh", signal__fill=0.5))


def test_oscillations(tmp_path):
    settings = {"drive__kind": "oscillatory", "drive__amplitude": 3.0, "drive__frequency": 2.0, "drive__n_driven": 10}
    recording = run(tmp_path, **settings, simulation__process_noise=0.0)
    c = truth(recording).connectome
    e = recording["train"].stimulus()
    amplitude = e[0]
    assert np.count_nonzero(amplitude) == 10
    assert 1 < np.abs(amplitude).max() <= 3
    time = 0.01 * np.arange(170)
    np.testing.assert_allclose(e, np.cos(2 * np.pi * 2.0 * time)[:, None] * amplitude, atol=1e-5)
    np.testing.assert_array_equal(recording["test"].stimulus(0, 50), e[:50])
    v = recording["train"].voltage()
    du, _ = right_hand_side(c, v[11].astype(float), e[11])
    np.testing.assert_allclose(recording["train"].drift(11, 12)[0], du, atol=2e-4)


def test_pulses(tmp_path):
    settings = {"drive__kind": "triggered", "drive__pulse_interval": 40, "drive__pulse_frames": 7}
    recording = run(tmp_path, **settings, drive__n_driven=5, drive__amplitude=4.0)
    stretches = recording["train"].stimulus(0, 160).reshape(4, 40, N)
    for stretch in stretches:
        on = np.flatnonzero(stretch.any(axis=1))
        assert (len(on), on[-1] - on[0]) == (7, 6)
        assert np.count_nonzero(stretch[on[0]]) == 5
        assert (np.abs(stretch[on[0], stretch[on[0]] != 0]) >= 2).all()
        assert np.abs(stretch).max() <= 4
    assert len({int(np.flatnonzero(s.any(axis=1))[0]) for s in stretches}) > 1


def test_an_eye_drives_some_neurons(tmp_path):
    settings = {"drive__kind": "visual", "drive__n_driven": 7, "stimulus__kind": "white_noise"}
    recording = run(tmp_path, **settings, simulation__process_noise=0.0)
    split, wiring = recording["train"], recording.wiring
    assert split.stimulus().shape == (170, 7)
    assert recording.column_positions.shape == (7, 2)
    outside = wiring.spread(split.stimulus())
    assert np.count_nonzero(outside.any(axis=0)) == 7
    v = split.voltage()
    du, _ = right_hand_side(truth(recording).connectome, v[3].astype(float), outside[3].astype(float))
    np.testing.assert_allclose(split.drift(3, 4)[0], du, atol=2e-4)


def test_input_from_a_file_starts_again_where_it_ends(tmp_path):
    rows = np.random.default_rng(0).standard_normal((30, N))
    np.save(tmp_path / "input.npy", rows)
    settings = {"drive__kind": "file", "drive__path": str(tmp_path / "input.npy")}
    e = run(tmp_path / "run", **settings)["train"].stimulus()
    np.testing.assert_allclose(e, np.tile(rows, (6, 1))[:170], rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "error"), [(np.zeros((5, 3)), ShapeError), (np.full((5, N), np.inf), NonFiniteError), (None, StoreError)]
)
def test_files_that_hold_no_input(tmp_path, rows, error):
    if rows is None:
        (tmp_path / "input.npy").write_bytes(b"x")
    else:
        np.save(tmp_path / "input.npy", rows)
    with pytest.raises(error, match=r"drive\.path"):
        run(tmp_path / "run", drive__kind="file", drive__path=str(tmp_path / "input.npy"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drive__kind": "triggered", "drive__pulse_interval": 5, "drive__pulse_frames": 6}, "pulse_frames: got 6"),
        ({"drive__kind": "oscillatory", "drive__n_driven": N + 1}, "n_driven: got 25"),
    ],
)
def test_drives_that_do_not_fit(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, **settings)


def test_a_network_that_blows_up_is_reported(tmp_path):
    with pytest.raises(LobulaError, match="blew up"):
        run(tmp_path, signal__activation="relu", signal__connectivity="uniform", simulation__dt=1.0, signal__burn_in=99)


def oracle() -> tuple[lobula.Connectome, Products]:
    """Sixty neurons with half of all connections, whose activity is rich enough to tell every weight."""
    c = lobula.signal_network(60, fill=0.5, seed=0)
    return c, products(c, lobula.integrate(c, 4_500)[500:])


def test_least_squares_of_the_known_form_finds_the_weights_and_fails_on_transposed_edges():
    c, sums = oracle()
    true, connected = c.wiring.csr(c.effective_weight).toarray(), c.wiring.connected
    np.testing.assert_allclose(regress(sums, connected), true, atol=1e-4)
    assert np.abs(true).max() > 1
    found = regress(sums, connected.T)
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] ** 2 < 0.6
    assert np.abs(found - true).max() > 1


def test_drift_of_the_oracle_is_that_of_the_recording(tmp_path):
    recording = run(tmp_path)
    frames = recording["train"].voltage()
    drift = SignalCircuit(truth(recording).connectome).drift(frames, np.zeros((len(frames), 0), dtype=np.float32))
    np.testing.assert_allclose(drift, recording["train"].drift(), atol=1e-4)
