"""The engine `lsf` against a stand-in for LSF, which runs real processes."""

import json
import os
import time

import pytest
from tests.support.stand_in_lsf import install

from lobula.errors import EngineError
from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.cluster import ClusterEngine, Seen
from lobula.exploration.engines.lsf import Lsf
from lobula.exploration.engines.registry import make_engine
from lobula.exploration.engines.status import JobWatch, job_status
from lobula.exploration.folder import StudyFolder
from lobula.exploration.records import RunState
from lobula.exploration.study import EngineSettings
from lobula.testing import EngineConformance


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The folder that steers the stand-in."""
    folder = tmp_path / "cluster"
    monkeypatch.setenv("PATH", f"{install(folder)}:{os.environ['PATH']}")
    return folder


def calls(cluster, name: str) -> list[list[str]]:
    """The calls of one of its programs."""
    lines = (cluster / "calls").read_text().splitlines()
    return [words[1:] for words in map(json.loads, lines) if words[0] == name]


def test_what_is_asked_for(cluster, tmp_path):
    settings = EngineSettings(name="lsf", queue="gpu_long", options=("-P", "project"))
    engine = make_engine(settings, StudyFolder(tmp_path / "study"))
    job = Job("run-3-1", ("true",), tmp_path / "a", tmp_path / "a" / "r", 3600.0, 4, 1, 12.5)
    handle = engine.submit(job)
    assert handle == "run-3-1@101"
    (words,) = calls(cluster, "bsub")
    text = " ".join(words)
    assert words[:2] == ["-J", engine.cluster_name("run-3-1")]
    assert "-n 4 -R span[hosts=1] -W 63 -rn" in text
    assert "-q gpu_long -gpu num=1 -R rusage[mem=12.5GB] -P project" in text
    assert engine.cluster_name("run-3-1") != make_engine(settings, StudyFolder(tmp_path / "b/study")).cluster_name(
        "run-3-1"
    )


class TestLsf(EngineConformance):
    @pytest.fixture
    def open_engine(self, cluster, tmp_path):
        return lambda: ClusterEngine(Lsf(), tmp_path / "study" / "engine", 0.3, clock=_always_later())

    def quick(self, tmp_path):
        return self.job(tmp_path, "import time; time.sleep(300)")

    def test_a_job_that_vanishes_from_the_list_is_not_done(self, open_engine, cluster, tmp_path):
        engine, job = open_engine(), self.quick(tmp_path)
        handle = engine.submit(job)
        (cluster / "hidden").write_text("101")
        assert engine.poll(handle) is JobState.RUNNING  # bhist knows better
        (cluster / "jobs" / "101").rename(cluster / "jobs" / "away")
        assert engine.poll(handle) is JobState.UNKNOWN
        time_now = [0.0]
        watch = JobWatch(engine, grace_s=60.0, clock=lambda: time_now[0])
        assert watch.look(job, handle).outcome is None
        time_now[0] = 59.0
        assert watch.look(job, handle).outcome is None
        (cluster / "jobs" / "away").rename(cluster / "jobs" / "101")
        time_now[0] = 100.0
        assert watch.look(job, handle).state is JobState.RUNNING
        (cluster / "jobs" / "101").rename(cluster / "jobs" / "away")
        time_now[0] = 159.0
        assert watch.look(job, handle).outcome is None  # silent since it was seen last
        time_now[0] = 161.0
        assert watch.look(job, handle).outcome is RunState.LOST
        (cluster / "jobs" / "away").rename(cluster / "jobs" / "101")
        engine.kill(handle)

    def test_a_result_counts_more_than_the_scheduler(self, open_engine, cluster, tmp_path):
        engine, job = open_engine(), self.quick(tmp_path)
        handle = engine.submit(job)
        job.result.write_text('{"status": "nan", "attempt": 1, "error": "loss is nan"}')
        status = job_status(engine, job, handle, attempt=1)
        assert (status.outcome, status.error) == (RunState.NAN, "loss is nan")
        assert job_status(engine, job, handle, attempt=2).state is JobState.RUNNING  # that of another attempt
        engine.kill(handle)

    @pytest.mark.parametrize("text", ["", "<html>502</html>", "[]", '{"RECORDS": 3}', '{"RECORDS": [1]}'])
    def test_garbage_says_nothing(self, open_engine, cluster, tmp_path, text):
        engine, job = open_engine(), self.quick(tmp_path)
        handle = engine.submit(job)
        (cluster / "garbage").write_text(text)
        with pytest.raises(EngineError, match="bjobs"):
            engine.poll(handle)
        watch = JobWatch(engine, grace_s=0.0)
        for _ in range(3):
            status = watch.look(job, handle)
            assert (status.state, status.outcome) == (JobState.UNKNOWN, None)
        (cluster / "garbage").unlink()
        engine.kill(handle)

    def test_a_cluster_that_is_down(self, open_engine, cluster, tmp_path):
        engine, job = open_engine(), self.quick(tmp_path)
        (cluster / "down").touch()
        with pytest.raises(EngineError, match="LIM is down"):
            engine.submit(job)
        (cluster / "down").unlink()
        handle = engine.submit(job)
        (cluster / "down").touch()
        for call in (engine.poll, engine.kill):
            with pytest.raises(EngineError, match="LIM is down"):
                call(handle)
        (cluster / "down").unlink()
        engine.kill(handle)

    def test_a_controller_that_died_after_handing_in_finds_the_job(self, open_engine, cluster, tmp_path):
        engine, job = open_engine(), self.quick(tmp_path)
        handle = engine.submit(job)
        (engine.folder / job.name / "handle.json").unlink()  # it died before noting the number
        assert open_engine().submit(job) == handle
        (engine.folder / job.name / "handle.json").unlink()
        self.wait(lambda: (engine.folder / job.name / "supervisor.json").exists(), "it runs")
        (cluster / "hidden").write_text("101")
        assert open_engine().submit(job) == handle  # from the job's own word
        assert len(calls(cluster, "bsub")) == 1
        engine.kill(handle)

    def test_through_ssh(self, cluster, tmp_path):
        engine = ClusterEngine(Lsf(host="login1"), tmp_path / "study" / "engine")
        job = self.job(tmp_path, "open('result.json', 'w').write('{\"status\": \"ok\"}')", name="a.b-1")
        handle = engine.submit(job)
        self.wait_for_end(engine, handle)
        assert job_status(engine, job, handle).outcome is RunState.OK
        assert json.loads((cluster / "jobs" / "101").read_text())["via"] == "login1"
        lost = ClusterEngine(Lsf(host="nowhere"), tmp_path / "other" / "engine")
        with pytest.raises(EngineError, match="Could not resolve hostname nowhere"):
            lost.submit(job)

    def test_history_of_ended_jobs(self, open_engine, cluster, tmp_path):
        engine = open_engine()
        handles = [engine.submit(self.job(tmp_path, f"raise SystemExit({k})", name=f"run-{k}-1")) for k in (0, 3)]
        for handle in handles:
            self.wait_for_end(engine, handle)
        self.wait(lambda: len(list((cluster / "ended").glob("10?"))) == 2, "the scheduler noticed")
        facts = json.loads((cluster / "jobs" / "102").read_text())
        (cluster / "hidden").write_text("101 102")
        assert engine.scheduler.listing() == {}
        assert engine.scheduler.history("101") == Seen(JobState.ENDED)
        for reason, note in (("TERM_RUNLIMIT: job killed", "timeout"), ("TERM_MEMLIMIT: x", "oom"), ("", None)):
            (cluster / "jobs" / "102").write_text(json.dumps(facts | {"EXIT_REASON": reason}))
            assert engine.scheduler.history("102") == Seen(JobState.ENDED, note)
        assert engine.scheduler.history("999") is None


def test_no_lsf_here(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="bsub: not found"):
        make_engine(EngineSettings(name="lsf"), StudyFolder(tmp_path)).submit(
            Job("a", ("true",), tmp_path, tmp_path / "r", 1.0)
        )


def test_one_listing_serves_many_polls(cluster, tmp_path):
    now = [0.0]
    engine = ClusterEngine(Lsf(), tmp_path / "study" / "engine", clock=lambda: now[0])
    folder = tmp_path / "a"
    handle = engine.submit(Job("a", ("sleep", "300"), folder, folder / "r", 100.0))
    for _ in range(5):
        engine.poll(handle)
    assert len(calls(cluster, "bjobs")) == 1
    now[0] = 6.0
    engine.poll(handle)
    assert len(calls(cluster, "bjobs")) == 2
    engine.kill(handle)


def _always_later():
    """A clock on which every listing is old."""
    begin = time.monotonic()
    return lambda: 1000.0 * (time.monotonic() - begin)
