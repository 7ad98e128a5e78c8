"""What an engine is: it starts jobs, says how they are, kills them, and finds them again after the controller died."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class JobState(StrEnum):
    """What the scheduler says. The result file comes first: a job that left one has ended, whatever it says."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: unique within the study, such as "run-12-1" (run 12, first attempt).
        command: words; the first is an executable.
        folder: working directory, which holds stdout, stderr and the result file.
        result: file that the command writes atomically when it ends; its existence is the end.
        seconds: hard limit; the whole process group is killed after it.
        threads: threads that it may use.
        gpus: devices that it needs: 0 or 1.
        memory_gb: memory to ask a scheduler for, or None.
        environment: variables to set.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    result: Path
    seconds: float
    threads: int = 1
    gpus: int = 0
    memory_gb: float | None = None
    environment: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs jobs. A handle is a string that finds the job again from another process.

    Raises:
        EngineError: if the scheduler cannot be reached or refuses; never for what the job itself does.
    """

    @property
    def name(self) -> str:
        """As in the study's settings."""

    def submit(self, job: Job) -> str:
        """Starts a job and returns its handle. A job of that name that is already there is not started twice."""

    def poll(self, handle: str) -> JobState:
        """How a job is. UNKNOWN is not an end: the scheduler may be slow, or forget ended jobs."""

    def kill(self, handle: str) -> None:
        """Ends a job and everything that it started. Killing what has ended is fine."""

    def exit_note(self, handle: str) -> str | None:
        """Why a job ended without a result, as far as the engine knows: "timeout", "oom", "killed", or None."""
