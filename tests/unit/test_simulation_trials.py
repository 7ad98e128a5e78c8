"""Trials side by side: the same circuit, targets that never reach across two trials, and a crash changes nothing."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.interrupt import interrupted_after

from lobula.config import ExperimentConfig
from lobula.connectome import optic_lobe
from lobula.data import Recording, RecordingWriter, Streams, Wiring
from lobula.errors import StoreError
from lobula.regression import fit_circuit
from lobula.simulation import side_by_side as side_by_side_module
from lobula.simulation import simulate, steady_state
from lobula.training.sampler import FramePool

TRIAL = 100


def run(path: Path, **settings) -> Recording:
    values = {
        "connectome.extent": 1,
        "simulation.n_frames": 370,
        "simulation.n_frames_validation": 60,
        "simulation.n_frames_test": 50,
        "simulation.trial_frames": TRIAL,
        **{name.replace("__", "."): value for name, value in settings.items()},
    }
    return Recording.open(simulate(ExperimentConfig().with_values(values), path, progress=False))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory) -> Recording:
    return run(tmp_path_factory.mktemp("noisy"))


def test_every_trial_starts_from_grey_and_scenes_go_on(noisy, tmp_path):
    split, grey = noisy["train"], steady_state(optic_lobe(1))
    np.testing.assert_array_equal(split.voltage()[::TRIAL], np.tile(grey, (4, 1)))
    one_trial = run(tmp_path, simulation__trial_frames=None)
    np.testing.assert_array_equal(split.stimulus(), one_trial["train"].stimulus())
    np.testing.assert_array_equal(noisy["test"].voltage(), one_trial["test"].voltage())


def test_trials_are_the_circuit(noisy):
    split, c = noisy["train"], optic_lobe(1)
    v, outside = split.voltage(), c.wiring.spread(split.stimulus())
    expected = (-v + c.v_rest + np.maximum(v, 0) @ c.wiring.csr(c.weight).toarray().T + outside) / c.tau
    np.testing.assert_allclose(split.drift(), expected, atol=2e-4)


def test_observed_targets_are_drift_and_noise_in_every_frame(noisy):
    """The last frame of a trial, too: a target that reached into the next trial would be tens of times larger."""
    split = noisy["train"]
    assert split.n_targets("observed") == 370
    noise = (split.target("observed") - split.drift()) * 0.02
    ends = [99, 199, 299, 369]
    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert noise[ends].std() == pytest.approx(0.05, rel=0.1)
    assert np.abs(noise).max() < 0.3
    assert abs(np.corrcoef(noise[:TRIAL].ravel(), noise[TRIAL : 2 * TRIAL].ravel())[0, 1]) < 0.02


def test_targets_do_not_depend_on_how_they_are_read(noisy):
    split = noisy["train"]
    whole = split.target("observed")
    for start, stop in [(0, 99), (0, 100), (99, 101), (100, 200), (250, 370), (369, 370), (199, 200), (50, 50)]:
        np.testing.assert_array_equal(split.target("observed", start, stop), whole[start:stop])
    blocks = list(split.blocks(64, "observed"))
    np.testing.assert_array_equal(np.concatenate([b.target for b in blocks]), whole)
    np.testing.assert_array_equal(np.concatenate([b.voltage for b in blocks]), split.voltage())


@pytest.mark.parametrize("n_kept", [1, 2, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, n_kept):
    monkeypatch.setattr(side_by_side_module, "MOST_TRIALS", 3)  # two groups: 3 trials and 1
    settings = {"simulation__measurement_noise": 0.1}
    whole = run(tmp_path / "whole", **settings)["train"]
    with interrupted_after(n_kept, monkeypatch):
        run(tmp_path / "cut", **settings)
    before = Recording.open(tmp_path / "cut" / "recording.zarr")["train"]
    assert len(before) == before.n_targets() == n_kept * TRIAL
    np.testing.assert_array_equal(before.target(), whole.target("observed", 0, len(before)))
    resumed = run(tmp_path / "cut", **settings)["train"]
    for field in whole.fields:
        np.testing.assert_array_equal(resumed.window(field), whole.window(field))
    np.testing.assert_array_equal(resumed.target(), whole.target())


def test_a_lost_end_of_a_trial_is_made_again(tmp_path):
    whole = run(tmp_path)["train"].target()
    (next((tmp_path / "recording.zarr" / "train" / "after" / "c" / "2").iterdir())).unlink()
    np.testing.assert_array_equal(run(tmp_path)["train"].target(), whole)


def test_a_circuit_is_recovered_from_trials(noisy):
    truth = optic_lobe(1)
    circuit = fit_circuit(noisy["train"], noisy.wiring, lambda v: np.maximum(v, 0), "drift")
    assert np.corrcoef(circuit.weight(noisy.wiring), truth.weight)[0, 1] ** 2 > 0.9


def test_ends_of_trials_need_trials(tmp_path):
    wiring = Wiring.from_edges(np.array([[0], [1]]), 2)
    writer = RecordingWriter.create(tmp_path / "r.zarr", wiring, 0.1, {"train": 4}, ("voltage",))
    with pytest.raises(StoreError, match="no trials"):
        writer.end_trial("train", 0, np.zeros(2))


@pytest.mark.parametrize("target", ["observed", "drift"])
def test_batches_of_the_sampler_are_frames_with_their_targets(noisy, target):
    split = noisy["train"]
    pool = FramePool(split, noisy.wiring, target, Streams(0), 2000)
    batch = pool.batch(3)
    pool.close()
    y = split.target(target)
    frame_of = {row.tobytes(): t for t, row in enumerate(split.voltage()) if t % TRIAL}  # all trials start alike
    rows = [(k, frame_of[v.numpy().tobytes()]) for k, v in enumerate(batch.voltage) if v.numpy().tobytes() in frame_of]
    drawn, frames = np.array(rows).T
    assert {99, 199, 299, 369} <= set(frames)
    np.testing.assert_array_equal(batch.target.numpy()[drawn], y[frames])
