"""Engine `ray`: a cluster of Ray workers. Every job has a detached actor, which holds its share of a node."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from lobula.errors import EngineError, MissingDependencyError
from lobula.exploration.engines import processes
from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.cluster import source_for, study_tag
from lobula.exploration.engines.local import SUPERVISOR
from lobula.exploration.engines.ticket import Ticket

_KILL_SECONDS = 15.0


class Carrier:
    """The actor of a job, on a node of the cluster: it starts the job's supervisor, and ends with it.

    The supervisor is no child of the actor: Ray kills the children of actors in a way that leaves them no time to end
    theirs. It ends its job when the actor dies, in whatever way.

    Args:
        ticket: folder of the job's ticket.
    """

    def __init__(self, ticket: str) -> None:
        own = processes.find_process(os.getpid())
        holder = f"{os.getpid()}:{own.start if own else 0}"
        command = [sys.executable, "-P", "-m", SUPERVISOR, ticket, "--detach", "--with", holder]
        self.end, write = os.pipe()
        with (Path(ticket) / "log").open("ab") as log:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[write], check=False)
        os.close(write)  # the supervisor has it now, and its end closes it
        threading.Thread(target=self._end_with, daemon=True).start()

    def _end_with(self) -> None:
        os.read(self.end, 1)
        os._exit(0)  # gives the share of the node back; an actor has no other way out of a thread


class RayEngine:
    """Jobs as named, detached actors: any process that joins the cluster finds them by name.

    A handle is NAME@TAG, where the tag tells the study from others on the cluster.

    Args:
        folder: where tickets are kept; all nodes must see it under this path.
        address: of the cluster ("10.0.0.1:6379"); None: the cluster that this machine is part of.
        grace: seconds from SIGTERM to SIGKILL.

    Raises:
        MissingDependencyError: if Ray is not installed.
        EngineError: if there is no cluster at the address.
    """

    name = "ray"

    def __init__(self, folder: Path, address: str | None = None, grace: float = 5.0) -> None:
        self.folder = folder
        self.grace = grace
        self.tag = study_tag(folder)
        self._ray = _ray()
        if not self._ray.is_initialized():
            try:
                self._ray.init(
                    address=address or "auto", namespace="lobula", log_to_driver=False, logging_level="error"
                )
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                where = address or "the address of a cluster (ray start --head)"
                raise EngineError(f"engine ray: {error}; expected a cluster at {where}") from error

    def submit(self, job: Job) -> str:
        """Makes the actor of a job, unless a job of that name was submitted before, and returns its handle.

        Raises:
            EngineError: if the cluster cannot be reached.
        """
        ticket = Ticket.of(self.folder, job.name)
        if ticket.read("handle") is None:
            if ticket.read("supervisor") is None:
                ticket.write(job, None, self.grace)
                self._start(ticket, job)
            ticket.note("handle", {"number": self.tag})
        return f"{job.name}@{self.tag}"

    def poll(self, handle: str) -> JobState:
        """How a job is: its supervisor's word first, then whether its actor is there."""
        ticket = self._find(handle)
        if ticket is None:
            return JobState.UNKNOWN
        if ticket.read("exit") is not None:
            return JobState.ENDED
        if self._actor(ticket) is not None:
            return JobState.QUEUED if ticket.read("running") is None else JobState.RUNNING
        begun = ticket.read("supervisor") is not None or ticket.read("exit") is not None
        return JobState.ENDED if begun else JobState.UNKNOWN

    def kill(self, handle: str) -> None:
        """Ends a job, waiting or running."""
        ticket = self._find(handle)
        if ticket is None or ticket.read("exit") is not None:
            return
        actor = self._actor(ticket)
        if actor is not None:
            self._ray.kill(actor, no_restart=True)
        if ticket.read("supervisor") is None:
            ticket.note("exit", {"status": None, "note": "killed", "ended": time.time()})  # it shall not begin
        end = time.monotonic() + self.grace + _KILL_SECONDS
        while ticket.read("exit") is None and time.monotonic() < end:
            time.sleep(0.05)

    def exit_note(self, handle: str) -> str | None:
        """Why a job ended, as its supervisor says."""
        ticket = self._find(handle)
        return None if ticket is None else ticket.exit_note

    def _start(self, ticket: Ticket, job: Job) -> None:
        wanted: dict[str, Any] = {"num_cpus": job.threads, "num_gpus": job.gpus, "max_restarts": 0}
        if job.memory_gb:
            wanted["memory"] = int(job.memory_gb * 2**30)
        environment = {"env_vars": {"PYTHONPATH": source_for(job)}}
        options = {"name": f"{self.tag}-{job.name}", "lifetime": "detached", "get_if_exists": True}
        try:
            actor = self._ray.remote(Carrier).options(**options, **wanted, runtime_env=environment)
            actor.remote(str(ticket.folder.resolve()))
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
            raise EngineError(f"job {job.name}: Ray refused it: {error}") from error

    def _actor(self, ticket: Ticket) -> Any:
        """The actor of a job; None if it is gone."""
        try:
            return self._ray.get_actor(f"{self.tag}-{ticket.folder.name}", namespace="lobula")
        except ValueError:
            return None
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
            raise EngineError(f"engine ray: the cluster does not answer: {error}") from error

    def _find(self, handle: str) -> Ticket | None:
        name, _, tag = handle.rpartition("@")
        with suppress(EngineError):
            ticket = Ticket.of(self.folder, name)
            if tag == self.tag and ticket.read("handle") is not None:
                return ticket
        return None


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            "engine.name=ray: needs Ray, which is not installed; pip install 'lobula[cluster]'"
        ) from None
    return ray
