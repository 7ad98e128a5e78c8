"""The files through which an engine, the supervisor of a job and a later controller agree about the job.

A ticket is a folder: spec.json (what to run), supervisor.json (who runs it: the claim), running.json (it began),
exit.json (it ended), handle. Standard library only: the supervisor imports this and must stay light.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobula.errors import EngineError
from lobula.exploration.engines.base import Job

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Ticket:
    """The ticket of a job.

    Attributes:
        folder: its folder.
    """

    folder: Path

    @classmethod
    def of(cls, tickets: Path, name: str) -> "Ticket":
        """The ticket of a job by name, below a folder of tickets.

        Raises:
            EngineError: if the name cannot name a file.
        """
        if not _NAME.fullmatch(name):
            raise EngineError(f"job {name!r}: got a name with other signs, expected letters, digits and ._-")
        return cls(tickets / name)

    @property
    def mark(self) -> str:
        """Marks the processes of the job in their environment."""
        return str(self.folder.resolve())

    def write(self, job: Job, devices: tuple[str, ...] | None = None, grace: float = 5.0) -> None:
        """Says what to run. Must be there before anything is started.

        Args:
            job: the job.
            devices: GPUs of which the supervisor leases one if the job needs one; (): hide all GPUs; None: the
                scheduler hands them out.
            grace: seconds from SIGTERM to SIGKILL.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        job.folder.mkdir(parents=True, exist_ok=True)
        threads = dict.fromkeys(_THREADS, str(job.threads))
        spec = {
            "name": job.name,
            "command": list(job.command),
            "folder": str(job.folder.resolve()),
            "seconds": job.seconds,
            "environment": threads | job.environment,
            "needs_gpu": job.gpus > 0,
            "devices": None if devices is None else list(devices),
            "grace": grace,
        }
        write_json(self.folder / "spec.json", spec)

    def claim(self, facts: dict[str, Any]) -> bool:
        """Makes the caller the job's only supervisor, for ever; False if there is or was one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = self.folder / f".claim.{facts['host']}.{facts['pid']}"
        own.write_text(json.dumps(facts))
        try:
            os.link(own, self.folder / "supervisor.json")
        except FileExistsError:
            return False
        finally:
            own.unlink()
        return True

    def read(self, name: str) -> dict[str, Any] | None:
        """Content of one of the files ("spec", "supervisor", "running", "exit"); None if it is not there."""
        return read_json(self.folder / f"{name}.json")

    def note(self, name: str, values: dict[str, Any]) -> None:
        """Writes one of the files."""
        write_json(self.folder / f"{name}.json", values)

    @property
    def exit_note(self) -> str | None:
        """What the supervisor says about the end: "timeout", "oom", "killed" or None."""
        return (self.read("exit") or {}).get("note")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a file that is either old or new, never half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    temporary.write_text(json.dumps(values, indent=2) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None if it is not there or not whole."""
    try:
        values = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return values if isinstance(values, dict) else None
