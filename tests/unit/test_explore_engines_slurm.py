"""The engine `slurm`: its words against stand-ins, and a real Slurm on this machine where it is installed."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tests.support.slurm_cluster import find, missing, slurm_cluster

from lobula.errors import EngineError
from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.cluster import LISTING_AGE_S, ClusterEngine, Seen
from lobula.exploration.engines.registry import make_engine
from lobula.exploration.engines.slurm import Slurm, seen
from lobula.exploration.engines.status import job_status
from lobula.exploration.folder import StudyFolder
from lobula.exploration.records import RunState
from lobula.exploration.study import EngineSettings
from lobula.testing import EngineConformance

SAYS = """#!/bin/bash
echo "$(basename "$0") $@" >> {folder}/calls
cat {folder}/$(basename "$0").says 2>/dev/null
cat {folder}/$(basename "$0").err >&2 2>/dev/null
exit $(cat {folder}/$(basename "$0").status 2>/dev/null || echo 0)
"""


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Makes a command of Slurm say something."""
    for name in ("sbatch", "squeue", "sacct", "scancel"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(SAYS.format(folder=tmp_path))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def say(name: str, out: str = "", err: str = "", status: int = 0) -> None:
        for suffix, text in (("says", out), ("err", err), ("status", str(status))):
            (tmp_path / f"{name}.{suffix}").write_text(text)

    return say


@pytest.mark.parametrize(
    ("word", "state", "note"),
    [
        ("PENDING", JobState.QUEUED, None),
        ("COMPLETING", JobState.RUNNING, None),
        ("COMPLETED", JobState.ENDED, None),
        ("CANCELLED by 1000", JobState.ENDED, "killed"),
        ("CANCELLED+", JobState.ENDED, "killed"),
        ("OUT_OF_MEMORY", JobState.ENDED, "oom"),
        ("TIMEOUT", JobState.ENDED, "timeout"),
        ("NODE_FAIL", JobState.ENDED, None),
        ("SOMETHING_NEW", JobState.UNKNOWN, None),
    ],
)
def test_words_of_slurm(word, state, note):
    assert seen(word) == Seen(state, note)


def test_what_is_asked_for(says, tmp_path):
    says("sbatch", "4711;cluster\n")
    engine = make_engine(EngineSettings(name="slurm", queue="gpu", options=("--qos=low",)), StudyFolder(tmp_path / "s"))
    job = Job("run-3-1", ("true",), tmp_path / "a", tmp_path / "a" / "r", 3600.0, 4, 1, 12.5)
    assert engine.submit(job) == "run-3-1@4711"
    assert engine.submit(job) == "run-3-1@4711"
    (call,) = [line for line in (tmp_path / "calls").read_text().splitlines() if line.startswith("sbatch")]
    for word in (
        *("--parsable", f"--job-name={engine.cluster_name('run-3-1')}", "--no-requeue", "--cpus-per-task=4"),
        *("--time=63", "--partition=gpu", "--gres=gpu:1", "--mem=12800M", "--qos=low"),
    ):
        assert word in call.split()


def test_a_job_that_is_not_listed_is_not_done(says, tmp_path):
    now = [0.0]
    engine = ClusterEngine(Slurm(), tmp_path / "study" / "engine", clock=lambda: now[0])
    says("sbatch", "7\n")
    handle = engine.submit(Job("a", ("true",), tmp_path / "a", tmp_path / "a" / "r", 10.0))

    def poll() -> JobState:
        now[0] += LISTING_AGE_S + 1
        return engine.poll(handle)

    says("squeue", "6 RUNNING\n7 PENDING\n")
    assert poll() is JobState.QUEUED
    says("squeue", "6 RUNNING\n")
    says("sacct", "", "Slurm accounting storage is disabled", 1)
    assert poll() is JobState.UNKNOWN
    says("sacct", "")
    assert poll() is JobState.UNKNOWN
    says("sacct", "CANCELLED by 0\n")
    assert (poll(), engine.exit_note(handle)) == (JobState.ENDED, "killed")
    for out, err, status in (("", "Unable to contact slurm controller", 1), ("<html>oops</html>\n", "", 0)):
        says("squeue", out, err, status)
        with pytest.raises(EngineError, match="squeue"):
            poll()
    says("scancel", "", "scancel: error: Kill job error on job id 7: Invalid job id specified", 1)
    engine.kill(handle)
    says("scancel", "", "Unable to contact slurm controller", 1)
    with pytest.raises(EngineError, match="Unable to contact"):
        engine.kill(handle)
    says("sbatch", "", "sbatch: error: invalid partition specified", 1)
    with pytest.raises(EngineError, match="invalid partition"):
        engine.submit(Job("b", ("true",), tmp_path / "b", tmp_path / "b" / "r", 10.0))


def test_handed_in_and_not_noted(says, tmp_path):
    engine = ClusterEngine(Slurm(), tmp_path / "study" / "engine")
    job = Job("a", ("true",), tmp_path / "a", tmp_path / "a" / "r", 10.0)
    says("sbatch", "7\n")
    handle = engine.submit(job)
    (engine.folder / "a" / "handle.json").unlink()
    says("sbatch", "8\n")
    says("squeue", "7\n")
    assert engine.submit(job) == handle
    (engine.folder / "a" / "handle.json").unlink()
    says("squeue", "")
    says("sacct", "5\n7\n")  # the latest of that name
    assert engine.submit(job) == handle
    (engine.folder / "a" / "handle.json").unlink()
    says("sacct", "")
    assert engine.submit(job) == "a@8"  # it was never handed in


@pytest.fixture(scope="module")
def cluster():
    """A running Slurm; SLURM_CONF points to it."""
    if missing():
        pytest.skip(f"{', '.join(missing())}: not installed (Debian: slurm-wlm, munge)")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm_cluster(Path(folder) / "c") as config:
        yield config


@pytest.mark.slow
class TestSlurm(EngineConformance):
    patience = 120.0

    @pytest.fixture
    def open_engine(self, cluster, tmp_path, monkeypatch):
        monkeypatch.setenv("SLURM_CONF", str(cluster))
        begin = time.monotonic()
        engine = ClusterEngine(Slurm(), tmp_path / "study" / "engine", 1.0)
        yield lambda: ClusterEngine(Slurm(), engine.folder, 1.0, clock=lambda: 1000.0 * (time.monotonic() - begin))
        subprocess.run([find("scancel"), "--full", "--user=root"], check=False)

    def test_a_job_cancelled_while_it_waits(self, open_engine, tmp_path):
        engine = open_engine()
        engine.scheduler.options = ("--begin=now+1hour",)
        job = self.job(tmp_path, "pass")
        handle = engine.submit(job)
        assert engine.poll(handle) is JobState.QUEUED
        engine.kill(handle)
        self.wait_for_end(engine, handle)
        assert job_status(engine, job, handle).outcome is RunState.KILLED

    def test_a_controller_that_died_after_handing_in_finds_the_job(self, open_engine, tmp_path):
        engine, job = open_engine(), self.job(tmp_path, "import time; time.sleep(300)")
        engine.scheduler.options = ("--begin=now+1hour",)  # so that the job cannot speak for itself
        handle = engine.submit(job)
        (engine.folder / job.name / "handle.json").unlink()
        assert open_engine().submit(job) == handle
        engine.kill(handle)
