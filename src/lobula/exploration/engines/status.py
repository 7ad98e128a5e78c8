"""How a job is: its result file first, the scheduler second, unknown third."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobula.errors import EngineError
from lobula.exploration.engines.base import Engine, Job, JobState
from lobula.exploration.engines.ticket import read_json
from lobula.exploration.records import RunState

LOST_AFTER_S = 60.0
_RESULTS = (RunState.OK, RunState.CRASH, RunState.OOM, RunState.NAN, RunState.TIMEOUT, RunState.INVALID, RunState.INFRA)
_NOTES = {
    "timeout": (RunState.TIMEOUT, "took longer than its time limit and was killed"),
    "oom": (RunState.OOM, "killed for lack of memory"),
    "killed": (RunState.KILLED, "killed"),
}


@dataclass(frozen=True)
class JobStatus:
    """How a job is, and what to record of it.

    Attributes:
        state: QUEUED, RUNNING, ENDED or UNKNOWN.
        outcome: state of the run that follows; None while it may still go on.
        error: one line, where it did not end well.
        result: content of the result file, if there is one.
    """

    state: JobState
    outcome: RunState | None = None
    error: str | None = None
    result: dict[str, Any] | None = None


def job_status(
    engine: Engine,
    job: Job,
    handle: str,
    attempt: int | None = None,
    silent_s: float = 0.0,
    grace_s: float = LOST_AFTER_S,
) -> JobStatus:
    """How a job is now.

    A result file is the end, whatever the scheduler says. A job that the scheduler does not know, or that ended without
    a result and without a known reason, is given `grace_s` (files appear late on network disks, and schedulers forget)
    before it is lost. A scheduler that cannot be reached says nothing about the job.

    Args:
        engine: where it runs.
        job: the job.
        handle: what `submit` gave.
        attempt: results of other attempts do not count, unless they are good: the same run, only late.
        silent_s: time since the job was last seen queued or running [s], see `JobWatch`.
        grace_s: silence after which it is lost [s].
    """
    ended = _from_result(job.result, attempt)
    if ended is not None:
        return ended
    try:
        state = engine.poll(handle)
        note = engine.exit_note(handle) if state is JobState.ENDED else None
    except EngineError as error:
        return JobStatus(JobState.UNKNOWN, error=str(error))
    if state in (JobState.QUEUED, JobState.RUNNING):
        return JobStatus(state)
    ended = _from_result(job.result, attempt)  # it may have been written meanwhile
    if ended is not None:
        return ended
    if note in _NOTES:
        return JobStatus(state, *_NOTES[note])
    if silent_s < grace_s:
        return JobStatus(state)
    said = "ended without a result" if state is JobState.ENDED else "is not known to the scheduler any more"
    return JobStatus(state, RunState.LOST, f"job {job.name} {said}; see {job.folder}")


class JobWatch:
    """`job_status` with a memory of when jobs were last seen alive. A new watch begins to wait anew.

    Args:
        engine: where jobs run.
        grace_s: silence after which a job is lost [s].
        clock: seconds that only grow.
    """

    def __init__(
        self, engine: Engine, grace_s: float = LOST_AFTER_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.engine = engine
        self.grace_s = grace_s
        self._clock = clock
        self._seen: dict[str, float] = {}

    def look(self, job: Job, handle: str, attempt: int | None = None) -> JobStatus:
        """How a job is now; call it again and again until there is an outcome."""
        now = self._clock()
        silent = now - self._seen.setdefault(handle, now)
        status = job_status(self.engine, job, handle, attempt, silent, self.grace_s)
        unreachable = status.state is JobState.UNKNOWN and status.error is not None and status.outcome is None
        if status.state in (JobState.QUEUED, JobState.RUNNING) or unreachable:
            self._seen[handle] = now
        if status.outcome is not None:
            self._seen.pop(handle, None)
        return status


def _from_result(path: Path, attempt: int | None) -> JobStatus | None:
    result = read_json(path)
    if result is None:
        return None
    status = result.get("status")
    if attempt is not None and result.get("attempt") != attempt and status != RunState.OK:
        return None
    if status not in _RESULTS:
        error = f"{path}: got status {status!r}, expected one of {', '.join(_RESULTS)}"
        return JobStatus(JobState.ENDED, RunState.INFRA, error, result)
    return JobStatus(JobState.ENDED, RunState(status), result.get("error"), result)
