"""A run of a study: the worker is killed in the training and started again, then the scorer scores."""

import csv
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from lobula.config import load_config
from lobula.exploration.engines import processes
from lobula.exploration.folder import StudyFolder
from lobula.exploration.records import RunState
from lobula.exploration.run_job import RunJob
from lobula.exploration.scorer import load_scores, scoring_job

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def job(tmp_path) -> RunJob:
    (tmp_path / "code").symlink_to(REPOSITORY)
    config = load_config("fly-tiny", ["training.checkpoint_every=10", "training.seed=3"]).to_dict()
    return RunJob(StudyFolder(tmp_path), 1, 1, config, "data-0", tmp_path / "code", seconds=300.0)


def start(job: RunJob) -> subprocess.Popen:
    wanted = job.engine_job()
    return subprocess.Popen(wanted.command, cwd=job.folder, env=os.environ | wanted.environment, start_new_session=True)


def files_of(process: subprocess.Popen) -> set[str]:
    """Files that processes of a job have open, and the words they were started with."""
    found = set()
    for pid in processes.descendants(process.pid):
        try:
            found.update(os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
            found.update(Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
        except OSError:
            continue
    return found


def test_a_run_that_is_killed_goes_on_and_is_scored(job, tmp_path):
    job.write()
    process = start(job)
    checkpoint, recording = job.folder / "models" / "gnn" / "checkpoint.pt", tmp_path / "data" / "data-0"
    seen: set[str] = set()
    while not checkpoint.exists():
        assert process.poll() is None, (job.folder / "result.json").read_text()
        if (recording / "recording.zarr").exists():
            seen |= files_of(process)
        time.sleep(0.02)
    stages = processes.descendants(process.pid)
    process.kill()
    process.wait()
    while any(processes.find_process(pid) and not processes.find_process(pid).is_zombie for pid in stages):
        time.sleep(0.02)  # the training dies with the worker
    assert not job.result.exists()
    made = (recording / "recording.zarr" / "zarr.json").stat()

    process = start(job)
    assert process.wait(300) == 0
    result = json.loads(job.result.read_text())
    assert (result["run"], result["attempt"], result["status"], result["error"]) == (1, 1, "ok", None)
    assert set(result["wall_s"]) == {"fit"}  # the recording was there
    assert "training goes on at step" in (job.folder / "fit.log").read_text()
    assert (recording / "recording.zarr" / "zarr.json").stat() == made
    assert json.loads((job.folder / "run.json").read_text())["stages"]["train gnn"]["n_attempts"] == 2

    # the truth is where only the scorer looks
    assert [path.name for path in recording.iterdir()] == ["recording.zarr"]
    assert (tmp_path / "truth" / "data-0" / "truth.zarr").exists()
    assert "recover" in seen  # of the words that the fit was started with
    code = str(REPOSITORY / "src")  # has modules named after it, open while they are imported
    assert not any("truth" in name for name in seen if not name.startswith(code))
    with (job.folder / "models" / "gnn" / "metrics.csv").open(newline="") as file:
        assert all(row["connectivity_r2"] == "" for row in csv.DictReader(file))
    assert set(result["trajectory"][-1]) == {"iteration", "phase", "loss", "prediction", "validation"}
    assert result["trajectory"][-1]["iteration"] == job.config["training"]["n_steps"]

    wanted = scoring_job(job)
    done = subprocess.run(wanted.command, cwd=wanted.folder, env=os.environ | wanted.environment)
    assert done.returncode == 0, (wanted.folder / "score.log").read_text()
    scores = load_scores(job)
    assert scores.status is RunState.OK
    assert scores.left_out == ()
    assert 0.3 < scores.metrics["gnn.W.r2"] < scores.metrics["ceiling.W.r2"] < 1.0
