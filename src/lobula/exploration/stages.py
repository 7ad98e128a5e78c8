"""A stage of a run as a process: `python -m lobula STAGE` in some code, with a time limit and a log, and what its end
means."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lobula.exploration.engines import processes
from lobula.exploration.records import RunState
from lobula.exploration.run_job import code_environment

_LOOK_EVERY = 0.2  # seconds
_WATCH_EVERY = 2.0
_TAIL_BYTES = 20_000
_LONGEST = 300
# what a stage's last line says, in this order, and whose fault it is
_KINDS = (
    (RunState.INFRA, r"^(DiskFull|RunLocked|MissingInput|MissingDependency|ProcessLost)Error"),
    (RunState.INFRA, r"No space left on device|Disk quota exceeded|Stale file handle|Input/output error"),
    (RunState.INFRA, r"Resource temporarily unavailable|Too many open files"),
    (RunState.OOM, r"^(OutOf)?MemoryError|out of memory|can't allocate memory|cannot allocate memory"),
    (RunState.INFRA, r"CUDA error|NVML|no CUDA-capable device|CUDA driver"),
    (RunState.NAN, r"^(Diverged|NonFinite)Error"),
    (RunState.INVALID, r"^(Config|Shape|DeadPenalty)Error"),
)


@dataclass(frozen=True)
class StageEnd:
    """How a stage ended.

    Attributes:
        status: OK, or why not.
        error: one line, where not OK.
        seconds: wall time [s].
    """

    status: RunState
    error: str | None
    seconds: float


Watch = Callable[[float], str | None]


def run_stage(
    words: Sequence[str], code: Path, log: Path, deadline: float, threads: int = 1, watch: Watch | None = None
) -> StageEnd:
    """Runs `python -m lobula WORDS` in the code of a folder.

    Args:
        words: stage and its options.
        code: folder that holds src/lobula.
        log: file to which its output is appended.
        deadline: when it is killed, in `time.monotonic`.
        threads: threads of the process.
        watch: asked now and then, with the seconds since the start, whether to end early; says why.
    """
    began, before = time.monotonic(), processes.oom_kills()
    with log.open("ab") as file:
        offset = file.tell()
        process = _start(words, code, file, threads)
        try:
            reason = _wait(process, began, deadline, watch)
        finally:
            end_group(process)
    seconds = time.monotonic() - began
    if reason is not None:
        return StageEnd(RunState.TIMEOUT, f"{words[0]}: {reason}", seconds)
    status, error = what_happened(process.returncode, last_text(log, offset), processes.was_out_of_memory(before))
    return StageEnd(status, error if error is None else f"{words[0]}: {error}", seconds)


def what_happened(code: int, text: str, out_of_memory: bool = True) -> tuple[RunState, str | None]:
    """Status of a run from how a stage ended, and one line.

    Args:
        code: exit status; negative: number of a signal.
        text: last part of what it wrote.
        out_of_memory: whether a SIGKILL would be the kernel's, for lack of memory.
    """
    if code == 0:
        return RunState.OK, None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1][:_LONGEST] if lines else f"ended with status {code}"
    if code == -signal.SIGKILL and out_of_memory:
        return RunState.OOM, "killed for lack of memory"
    if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 130):
        return RunState.INFRA, f"stopped from outside ({_signal_name(code)})"
    if code < 0:
        return RunState.CRASH, f"ended by {_signal_name(code)}: {last}"
    for status, pattern in _KINDS:
        if re.search(pattern, last, re.IGNORECASE):
            return status, last
    return RunState.CRASH, last


def last_text(log: Path, offset: int = 0) -> str:
    """The last part of a log, from an offset on."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(offset, size - _TAIL_BYTES))
        return file.read().decode(errors="replace")


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kills what is left of a process and of its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _start(words: Sequence[str], code: Path, log: object, threads: int) -> "subprocess.Popen[bytes]":
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    environment = os.environ | code_environment(code) | dict.fromkeys(names, str(threads))
    parent = os.getpid()
    return subprocess.Popen(
        [sys.executable, "-m", "lobula", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,  # type: ignore[call-overload]
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: processes.die_with(parent),
    )


def _wait(process: "subprocess.Popen[bytes]", began: float, deadline: float, watch: Watch | None) -> str | None:
    """Waits for the end; why it has to end before, or None."""
    looked = began
    while True:
        now = time.monotonic()
        try:
            process.wait(max(0.0, min(_LOOK_EVERY, deadline - now)))
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if now >= deadline:
                return "out of time"
            if watch is not None and now - looked >= _WATCH_EVERY:
                looked = now
                reason = watch(now - began)
                if reason is not None:
                    return reason
            continue
        return None


def _signal_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
