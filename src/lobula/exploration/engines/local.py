"""Engine `local`: every job is a process group of its own on this machine, with a supervisor that outlives us."""

import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

from lobula.errors import EngineError
from lobula.exploration.engines import processes
from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.ticket import Ticket

SUPERVISOR = "lobula.exploration.engines.supervise"
_START_SECONDS = 60.0


class LocalEngine:
    """Jobs as process groups. Holds no state but files, so that any process finds jobs again by their handles.

    A handle is NAME@PID:START:BOOT of the job's supervisor.

    Args:
        folder: where tickets are kept.
        gpus: devices to lease, one per job that needs one; none: jobs see no GPU.
        grace: seconds from SIGTERM to SIGKILL.

    Raises:
        EngineError: on a system that cannot tell processes apart.
    """

    name = "local"

    def __init__(self, folder: Path, gpus: tuple[str, ...] = (), grace: float = 5.0) -> None:
        processes.check_supported()
        self.folder = folder
        self.gpus = gpus
        self.grace = grace

    def submit(self, job: Job) -> str:
        """Starts a job, unless a job of that name was started before, and returns its handle.

        Raises:
            EngineError: if no supervisor comes up.
        """
        ticket = Ticket.of(self.folder, job.name)
        if ticket.read("supervisor") is None:
            if job.gpus and not self.gpus:
                raise EngineError(f"job {job.name}: got gpus={job.gpus}, expected engine.gpus to name devices")
            ticket.write(job, self.gpus, self.grace)
            self._start(ticket)
        facts = ticket.read("supervisor")
        if facts is None:
            raise EngineError(f"job {job.name}: its supervisor did not start, see {ticket.folder / 'log'}")
        return f"{job.name}@{facts['pid']}:{facts['start']}:{facts['boot']}"

    def poll(self, handle: str) -> JobState:
        """How a job is. Where its supervisor was killed, what is left of the job is killed, too: nobody would."""
        found = self._find(handle)
        if found is None:
            return JobState.UNKNOWN
        ticket, pid, start, is_here = found
        if ticket.read("exit") is not None:
            return JobState.ENDED
        if not is_here:
            return JobState.UNKNOWN
        if processes.is_alive(pid, start):
            return JobState.QUEUED if ticket.read("running") is None else JobState.RUNNING
        processes.kill_all(lambda: processes.marked(ticket.mark))
        return JobState.ENDED

    def kill(self, handle: str) -> None:
        """Ends a job with everything that it started.

        Raises:
            EngineError: if something of it cannot be killed, or runs on another machine.
        """
        found = self._find(handle)
        if found is None:
            return
        ticket, pid, start, is_here = found
        if ticket.read("exit") is not None:
            return
        if not is_here:
            raise EngineError(f"{handle}: runs on another machine, expected this one; kill it there")
        if processes.send(pid, start, SIGTERM):
            end = time.monotonic() + self.grace + 15
            while processes.is_alive(pid, start) and time.monotonic() < end:
                time.sleep(0.02)
            processes.send(pid, start, SIGKILL)
        if not processes.kill_all(lambda: processes.marked(ticket.mark)):
            raise EngineError(f"{handle}: a process of it cannot be killed")
        if ticket.read("exit") is None:
            ticket.note("exit", {"status": -SIGKILL, "note": "killed", "ended": time.time()})

    def exit_note(self, handle: str) -> str | None:
        """Why a job ended, as its supervisor says."""
        found = self._find(handle)
        return None if found is None else found[0].exit_note

    def _start(self, ticket: Ticket) -> None:
        command = [sys.executable, "-P", "-m", SUPERVISOR, str(ticket.folder.resolve()), "--detach"]
        with (ticket.folder / "log").open("ab") as log:
            try:
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_START_SECONDS)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise EngineError(f"{ticket.folder.name}: its supervisor did not start: {error}") from error

    def _find(self, handle: str) -> tuple[Ticket, int, int, bool] | None:
        """Ticket, number and start time of the supervisor, and whether it is one of this machine's processes."""
        name, _, place = handle.rpartition("@")
        with suppress(ValueError, EngineError):
            pid, start, boot = place.split(":")
            ticket = Ticket.of(self.folder, name)
            facts = ticket.read("supervisor")
            if facts is None or [str(facts[key]) for key in ("pid", "start", "boot")] != [pid, start, boot]:
                return None
            is_here = facts["host"] == socket.gethostname()
            start_time = int(start) if boot == processes.boot_id() else -1  # before a reboot: it cannot be alive
            return ticket, int(pid), start_time, is_here
        return None
