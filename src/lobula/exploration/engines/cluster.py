"""Engines of a cluster: one supervisor per job, started by a scheduler; files on a disk that all hosts share."""

import fcntl
import hashlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lobula.errors import EngineError
from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.local import SUPERVISOR
from lobula.exploration.engines.ticket import Ticket

LISTING_AGE_S = 5.0
MARGIN_S = 120.0
"""The scheduler's time limit beyond the supervisor's, which says why and leaves nothing behind."""
_OWN_SOURCE = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Seen:
    """What a scheduler says about a job.

    Attributes:
        state: how it is.
        note: "timeout", "oom", "killed" or None.
    """

    state: JobState
    note: str | None = None


class Scheduler(Protocol):
    """A scheduler. Numbers are its own identifiers of jobs, as text.

    Raises:
        EngineError: from every method, if it cannot be reached, refuses, or says what cannot be read.
    """

    @property
    def name(self) -> str:
        """As in the study's settings."""

    def submit(self, name: str, script: str, job: Job) -> str:
        """Hands in a script under a name; the job's number."""

    def find(self, name: str) -> str | None:
        """Number of the job of that name, waiting, running or lately ended; None if there is none."""

    def listing(self) -> Mapping[str, Seen]:
        """All jobs of the user that it knows of now, by number."""

    def history(self, number: str) -> Seen | None:
        """What it remembers of a job that is not listed any more."""

    def kill(self, number: str) -> None:
        """Ends a job; fine if it has ended."""


class ClusterEngine:
    """Jobs that a scheduler starts. Any process finds them again: by handle, or by name in the scheduler's list.

    A handle is NAME@NUMBER. Names of a study are told from those of others by its folder.

    Args:
        scheduler: what starts and lists jobs.
        folder: where tickets are kept; all hosts must see it under this path.
        grace: seconds from SIGTERM to SIGKILL.
        clock: seconds that only grow.
    """

    def __init__(
        self, scheduler: Scheduler, folder: Path, grace: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.scheduler = scheduler
        self.folder = folder
        self.grace = grace
        self._clock = clock
        self._listing: tuple[float, Mapping[str, Seen]] | None = None

    @property
    def name(self) -> str:
        """Name of the scheduler."""
        return self.scheduler.name

    def submit(self, job: Job) -> str:
        """Hands a job in, unless one of that name was before, and returns its handle.

        Raises:
            EngineError: if the scheduler refuses it or cannot be reached.
        """
        ticket = Ticket.of(self.folder, job.name)
        with _locked(ticket):
            noted = ticket.read("handle")
            number = noted["number"] if noted else None
            if number is None:
                begun = ticket.read("spec") is not None  # a controller may have died between handing in and noting
                number = self._earlier(ticket, job.name) if begun else None
            if number is None:
                ticket.write(job, None, self.grace)
                number = self.scheduler.submit(self.cluster_name(job.name), self.script(ticket, job), job)
            if noted is None:
                ticket.note("handle", {"number": number})
        self._listing = None
        return f"{job.name}@{number}"

    def poll(self, handle: str) -> JobState:
        """How a job is: its supervisor's word first, then the scheduler's."""
        ticket, number = self._find(handle)
        if ticket is None:
            return JobState.UNKNOWN
        if ticket.read("exit") is not None:
            return JobState.ENDED
        state = self._seen(number).state
        return JobState.RUNNING if state is JobState.QUEUED and ticket.read("running") is not None else state

    def kill(self, handle: str) -> None:
        """Ends a job, waiting or running."""
        ticket, number = self._find(handle)
        if ticket is not None and ticket.read("exit") is None:
            self.scheduler.kill(number)
            self._listing = None

    def exit_note(self, handle: str) -> str | None:
        """Why a job ended: its supervisor's word first, then the scheduler's."""
        ticket, number = self._find(handle)
        if ticket is None:
            return None
        return ticket.exit_note if ticket.read("exit") is not None else self._seen(number).note

    def cluster_name(self, name: str) -> str:
        """Name of a job among all jobs of the cluster."""
        return f"{study_tag(self.folder)}-{name}"

    def script(self, ticket: Ticket, job: Job) -> str:
        """What the scheduler runs: the supervisor, which takes the place of the shell."""
        source = source_for(job)
        command = [sys.executable, "-P", "-m", SUPERVISOR, str(ticket.folder.resolve())]
        return f"#!/bin/bash\nexport PYTHONPATH={shlex.quote(source)}\nexec {shlex.join(command)}\n"

    def _earlier(self, ticket: Ticket, name: str) -> str | None:
        """Number of a job that was handed in and not noted."""
        return (ticket.read("supervisor") or {}).get("number") or self.scheduler.find(self.cluster_name(name))

    def _seen(self, number: str) -> Seen:
        now = self._clock()
        if self._listing is None or now - self._listing[0] > LISTING_AGE_S:
            self._listing = (now, self.scheduler.listing())
        return self._listing[1].get(number) or self.scheduler.history(number) or Seen(JobState.UNKNOWN)

    def _find(self, handle: str) -> tuple[Ticket | None, str]:
        name, _, number = handle.rpartition("@")
        with suppress(EngineError):
            ticket = Ticket.of(self.folder, name)
            if (ticket.read("handle") or {}).get("number") == number:
                return ticket, number
        return None, number


def study_tag(tickets: Path) -> str:
    """Tells a study from all others on a cluster, by the folder of its tickets."""
    study = tickets.resolve().parent
    return f"{study.name}-{hashlib.sha256(str(study).encode()).hexdigest()[:6]}"


def source_for(job: Job) -> str:
    """PYTHONPATH of a job's supervisor: the code that the job runs with, if it says, else this code."""
    return job.environment.get("PYTHONPATH", str(_OWN_SOURCE))


def minutes(job: Job) -> int:
    """Time limit to ask a scheduler for."""
    return int((job.seconds + MARGIN_S) // 60) + 1


@contextmanager
def _locked(ticket: Ticket) -> Iterator[None]:
    """One process at a time hands a job in."""
    ticket.folder.mkdir(parents=True, exist_ok=True)
    with (ticket.folder / ".submit.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
