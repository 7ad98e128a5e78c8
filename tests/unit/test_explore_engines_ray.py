"""The engine `ray` on a real cluster of two local nodes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lobula.errors import EngineError, MissingDependencyError
from lobula.exploration.engines.base import JobState
from lobula.exploration.engines.registry import make_engine
from lobula.exploration.engines.status import job_status
from lobula.exploration.folder import StudyFolder
from lobula.exploration.records import RunState
from lobula.exploration.study import EngineSettings
from lobula.testing import EngineConformance

WITH_RAY = pytest.mark.filterwarnings("default")  # Ray's own warnings are not ours


def test_without_ray(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"lobula\[cluster\]"):
        make_engine(EngineSettings(name="ray"), StudyFolder(tmp_path))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with one core each; the address of their head."""
    pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    from ray._private import services
    from ray.cluster_utils import Cluster

    get_node = services.get_node

    def patient_get_node(*words):
        """Ray gives a node 30 s to come up, which a busy machine may not keep: this asks for longer."""
        end = time.monotonic() + 300
        while True:
            try:
                return get_node(*words)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_agent_register_timeout_ms", "300000")
        patch.setattr(services, "get_node", patient_get_node)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
        nodes.add_node(num_cpus=1, num_gpus=0)
    yield nodes.address
    import ray

    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
@WITH_RAY
class TestRay(EngineConformance):
    patience = 300.0

    @pytest.fixture
    def open_engine(self, cluster, tmp_path):
        from lobula.exploration.engines.ray import RayEngine

        made = []

        def open_engine() -> RayEngine:
            made.append(RayEngine(tmp_path / "study" / "engine", cluster, 0.5))
            return made[-1]

        yield open_engine
        for ticket in (tmp_path / "study" / "engine").glob("*"):
            made[0].kill(f"{ticket.name}@{made[0].tag}")

    def test_both_nodes_work_and_a_third_job_waits(self, open_engine, tmp_path):
        engine = open_engine()
        program = "import time; time.sleep(300)"
        jobs = [self.job(tmp_path, program, name=f"run-{k}-1") for k in range(3)]
        handles = [engine.submit(job) for job in jobs]

        def states() -> list[JobState]:
            return [engine.poll(handle) for handle in handles]

        self.wait(lambda: states().count(JobState.RUNNING) == 2, "two of them run")
        waiting = states().index(JobState.QUEUED)
        engine.kill(handles[waiting])
        assert job_status(engine, jobs[waiting], handles[waiting]).outcome is RunState.KILLED
        assert not (jobs[waiting].folder / "stdout").exists()

    def test_jobs_outlive_the_controller(self, open_engine, cluster, tmp_path):
        job = self.job(tmp_path, "import time; time.sleep(300)")
        program = f"""
import os, signal
from pathlib import Path
from lobula.exploration.engines.base import Job
from lobula.exploration.engines.ray import RayEngine
folder = Path({str(job.folder)!r})
job = Job("run-1-1", {job.command!r}, folder, folder / "result.json", 200.0)
engine = RayEngine(Path({str(tmp_path / "study" / "engine")!r}), {cluster!r}, 0.5)
handle = engine.submit(job)
while engine.poll(handle) != "running":
    pass
print(handle, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
        dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert dead.returncode == -signal.SIGKILL, dead.stderr
        engine, handle = open_engine(), dead.stdout.strip().splitlines()[-1]
        assert engine.poll(handle) is JobState.RUNNING
        assert engine.submit(job) == handle
        engine.kill(handle)
        self.wait_for_end(engine, handle)

    def test_the_job_ends_with_its_actor(self, open_engine, tmp_path):
        import json

        engine = open_engine()
        _, handle, (child, _) = self.start_stubborn(engine, tmp_path, 200.0)
        facts = json.loads((engine.folder / "run-1-1" / "supervisor.json").read_text())
        actor = int(Path(f"/proc/{facts['pid']}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(actor, signal.SIGKILL)
        self.wait_for_end(engine, handle)
        self.wait(lambda: not Path(f"/proc/{child}/cwd").exists(), "its processes are gone")

    def test_no_cluster(self, cluster, tmp_path):
        program = (
            "from pathlib import Path; from lobula.exploration.engines.ray import RayEngine; "
            f"RayEngine(Path({str(tmp_path)!r}), '127.0.0.1:1')"
        )
        environment = os.environ | {"RAY_gcs_rpc_server_connect_timeout_s": "2", "RAY_NUM_REDIS_GET_RETRIES": "1"}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert done.stderr.strip().splitlines()[-1].startswith(f"lobula.errors.{EngineError.__name__}"), done.stderr
