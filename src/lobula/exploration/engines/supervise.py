"""The supervisor of a job: runs its command, enforces the time limit, and lets nothing that the job started survive it.

`python -m lobula.exploration.engines.supervise TICKET [--detach] [--with PID:START]`. It is a process of its own, so
that limits hold while the controller is dead. It is light: the standard library, no numbers. A job has one supervisor,
ever: a second one finds the ticket claimed and ends at once.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lobula.exploration.engines import processes
from lobula.exploration.engines.leases import lease
from lobula.exploration.engines.ticket import Ticket

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WATCHED = (*_ENDING, signal.SIGCHLD)
_LEASE_EVERY = 0.5  # seconds between looks for a free GPU
_HOLDER_EVERY = 1.0  # seconds between looks for the holder
NOT_STARTED = 127
Holder = tuple[int, int]
_NUMBERS = ("SLURM_JOB_ID", "LSB_JOBID")
"""Variables in which schedulers tell a job its number."""


def main(words: list[str]) -> int:
    """Supervises the job of a ticket; with `--detach` in a process that outlives the caller, with `--with` only as long
    as some process lives."""
    ticket, holder = Ticket(Path(words[0])), None
    if "--with" in words:
        pid, start = words[words.index("--with") + 1].split(":")
        holder = int(pid), int(start)
    if "--detach" not in words:
        return supervise(ticket, holder)
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        os.read(read, 1)  # until it has claimed the ticket, or ended
        return 0
    os.close(read)
    os.setsid()
    supervise(ticket, holder, claimed=write)
    os._exit(0)


def supervise(ticket: Ticket, holder: Holder | None = None, claimed: int | None = None) -> int:
    """Runs the job of a ticket to its end; does nothing if it has or had a supervisor.

    Args:
        ticket: the job.
        holder: number and start time of a process whose end is the job's end, too.
        claimed: pipe that is closed once the ticket is claimed.

    Returns:
        Exit status of the job's command; 0 if there was nothing to do.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)  # they are waited for instead
    spec, facts = ticket.read("spec"), who_am_i()
    mine = spec is not None and ticket.read("exit") is None and ticket.claim(facts)
    if claimed is not None:
        os.close(claimed)
    if spec is None or not mine:
        return 0
    processes.become_subreaper()
    began = time.time()
    status, note = _leased(ticket, spec, holder)
    ticket.note("exit", {"status": status, "note": note, "began": began, "ended": time.time()})
    return status


def who_am_i() -> dict[str, Any]:
    """What finds this process again: number, start time, boot and host, and the scheduler's number of the job."""
    own = processes.find_process(os.getpid())
    facts = {"pid": os.getpid(), "start": own.start if own else 0, "boot": processes.boot_id()}
    number = next((os.environ[name] for name in _NUMBERS if name in os.environ), None)
    return facts | {"host": socket.gethostname(), "number": number}


def _leased(ticket: Ticket, spec: dict[str, Any], holder: Holder | None) -> tuple[int, str | None]:
    devices, environment = spec["devices"], os.environ | spec["environment"] | {processes.MARK: ticket.mark}
    if devices is None:
        return _run(ticket, spec, environment, holder)
    if not spec["needs_gpu"] or not devices:
        return _run(ticket, spec, environment | {"CUDA_VISIBLE_DEVICES": ""}, holder)
    while (held := lease(devices)) is None:
        if signal.sigtimedwait(_ENDING, _LEASE_EVERY) is not None:
            return -signal.SIGTERM, "killed"
    return _run(ticket, spec, environment | {"CUDA_VISIBLE_DEVICES": held[0]}, holder)


def _run(
    ticket: Ticket, spec: dict[str, Any], environment: dict[str, str], holder: Holder | None
) -> tuple[int, str | None]:
    """Runs the command; its exit status and why it ended, if it did not end by itself."""
    folder, before = Path(spec["folder"]), processes.oom_kills()
    with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err:
        try:
            child = _start(spec["command"], folder, environment, out, err)
        except OSError as error:
            err.write(f"{spec['command'][0]}: {error.strerror}\n".encode())
            return NOT_STARTED, None
    ticket.note("running", {"pid": child.pid, "device": environment.get("CUDA_VISIBLE_DEVICES"), "time": time.time()})
    status, note = _watch(child.pid, time.monotonic() + spec["seconds"], holder)
    if status is None:
        status = _terminate(child.pid, spec["grace"])
    processes.kill_all(lambda: processes.descendants(os.getpid()) | processes.marked(ticket.mark))
    last = _reap(child.pid)
    status = last if status is None else status
    child.returncode = status if status is not None else -signal.SIGKILL
    if child.returncode == -signal.SIGKILL and note is None:
        note = "oom" if processes.was_out_of_memory(before) else "killed"
    return child.returncode, note


def _start(
    command: list[str], folder: Path, environment: dict[str, str], out: Any, err: Any
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def in_child() -> None:
        processes.die_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        preexec_fn=in_child,
    )


def _watch(pid: int, deadline: float, holder: Holder | None) -> tuple[int | None, str | None]:
    """Waits for the end of the command, of its time, or for a signal: its exit status, or why it has to end."""
    while True:
        status = _reap(pid)
        if status is not None:
            return status, None
        left = deadline - time.monotonic()
        if left <= 0:
            return None, "timeout"
        caught = signal.sigtimedwait(_WATCHED, left if holder is None else min(left, _HOLDER_EVERY))
        left_alone = holder is not None and not processes.is_alive(*holder)
        if left_alone or (caught is not None and caught.si_signo in _ENDING):
            return _reap(pid), "killed"


def _terminate(pid: int, grace: float) -> int | None:
    """Asks everything to end and gives it some time; exit status of the command if it did."""
    for one in processes.descendants(os.getpid()):
        try:
            os.kill(one, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            continue
    end, status = time.monotonic() + grace, None
    while time.monotonic() < end and processes.descendants(os.getpid()):
        status = _reap(pid) if status is None else status
        signal.sigtimedwait(_WATCHED, 0.05)
    return _reap(pid) if status is None else status


def _reap(pid: int) -> int | None:
    """Lets all ended children go; exit status of the command if it is among them."""
    status = None
    while True:
        try:
            ended, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if ended == 0:
            return status
        if ended == pid:
            status = os.waitstatus_to_exitcode(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
