"""Bad input: one clear line, exit status 2, nothing lost."""

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from lobula.data import Recording

MIB = 2**20


def fingerprint(folder: Path) -> dict[str, str]:
    """Digest of every file, run.json and its lock left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("run.json", ".lock"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.coef_W_L1=1", "training.coef_W_L1: no such field; did you mean coeff_W_L1?"),
        ("trainig.lr=1", "did you mean training.lr?"),
        ("training.lr=-1", "training.lr: got -1, expected a value > 0"),
        ("connectome.extent=21", "connectome.extent: got 21, expected a value <= 20"),
        ("simulation.n_frames=many", "simulation.n_frames: got 'many', expected an integer"),
        ("simulation.activation=rleu", "did you mean relu?"),
        ("simulation.recording=nowhere.zarr", "expected an existing recording store"),
        ("connectome.parameters=nowhere.npz", "expected 'calibrated' or an existing file"),
    ],
)
def test_setting(lobula, tmp_path, setting, said):
    line = lobula("run", "--set", setting, "--out", tmp_path / "run").error_line
    assert line.startswith("ConfigError: ")
    assert said in line
    assert not (tmp_path / "run").exists()


def test_config_file(lobula, tmp_path):
    file = tmp_path / "mine.yaml"
    assert "no such file or recipe" in lobula("run", file, "--out", tmp_path / "run").error_line
    assert "did you mean fly-small?" in lobula("run", "fly-smal", "--out", tmp_path / "run").error_line
    file.write_text("training:\n  n_step: 5\n")
    assert "did you mean n_steps?" in lobula("run", file, "--out", tmp_path / "run").error_line
    file.write_text("training: [1\n")
    assert "not valid YAML" in lobula("run", file, "--out", tmp_path / "run").error_line
    assert not (tmp_path / "run").exists()


def test_stage_whose_input_is_missing(lobula, tmp_path, circuit):
    assert "no run here" in lobula("score", "--out", tmp_path / "typo").error_line
    assert not (tmp_path / "typo").exists()
    assert "lobula simulate" in lobula("train", "fly-small", *circuit, "--out", tmp_path / "run").error_line


def test_models_that_are_missing_or_truncated(lobula, run_copy):
    model = run_copy / "models" / "gnn" / "best.pt"
    model.write_bytes(model.read_bytes()[:1000])
    assert "best.pt" in lobula("recover", run_copy, "--force", "--quiet").error_line
    shutil.rmtree(run_copy / "models" / "spline")
    assert "run the train stage" in lobula("recover", run_copy, "--force", "--quiet").error_line


def fit(lobula, store: Path, out: Path, *more: str):
    """Fit a recording by ridge; the run directory is new."""
    words = ("--set", f"simulation.recording={store}", "--set", "training.estimators=[ridge]", *more)
    return lobula("train", "fly-small", *words, "--out", out)


@pytest.fixture
def store(recording: Path, tmp_path: Path) -> Path:
    """A recording to be spoilt."""
    return Path(shutil.copytree(recording, tmp_path / "recording.zarr"))


def test_store_with_a_chunk_missing(lobula, store, tmp_path):
    (store / "train" / "voltage" / "c" / "1" / "0").unlink()
    before = fingerprint(store)
    line = fit(lobula, store, tmp_path / "run").error_line
    assert line.startswith("StoreError: ")
    assert "chunk is missing" in line
    assert fingerprint(store) == before


def test_store_with_a_chunk_cut_short(lobula, store, tmp_path):
    chunk = store / "train" / "voltage" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-100])
    assert "chunk is damaged" in fit(lobula, store, tmp_path / "run").error_line


def test_store_with_a_field_missing(lobula, store, tmp_path):
    shutil.rmtree(store / "test" / "stimulus")
    assert "test/stimulus missing" in fit(lobula, store, tmp_path / "run").error_line


def test_foreign_store(lobula, tmp_path):
    foreign = tmp_path / "foreign.zarr"
    zarr.create_group(foreign).create_array("voltage", data=np.zeros((5, 3)))
    assert "a foreign zarr group" in fit(lobula, foreign, tmp_path / "run").error_line
    (tmp_path / "text.zarr").write_text("hello")
    assert "not a zarr v3 group" in fit(lobula, tmp_path / "text.zarr", tmp_path / "run-2").error_line


def test_foreign_content_is_never_overwritten(lobula, tmp_path, circuit):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter-1.tex").write_text("precious")
    assert "not a run directory" in lobula("simulate", *circuit, "--out", out).error_line
    (out / "chapter-1.tex").rename(tmp_path / "chapter-1.tex")
    (out / "recording.zarr").mkdir()
    (tmp_path / "chapter-1.tex").rename(out / "recording.zarr" / "chapter-1.tex")
    (out / "run.json").write_text("{}")
    assert "is not a lobula store" in lobula("simulate", "fly-small", *circuit, "--out", out).error_line
    assert (out / "recording.zarr" / "chapter-1.tex").read_text() == "precious"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_recording_that_is_not_finite(lobula, store, tmp_path, value):
    zarr.open_group(store, mode="r+")["train/voltage"][2301, 17] = value
    line = fit(lobula, store, tmp_path / "run").error_line
    assert line.startswith("NonFiniteError: ")
    assert "voltage" in line
    assert "frame 2301" in line
    assert "neuron 17" in line


@pytest.mark.parametrize("neuron", [443, -1])
def test_edge_out_of_range(lobula, store, tmp_path, neuron):
    zarr.open_group(store, mode="r+")["wiring/edge_index"][0, 12] = neuron
    line = fit(lobula, store, tmp_path / "run").error_line
    assert line.startswith("EdgeError: ")
    assert str(neuron) in line


def test_drift_that_was_not_recorded(lobula, tmp_path, circuit):
    options = [*circuit, "--set", "simulation.record_drift=false", "--out", tmp_path / "run"]
    assert lobula("simulate", *options).code == 0
    line = lobula("train", *options, "--set", "training.target=drift", "--quiet").error_line
    assert "simulation.record_drift=true" in line
    assert (tmp_path / "run" / "recording.zarr").exists()


def test_run_directory_in_use(lobula, run_copy):
    hold = "import fcntl, os, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
    hold += "f.write(str(os.getpid())); f.flush(); print('held', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", hold, str(run_copy / ".lock")], **pipes) as other:
        assert other.stdout.readline() == "held\n"
        before = fingerprint(run_copy)
        line = lobula("run", run_copy, "--force").error_line
        assert line.startswith("RunLockedError: ")
        assert f"in use by process {other.pid}" in line
        assert fingerprint(run_copy) == before
        other.stdin.close()
    assert lobula("score", run_copy).code == 0


def test_debug_shows_the_traceback(lobula, tmp_path):
    with pytest.raises(ValueError, match="no such field"):
        lobula("run", "--set", "training.coef_W_L1=1", "--out", tmp_path / "run", "--debug")


# ---------------------------------------------------------------- the disk is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 14 MiB, or a skip where mounting one is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_keeps_whole_chunks(lobula, circuit, small_disk, tmp_path):
    options = [*circuit, "--set", "simulation.n_frames=6000"]
    run = small_disk / "run"
    line = lobula("simulate", *options, "--out", run).error_line
    assert line.startswith("DiskFullError: ")
    assert "run the same command again" in line
    written = Recording.open(run / "recording.zarr")["train"].n_frames
    assert 0 < written < 6000
    assert written % 2000 == 0
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    again = lobula("simulate", *options, "--out", run)
    assert again.code == 0, again.err
    assert f"going on at frame {written} of 6000" in again.err
    assert lobula("simulate", *options, "--out", tmp_path / "whole", "--quiet").code == 0
    first, second = (Recording.open(path / "recording.zarr")["train"] for path in (run, tmp_path / "whole"))
    assert np.array_equal(first.voltage(), second.voltage())


def test_full_disk_anywhere(lobula, circuit, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("lobula.data.store.commit_attributes", refuse)
        line = lobula("simulate", *circuit, "--out", out).error_line
    assert line.startswith("DiskFullError: ")
    assert Recording.open(out / "recording.zarr")["train"].n_frames == 0
    with monkeypatch.context() as patch:
        patch.setattr("lobula.data.atomic.os.fsync", refuse)
        assert lobula("simulate", *circuit, "--out", out).error_line.startswith("DiskFullError: ")
    assert lobula("simulate", *circuit, "--out", out).code == 0


def test_full_disk_while_training(lobula, recording, tmp_path, tiny, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    options = [*tiny, "--set", f"simulation.recording={recording}", "--set", "training.estimators=[gnn]"]
    words = ("train", "fly-small", *options, "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("lobula.training.checkpoint.torch.save", refuse)
        assert lobula(*words, "--quiet").error_line.startswith("DiskFullError: ")
    assert lobula(*words).code == 0
    assert [path.name for path in (tmp_path / "run").rglob("*.partial")] == []


def test_lock_of_a_killed_process_is_gone(run_copy):
    with (run_copy / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
