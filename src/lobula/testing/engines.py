"""What every engine must do. A test class inherits `EngineConformance` and defines the fixture `open_engine`."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lobula.exploration.engines import processes
from lobula.exploration.engines.base import Engine, Job, JobState
from lobula.exploration.engines.status import job_status
from lobula.exploration.records import RunState

OpenEngine = Callable[[], Engine]
_GOOD = """
import json, os
print("to stdout")
open("count", "a").write("x")
open("seen", "w").write(f"{os.environ['OMP_NUM_THREADS']} {os.environ['COLOUR']} {os.getcwd()}")
open("result.partial", "w").write(json.dumps({"status": "ok", "attempt": 1}))
os.replace("result.partial", "result.json")
"""
# forks twice, leaves its group and its session, ignores SIGTERM, and so does its grandchild
_STUBBORN = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("grandchild", "w").write(str(os.getpid()))
        time.sleep(300)
    os._exit(0)
open("child", "w").write(str(os.getpid()))
time.sleep(300)
"""


class EngineConformance:
    """Tests of an engine.

    A subclass defines a fixture ``open_engine``: a function that gives a new engine object, each time on the same
    state, as a controller does that was started again.

    Attributes:
        patience: seconds that anything may take.
    """

    patience: float = 60.0

    def job(self, tmp_path: Path, program: str, name: str = "run-1-1", seconds: float = 200.0) -> Job:
        """A job that runs a Python program in a folder of its own."""
        folder = tmp_path / "jobs" / name
        command = (sys.executable, "-c", program)
        return Job(name, command, folder, folder / "result.json", seconds, environment={"COLOUR": "red"})

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        """Waits until something is so; fails when patience ends."""
        end = time.monotonic() + self.patience
        while not happened():
            assert time.monotonic() < end, f"waited {self.patience:.0f} s until {what}"
            time.sleep(0.05)

    def wait_for_end(self, engine: Engine, handle: str) -> None:
        """Waits until the engine says that a job ended."""
        self.wait(lambda: engine.poll(handle) is JobState.ENDED, f"{handle} ended")

    def start_stubborn(self, engine: Engine, tmp_path: Path, seconds: float) -> tuple[Job, str, tuple[int, int]]:
        """A job that does not want to end: the job, its handle, and its two processes."""
        job = self.job(tmp_path, _STUBBORN, seconds=seconds)
        handle = engine.submit(job)
        files = [job.folder / name for name in ("child", "grandchild")]
        self.wait(lambda: all(file.exists() and file.read_text() for file in files), "both processes run")
        child, grandchild = (int(file.read_text()) for file in files)
        return job, handle, (child, grandchild)

    def test_runs_a_job_to_its_end(self, open_engine: OpenEngine, tmp_path: Path) -> None:
        engine, job = open_engine(), self.job(tmp_path, _GOOD)
        handle = engine.submit(job)
        self.wait_for_end(engine, handle)
        assert json.loads(job.result.read_text())["status"] == "ok"
        assert (job.folder / "seen").read_text() == f"1 red {job.folder.resolve()}"
        assert "to stdout" in (job.folder / "stdout").read_text()
        assert engine.exit_note(handle) is None
        status = job_status(engine, job, handle)
        assert (status.state, status.outcome, status.error) == (JobState.ENDED, RunState.OK, None)

    def test_a_job_that_fails_has_ended(self, open_engine: OpenEngine, tmp_path: Path) -> None:
        engine, job = open_engine(), self.job(tmp_path, "raise SystemExit('no luck')")
        handle = engine.submit(job)
        self.wait_for_end(engine, handle)
        assert "no luck" in (job.folder / "stderr").read_text()
        assert not job.result.exists()
        assert engine.exit_note(handle) is None
        assert job_status(engine, job, handle).outcome is None  # a result may still appear
        assert job_status(engine, job, handle, silent_s=1e6).outcome is RunState.LOST

    def test_a_job_of_a_name_starts_once(self, open_engine: OpenEngine, tmp_path: Path) -> None:
        job = self.job(tmp_path, _GOOD)
        handle = open_engine().submit(job)
        engine = open_engine()
        assert engine.submit(job) == handle
        self.wait_for_end(engine, handle)
        assert open_engine().submit(job) == handle
        assert (job.folder / "count").read_text() == "x"

    def test_a_new_controller_finds_its_jobs(self, open_engine: OpenEngine, tmp_path: Path) -> None:
        job = self.job(tmp_path, "import time; time.sleep(300)")
        handle = open_engine().submit(job)
        self.wait(lambda: open_engine().poll(handle) is JobState.RUNNING, "it runs")
        open_engine().kill(handle)
        self.wait_for_end(open_engine(), handle)
        assert open_engine().exit_note(handle) == "killed"
        assert job_status(open_engine(), job, handle).outcome is RunState.KILLED

    def test_kill_ends_what_does_not_want_to(self, open_engine: OpenEngine, tmp_path: Path) -> None:
        engine = open_engine()
        _, handle, pids = self.start_stubborn(engine, tmp_path, 200.0)
        assert engine.poll(handle) is JobState.RUNNING
        engine.kill(handle)
        self.wait_for_end(engine, handle)
        self.wait(lambda: not any(map(_lives, pids)), "its processes are gone")
        engine.kill(handle)  # fine
        assert engine.exit_note(handle) == "killed"

    def test_the_time_limit_ends_what_does_not_want_to(self, open_engine: OpenEngine, tmp_path: Path) -> None:
        engine = open_engine()
        job, handle, pids = self.start_stubborn(engine, tmp_path, 2.0)
        self.wait_for_end(engine, handle)
        self.wait(lambda: not any(map(_lives, pids)), "its processes are gone")
        assert engine.exit_note(handle) == "timeout"
        assert job_status(engine, job, handle).outcome is RunState.TIMEOUT

    def test_an_unknown_handle_is_unknown(self, open_engine: OpenEngine) -> None:
        engine = open_engine()
        for handle in ("run-9-1@4000000", "nonsense", ""):
            assert engine.poll(handle) is JobState.UNKNOWN
            assert engine.exit_note(handle) is None
            engine.kill(handle)


def _lives(pid: int) -> bool:
    process = processes.find_process(pid)
    return process is not None and not process.is_zombie
