"""The engine `local`: real processes, killed in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lobula.errors import EngineError
from lobula.exploration.engines import leases, processes
from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.local import LocalEngine
from lobula.exploration.engines.registry import make_engine
from lobula.exploration.engines.ticket import Ticket
from lobula.exploration.folder import StudyFolder
from lobula.exploration.study import EngineSettings
from lobula.testing import EngineConformance

SLEEP = "import time; time.sleep(300)"


def supervisor(handle: str) -> tuple[int, int]:
    """Number and start time of a job's supervisor."""
    pid, start, _ = handle.partition("@")[2].split(":")
    return int(pid), int(start)


class TestLocalEngine(EngineConformance):
    @pytest.fixture
    def open_engine(self, tmp_path):
        return lambda: LocalEngine(tmp_path / "engine", grace=0.3)

    def test_the_limit_holds_while_the_controller_is_dead(self, tmp_path):
        job = self.job(tmp_path, SLEEP)
        program = f"""
import os, signal
from pathlib import Path
from lobula.exploration.engines.base import Job
from lobula.exploration.engines.local import LocalEngine
folder = Path({str(job.folder)!r})
job = Job("run-1-1", {job.command!r}, folder, folder / "result.json", 1.5)
print(LocalEngine(Path({str(tmp_path / "engine")!r}), grace=0.3).submit(job), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
        dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert dead.returncode == -signal.SIGKILL, dead.stderr
        engine, handle = LocalEngine(tmp_path / "engine"), dead.stdout.strip()
        assert engine.poll(handle) in (JobState.QUEUED, JobState.RUNNING)
        self.wait_for_end(engine, handle)
        assert engine.exit_note(handle) == "timeout"

    def test_the_supervisor_killed_takes_the_job_along(self, open_engine, tmp_path):
        engine = open_engine()
        _, handle, (child, grandchild) = self.start_stubborn(engine, tmp_path, 200.0)
        os.kill(supervisor(handle)[0], signal.SIGKILL)
        self.wait(lambda: engine.poll(handle) is JobState.ENDED, "the end is noticed")
        for pid in (child, grandchild):
            process = processes.find_process(pid)
            assert process is None or process.is_zombie
        assert engine.exit_note(handle) is None
        assert engine.submit(self.job(tmp_path, SLEEP)) == handle  # a name is used once, however it ended

    def test_a_recycled_number_is_not_the_job(self, open_engine, tmp_path):
        engine, job = open_engine(), self.job(tmp_path, SLEEP)
        handle = engine.submit(job)
        pid, start = supervisor(handle)
        assert processes.is_alive(pid, start)
        assert not processes.is_alive(pid, start + 1)
        assert not processes.send(pid, start - 1, signal.SIGKILL)
        ticket = Ticket.of(tmp_path / "engine", job.name)
        other = subprocess.Popen([sys.executable, "-c", SLEEP])  # has the number that the supervisor once had
        try:
            engine.kill(handle)
            (ticket.folder / "exit.json").unlink()
            facts = ticket.read("supervisor")
            ticket.note("supervisor", facts | {"pid": other.pid})
            stale = f"{job.name}@{other.pid}:{start}:{facts['boot']}"
            assert engine.poll(stale) is JobState.ENDED
            engine.kill(stale)
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()

    def test_a_job_of_before_a_reboot_has_ended(self, open_engine, tmp_path):
        engine, job = open_engine(), self.job(tmp_path, SLEEP)
        handle = engine.submit(job)
        ticket = Ticket.of(tmp_path / "engine", job.name)
        facts = ticket.read("supervisor")
        ticket.note("supervisor", facts | {"host": "elsewhere"})
        assert engine.poll(handle) is JobState.UNKNOWN
        with pytest.raises(EngineError, match="another machine"):
            engine.kill(handle)
        ticket.note("supervisor", facts | {"boot": "earlier"})
        assert engine.poll(handle.replace(facts["boot"], "earlier")) is JobState.ENDED  # though the number is in use

    def test_a_controller_that_died_before_the_start_starts_it_now(self, open_engine, tmp_path):
        engine, job = open_engine(), self.job(tmp_path, "open('result.json', 'w').write('{}')")
        Ticket.of(tmp_path / "engine", job.name).write(job, ())  # and then it died
        handle = engine.submit(job)
        self.wait_for_end(engine, handle)
        assert job.result.exists()

    def test_out_of_memory_and_kill_by_hand_differ(self, open_engine, tmp_path, monkeypatch):
        engine = open_engine()
        handle = engine.submit(self.job(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
        self.wait_for_end(engine, handle)
        assert engine.exit_note(handle) == "killed"
        monkeypatch.setattr(processes, "oom_kills", lambda: 4)
        assert processes.was_out_of_memory(3)
        assert not processes.was_out_of_memory(4)

    def test_a_command_that_is_not_there(self, open_engine, tmp_path):
        engine, folder = open_engine(), tmp_path / "job"
        handle = engine.submit(Job("a", ("no-such-program",), folder, folder / "result.json", 5.0))
        self.wait_for_end(engine, handle)
        assert (folder / "stderr").read_text() == "no-such-program: No such file or directory\n"

    def test_left_over_children_end_with_the_job(self, open_engine, tmp_path):
        program = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', %r], start_new_session=True)\n"
        engine, job = open_engine(), self.job(tmp_path, program % SLEEP + "open('pid', 'w').write(str(p.pid))")
        self.wait_for_end(engine, engine.submit(job))
        left = processes.find_process(int((job.folder / "pid").read_text()))
        assert left is None or left.is_zombie


def test_names_that_are_no_file_names(tmp_path):
    for name in ("../x", "", "a b", ".hidden"):
        with pytest.raises(EngineError, match="expected letters, digits"):
            LocalEngine(tmp_path).submit(Job(name, ("true",), tmp_path, tmp_path / "r", 1.0))


def test_one_job_per_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for the supervisors
    engine = make_engine(EngineSettings(gpus=("3", "5")), StudyFolder(tmp_path))
    program = "import os, time; open('gpu', 'w').write(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(300)"
    handles, folders = [], []
    for k in range(3):
        folders.append(tmp_path / f"job-{k}")
        job = Job(f"run-{k}", (sys.executable, "-c", program), folders[k], folders[k] / "result.json", 100.0, gpus=1)
        handles.append(engine.submit(job))

    def leased() -> list[str]:
        return [(folder / "gpu").read_text() for folder in folders if (folder / "gpu").exists()]

    try:
        wait_until(lambda: sorted(leased()) == ["3", "5"])
        states = [engine.poll(handle) for handle in handles]
        waiting = states.index(JobState.QUEUED)
        assert states.count(JobState.RUNNING) == 2
        assert leases.lease(("3", "5")) is None
        os.kill(supervisor(handles[(waiting + 1) % 3])[0], signal.SIGKILL)  # a lease ends with its holder
        wait_until(lambda: engine.poll(handles[waiting]) is JobState.RUNNING)
    finally:
        for handle in handles:
            engine.kill(handle)
    with pytest.raises(EngineError, match=r"engine\.gpus"):
        LocalEngine(tmp_path / "none").submit(Job("a", ("true",), tmp_path, tmp_path / "r", 1.0, gpus=1))


def test_a_job_that_needs_no_gpu_sees_none(tmp_path):
    engine = LocalEngine(tmp_path / "engine", ("0",))
    program = "import json, os; json.dump(dict(os.environ), open('result.json', 'w'))"
    job = Job("a", (sys.executable, "-c", program), tmp_path / "a", tmp_path / "a" / "result.json", 30.0, threads=2)
    handle = engine.submit(job)
    wait_until(lambda: engine.poll(handle) is JobState.ENDED)
    seen = json.loads(job.result.read_text())
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert (seen["OMP_NUM_THREADS"], seen["MKL_NUM_THREADS"]) == ("2", "2")


def wait_until(happened, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_supervisor_is_light():
    program = (
        "import sys, lobula.exploration.engines.supervise as s; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert Path(processes.__file__).exists()
