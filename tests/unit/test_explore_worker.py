"""Parts of the worker and of the scorer that need no simulation."""

import csv
import json
import math
import sys
import time

import pytest

from lobula.config import load_config
from lobula.errors import MissingInputError
from lobula.exploration import stages
from lobula.exploration.engines.local import LocalEngine
from lobula.exploration.engines.status import job_status
from lobula.exploration.folder import StudyFolder
from lobula.exploration.pace import Pace, over_time, projected_seconds
from lobula.exploration.records import RunState
from lobula.exploration.run_job import SLACK_S, RunJob, code_environment
from lobula.exploration.scorer import Scores, flatten, load_scores, scoring_job
from lobula.exploration.stages import run_stage, what_happened
from lobula.exploration.worker import main, trajectory


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (0, "warning: all is well", RunState.OK),
        (2, "a notice\nDivergedError: training: loss is nan at step 7", RunState.NAN),
        (2, "NonFiniteError: recording: voltage holds NaN", RunState.NAN),
        (2, "MemoryError: out of memory; --dry-run shows what an experiment needs", RunState.OOM),
        (1, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB; a fault of lobula itself", RunState.OOM),
        (1, "RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", RunState.OOM),
        (2, "ConfigError: training.lr: got 2, expected a number below 1", RunState.INVALID),
        (2, "DeadPenaltyError: coeff_W_sign: never acted", RunState.INVALID),
        (2, "DiskFullError: run.json: the disk is full; free space", RunState.INFRA),
        (1, "OSError: [Errno 28] No space left on device", RunState.INFRA),
        (2, "RunLockedError: runs/0001: in use by process 7", RunState.INFRA),
        (2, "MissingInputError: recording: data/x/recording.zarr does not exist", RunState.INFRA),
        (1, "RuntimeError: CUDA error: an illegal memory access; a fault of lobula itself", RunState.INFRA),
        (1, "KeyError: 'x'; a fault of lobula itself: --debug shows where", RunState.CRASH),
        (1, "  File x\nImportError: cannot import name 'y'", RunState.CRASH),
        (-11, "", RunState.CRASH),
        (-9, "loss 0.3", RunState.OOM),
        (-15, "", RunState.INFRA),
        (130, "interrupted; run the same command again to go on", RunState.INFRA),
    ],
)
def test_what_the_end_of_a_stage_means(code, text, status):
    found, error = what_happened(code, text)
    assert found is status
    assert (error is None) == (status is RunState.OK)
    assert error is None or "\n" not in error


def test_a_kill_by_hand_is_not_for_lack_of_memory():
    assert what_happened(-9, "", out_of_memory=False) == (RunState.INFRA, "stopped from outside (SIGKILL)")
    assert what_happened(2, "DivergedError: x")[1] == "DivergedError: x"


def steady(per_step: float, n: int, start: float = 10.0) -> list[tuple[float, int]]:
    """Samples of a training that begins after a while and then keeps its pace."""
    return [(start + per_step * done, done) for done in range(10, 10 * n + 1, 10)]


def test_projection_is_exact_for_a_steady_training():
    assert projected_seconds(steady(0.5, 4), 1000) == pytest.approx(10 + 0.5 * 1000)
    assert projected_seconds(steady(0.5, 1), 1000) is None
    assert projected_seconds([(1.0, 10), (2.0, 10)], 100) is None


@pytest.mark.parametrize(
    ("samples", "limit", "ends"),
    [
        (steady(0.5, 4), 500.0, False),  # 510 s: too long, but not clearly
        (steady(0.5, 20), 300.0, True),  # 510 s is
        (steady(0.5, 4), 340.0, False),  # only just too long
        (steady(0.5, 2), 100.0, False),  # two samples do not say
        (steady(0.01, 4, start=2.0), 1e3, False),  # in time
        ([(1.0, 1), (9.0, 2), (10.0, 3)], 200.0, False),  # less than a tenth of the limit has passed
    ],
)
def test_only_a_clear_excess_ends_a_run(samples, limit, ends):
    assert (over_time(samples, 1000, limit) is not None) is ends


