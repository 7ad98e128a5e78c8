"""Processes by number and start time, so that a recycled number is never taken for the process that had it before.

Standard library only: the supervisor of a job imports this and must stay light.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lobula.errors import EngineError

MARK = "LOBULA_JOB"
"""Environment variable that every process of a job inherits."""
_PROC = Path("/proc")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        pid: its number.
        parent: number of its parent.
        start: when it began, in clock ticks since boot.
        is_zombie: whether it has ended and waits for its parent to notice.
    """

    pid: int
    parent: int
    start: int
    is_zombie: bool


def check_supported() -> None:
    """Raises EngineError where processes cannot be told apart."""
    if not (_PROC / "self" / "stat").exists():
        raise EngineError("engine local: got a system without /proc, expected Linux; use engine.name=slurm, lsf or ray")


def find_process(pid: int) -> Process | None:
    """A process by number; None if there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, *rest = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return Process(pid, int(parent), int(rest[17]), state in "ZX")


def boot_id() -> str:
    """Tells one boot of a machine from the next; start times count from it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def is_alive(pid: int, start: int) -> bool:
    """Whether the process of that number and start time still runs."""
    process = find_process(pid)
    return process is not None and process.start == start and not process.is_zombie


def descendants(pid: int) -> set[int]:
    """All living children of a process, their children, and so on."""
    children: dict[int, list[int]] = {}
    for process in _all():
        if not process.is_zombie:
            children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    left = [pid]
    while left:
        new = [child for child in children.get(left.pop(), []) if child not in found]
        found.update(new)
        left += new
    return found


def marked(mark: str) -> set[int]:
    """All living processes that inherited a mark (`MARK`), whoever their parent is by now."""
    entry = f"{MARK}={mark}".encode()
    found = set()
    for process in _all():
        with suppress(OSError):  # ended meanwhile, or another user's
            if not process.is_zombie and entry in (_PROC / str(process.pid) / "environ").read_bytes().split(b"\0"):
                found.add(process.pid)
    return found - {os.getpid()}


def send(pid: int, start: int, number: int) -> bool:
    """Signals a process; False if it has ended, even if its number is in use again."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_alive(pid, start):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def kill_all(find: Callable[[], set[int]], seconds: float = 10.0) -> bool:
    """Stops, then kills, what `find` gives, again and again until it gives nothing.

    What is stopped cannot fork: children that start meanwhile are found in the next round.

    Args:
        find: numbers of living processes.
        seconds: when to give up (a process that hangs in the kernel cannot be killed).

    Returns:
        Whether nothing is left.
    """
    end = time.monotonic() + seconds
    while found := find():
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def become_subreaper() -> None:
    """Children that lose their parent become this process's children, so that none gets away by forking twice."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with(parent: int) -> None:
    """For a new child: be killed when the parent dies, in whatever way."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def oom_kills() -> int | None:
    """How often the kernel has killed for lack of memory since boot; None if it does not say."""
    with suppress(OSError):
        for line in (_PROC / "vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None


def was_out_of_memory(before: int | None) -> bool:
    """Whether a SIGKILL that nobody of ours sent was for lack of memory, given `oom_kills` from before.

    Where the kernel does not say, it was: nothing else kills that way by itself.
    """
    now = oom_kills()
    return before is None or now is None or now > before


def _all() -> list[Process]:
    found = (find_process(int(entry)) for entry in os.listdir(_PROC) if entry.isdigit())
    return [process for process in found if process is not None]
