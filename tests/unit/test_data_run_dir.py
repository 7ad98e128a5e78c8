"""Run directories: one process at a time, a manifest that tells the story, and stages that are skipped when done."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lobula.config import ExperimentConfig, load_config
from lobula.data.atomic import atomic_write_json, atomic_write_text
from lobula.data.run_dir import RunDir, combined_digest, content_digest
from lobula.errors import DiskFullError, MissingInputError, RunLockedError, StoreError


def attempt(run: RunDir, digest: str, force: bool = False, fail: BaseException | None = None) -> tuple[bool, bool]:
    """Run stage "simulate" once; whether it was done already, and whether it could be resumed."""
    with run.stage("simulate", digest, force, outputs=["out.txt"]) as stage:
        if not stage.is_done:
            if fail is not None:
                raise fail
            atomic_write_text(run / "out.txt", digest)
    return stage.is_done, stage.can_resume


def test_manifest_tells_where_a_run_comes_from(tmp_path: Path) -> None:
    config = load_config("fly-small", ["training.seed=5", "simulation.recording=null"])
    with RunDir(tmp_path / "run") as run:
        run.start(config, parent="earlier")
        attempt(run, "a")
        run.finish()
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    assert (manifest["status"], manifest["name"], manifest["parent"]) == ("done", "fly-small", "earlier")
    assert manifest["seeds"] == {"simulation": 0, "training": 5}
    assert manifest["config_digest"] == config.digest()
    assert set(manifest["code"]) == {"commit", "dirty"}
    assert manifest["versions"]["torch"]
    assert manifest["device"]["n_cores"] >= 1
    assert manifest["stages"]["simulate"]["status"] == "done"
    assert manifest["stages"]["simulate"]["wall_s"] >= 0
    assert load_config(tmp_path / "run/config.yaml") == RunDir(tmp_path / "run").config == config


def test_stage_is_skipped_until_something_changes(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert attempt(run, "a") == (False, False)
    assert attempt(run, "a") == (True, False)
    assert attempt(run, "a", force=True) == (False, False)
    assert attempt(run, "b") == (False, False)
    assert attempt(run, "b") == (True, False)
    (tmp_path / "out.txt").unlink()
    assert attempt(run, "b") == (False, False)
    run.unlock()


@pytest.mark.parametrize(
    ("failure", "status"), [(ValueError("no\nluck"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_cut_off_stage_can_be_resumed_with_the_same_inputs_only(tmp_path: Path, failure, status: str) -> None:
    with RunDir(tmp_path) as run:
        run.start(ExperimentConfig())
        with pytest.raises(type(failure)):
            attempt(run, "a", fail=failure)
        facts = run.stage_facts("simulate")
        assert (facts["status"], run.manifest["status"]) == (status, status)
        assert "\n" not in facts["error"]
        assert attempt(run, "a") == (False, True)
        assert run.stage_facts("simulate")["n_attempts"] == 2
        with pytest.raises(type(failure)):
            attempt(run, "b", fail=failure)
        assert attempt(run, "c") == (False, False)


def test_restart_keeps_the_finished_stages(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.start(ExperimentConfig())
        attempt(run, "a")
        run.start(ExperimentConfig().with_values({"training.seed": 1}))
        assert attempt(run, "a") == (True, False)
        assert run.manifest["seeds"]["training"] == 1


HOLDER = """
import sys, time
from lobula.data.run_dir import RunDir

with RunDir(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_lock_names_the_process_and_dies_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(RunLockedError, match=f"in use by process {process.pid},"), RunDir(tmp_path):
        pass
    with pytest.raises(RunLockedError), RunDir(tmp_path).stage("simulate", "a"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with RunDir(tmp_path) as run:
        run.lock()  # taking it twice is fine
        assert run.is_locked
        with pytest.raises(RunLockedError, match=str(os.getpid())):
            RunDir(tmp_path).lock()
    assert not run.is_locked


def test_other_directories_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match=r"not a run directory \(holds 'thesis\.tex'"):
        RunDir(tmp_path)
    with pytest.raises(StoreError, match="a file, expected a run directory"):
        RunDir(tmp_path / "thesis.tex")
    with pytest.raises(MissingInputError, match="no run here"):
        RunDir.existing(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_damaged_manifest_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"stages": {')
    with pytest.raises(StoreError, match="damaged"):
        _ = RunDir(tmp_path).manifest
    with pytest.raises(MissingInputError, match="no config"):
        _ = RunDir(tmp_path / "new").config


def test_json_holds_arrays_paths_and_no_nan(tmp_path: Path) -> None:
    values = {"r2": np.float32(0.5), "w": np.array([1.0, np.nan]), "path": tmp_path, "n": (np.int64(1), float("inf"))}
    atomic_write_json(tmp_path / "x.json", values)
    read = json.loads((tmp_path / "x.json").read_text())
    assert read == {"r2": 0.5, "w": [1.0, None], "path": str(tmp_path), "n": [1, None]}


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write_text(tmp_path / "x.txt", "old")

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFullError, match="keeps its old content"):
        atomic_write_text(tmp_path / "x.txt", "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.txt", "old")]


def test_content_digest_follows_what_a_path_holds(tmp_path: Path) -> None:
    file, folder = tmp_path / "parameters.npz", tmp_path / "recording.zarr"
    folder.mkdir()
    for path in (file, folder / "c0", folder / "c1"):
        path.write_bytes(bytes(200_000))
    seen = {content_digest(file, folder), content_digest(folder, file), content_digest(None, folder)}
    (tmp_path / "copy.zarr").mkdir()
    for name in ("c0", "c1"):
        (tmp_path / "copy.zarr" / name).write_bytes(bytes(200_000))
    assert content_digest(folder) == content_digest(tmp_path / "copy.zarr")
    file.write_bytes(bytes(199_999) + b"x")
    seen.add(content_digest(file, folder))
    (folder / "c1").rename(folder / "c2")
    seen.add(content_digest(file, folder))
    assert len(seen) == 5
    assert content_digest("absent") == content_digest(tmp_path / "neither")


def test_combined_digest_depends_on_order_and_content() -> None:
    assert combined_digest("a", "b") == combined_digest("a", "b")
    assert len({combined_digest("a", "b"), combined_digest("b", "a"), combined_digest("ab")}) == 3