def test_a_start_that_takes_long_is_not_taken_for_the_pace():
    assert over_time(steady(0.01, 4, start=60.0), 1000, 100.0) is None  # 70 s


def test_the_pace_comes_from_metrics(tmp_path):
    config = load_config("fly-tiny", ["training.n_steps=80", "training.rounds=2", "training.round_steps=60"])
    metrics = tmp_path / "metrics.csv"
    pace = Pace(config, metrics, limit=100.0)
    assert pace.n_steps == 200
    assert pace(5.0) is None
    for seconds, step in ((20.0, 2), (22.0, 2), (40.0, 4), (60.0, 6)):
        with metrics.open("w", newline="") as file:
            csv.writer(file).writerows([["iteration", "loss"], [1, 0.5], [step, 0.4]])
        reason = pace(seconds)
    assert reason == "6 of 200 steps after 60 s, 2000 s in all, limit 100 s"
    assert len(pace.samples) == 3


def test_a_trajectory_holds_nothing_of_the_truth():
    rows = [{"iteration": str(k), "connectivity_r2": "0.9", "loss": "nan", "validation": "8.1e-05"} for k in range(100)]
    points = trajectory(rows)
    assert [points[0]["iteration"], points[-1]["iteration"], len(points)] == [0, 99, 12]
    assert points[0] == {"iteration": 0, "loss": None, "validation": 8.1e-05}
    assert trajectory([]) == []
    assert len(trajectory(rows[:3])) == 3


def test_numbers_that_are_not_finite_are_left_out_and_named():
    scores = {"target": "observed", "seeds": {"training": 1}, "ceiling": None}
    scores |= {"gnn": {"W": {"r2": -3.5, "fit_r2": None, "n": 7}, "tau": {"r2": math.nan}, "ok": True, "m": "gmm"}}
    metrics, left_out = flatten(scores)
    assert metrics == {"gnn.W.r2": -3.5, "gnn.W.n": 7.0}
    assert left_out == ("gnn.W.fit_r2", "gnn.tau.r2")


def a_job(tmp_path, attempt: int = 1, **changes) -> RunJob:
    values = {"study": StudyFolder(tmp_path), "run": 7, "attempt": attempt, "config": load_config("fly-tiny").to_dict()}
    return RunJob(**values | {"data_id": "d", "code": tmp_path / "code", "seconds": 50.0} | changes)


def test_a_job_survives_its_file(tmp_path):
    job = a_job(tmp_path, threads=3, memory_gb=2.0)
    assert RunJob.read(job.write()) == job
    wanted = job.engine_job()
    assert (wanted.name, wanted.seconds, wanted.threads) == ("run-7-1", 50.0 + SLACK_S, 3)
    assert wanted.environment["PYTHONPATH"] == str(tmp_path / "code" / "src")
    with pytest.raises(MissingInputError, match="job"):
        RunJob.read(tmp_path / "none.json")


def test_a_result_that_makes_no_sense_is_the_fault_of_the_machine(tmp_path):
    job = a_job(tmp_path)
    job.write()
    engine = LocalEngine(tmp_path / "engine")
    for text, outcome in (
        ('{"attempt": 1, "status": "splendid"}', RunState.INFRA),
        ('{"attempt": 1, "status": "scored"}', RunState.INFRA),  # not for a run to say
        ('{"attempt": 1, "sta', None),
        ('{"attempt": 0, "status": "crash"}', None),
        ('{"attempt": 0, "status": "ok"}', RunState.OK),  # late, but good
    ):
        job.result.write_text(text)
        assert job_status(engine, job.engine_job(), "run-7-1@1:1:1", attempt=1).outcome is outcome


def test_a_new_attempt_puts_the_old_result_aside(tmp_path):
    a_job(tmp_path).write()
    result = tmp_path / "runs" / "0007" / "result.json"
    result.write_text('{"attempt": 1, "status": "infra"}')
    a_job(tmp_path).write()
    assert result.exists()  # the same attempt: the controller only died before it noted the job
    a_job(tmp_path, 2).write()
    assert not result.exists()
    assert (result.parent / "result-1.json").exists()


def test_a_config_that_is_not_valid(tmp_path):
    job = a_job(tmp_path)
    job.config["training"]["lr"] = 7.0
    assert main([str(job.write())]) == 1
    result = json.loads(job.result.read_text())
    assert (result["status"], result["attempt"]) == ("invalid", 1)
    assert result["error"].startswith("ConfigError: training.lr")


def test_a_job_that_is_done_is_not_done_again(tmp_path):
    job = a_job(tmp_path)
    path = job.write()
    job.result.write_text('{"attempt": 1, "status": "ok", "kept": true}')
    assert main([str(path)]) == 0
    assert json.loads(job.result.read_text())["kept"]


@pytest.fixture
def code(tmp_path):
    """A folder of code whose `python -m lobula` does what it is told."""
    package = tmp_path / "code" / "src" / "lobula"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()

    def write(program: str):
        (package / "__main__.py").write_text(program)
        return tmp_path / "code"

    return write


def test_a_stage_runs_in_the_code_that_it_is_given(tmp_path, code):
    where = code("import os, sys, lobula; print(lobula.__file__, sys.argv[1:], os.environ['OMP_NUM_THREADS'])")
    end = run_stage(["train", "x"], where, tmp_path / "log", time.monotonic() + 60, threads=3)
    assert (end.status, end.error) == (RunState.OK, None)
    assert str(tmp_path / "code" / "src" / "lobula") in (tmp_path / "log").read_text()
    assert "['train', 'x'] 3" in (tmp_path / "log").read_text()
    assert code_environment(where)["PYTHONSAFEPATH"] == "1"


def test_only_the_last_attempt_in_a_log_counts(tmp_path, code):
    (tmp_path / "log").write_text("DivergedError: of an earlier attempt\n")
    end = run_stage(["train"], code("raise SystemExit(1)"), tmp_path / "log", time.monotonic() + 60)
    assert (end.status, end.error) == (RunState.CRASH, "train: ended with status 1")


def test_a_stage_that_is_out_of_time(tmp_path, code, monkeypatch):
    sleeper = code("import subprocess, sys; subprocess.run(['sleep', '300'])")
    end = run_stage(["train"], sleeper, tmp_path / "log", time.monotonic() + 1.0)
    assert (end.status, end.error) == (RunState.TIMEOUT, "train: out of time")
    monkeypatch.setattr(stages, "_WATCH_EVERY", 0.1)
    end = run_stage(["train"], sleeper, tmp_path / "log", time.monotonic() + 60, watch=lambda seconds: "too slow")
    assert (end.status, end.error) == (RunState.TIMEOUT, "train: too slow")
    assert end.seconds < 30


def test_a_simulation_that_fails_is_not_the_fault_of_the_config(tmp_path, code):
    code("import sys; sys.exit('DivergedError: simulation: voltage is nan')")
    job = a_job(tmp_path)
    assert main([str(job.write())]) == 1
    result = json.loads(job.result.read_text())
    assert (result["status"], result["error"]) == ("infra", "simulate: DivergedError: simulation: voltage is nan")
    assert not (tmp_path / "data" / "d" / "recording.zarr").exists()


def test_scores_of_a_run_that_left_nothing(tmp_path):
    job = a_job(tmp_path)
    wanted = scoring_job(job)
    assert load_scores(job) is None
    from lobula.exploration.scorer import main as score

    assert score([wanted.command[-1]]) == 1
    scores = load_scores(job)
    assert isinstance(scores, Scores)
    assert scores.status is RunState.INFRA
    assert "recording.zarr does not exist" in scores.error
    assert wanted.command[0] == sys.executable
    assert wanted.result == tmp_path / "scores" / "0007" / "result.json"
