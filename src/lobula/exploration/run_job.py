"""What a run needs to know, as the file job.json: the controller writes it, worker and scorer read it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobula.errors import MissingInputError
from lobula.exploration.engines.base import Job
from lobula.exploration.engines.ticket import read_json, write_json
from lobula.exploration.folder import StudyFolder

SLACK_S = 60.0
"""The engine's limit beyond the worker's own, which leaves a result where the engine's leaves none."""


@dataclass(frozen=True)
class RunJob:
    """A run, ready to start.

    Attributes:
        study: the study's folder.
        run: number of the run.
        attempt: from 1.
        config: resolved config as plain values; `simulation.recording` is filled in by the worker.
        data_id: which recording.
        code: folder of the code that trains and recovers (holds src/lobula): frozen, or that of a node.
        seconds: limit for the whole run [s].
        threads: threads of a process.
        gpus: 0 or 1.
        memory_gb: memory to ask a scheduler for.
    """

    study: StudyFolder
    run: int
    attempt: int
    config: dict[str, Any]
    data_id: str
    code: Path
    seconds: float
    threads: int = 1
    gpus: int = 0
    memory_gb: float | None = None

    @property
    def name(self) -> str:
        """Name of the engine's job."""
        return f"run-{self.run}-{self.attempt}"

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.study.run(self.run)

    @property
    def result(self) -> Path:
        """Result file of the run."""
        return self.study.result(self.run)

    def write(self) -> Path:
        """Writes job.json into the run's folder; a bad result of an earlier attempt is put aside.

        Returns:
            Path of job.json.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        old = read_json(self.result)
        if old is not None and old.get("attempt") != self.attempt:
            self.result.replace(self.folder / f"result-{old.get('attempt')}.json")
        path = self.folder / "job.json"
        write_json(path, self.to_dict())
        return path

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `from_dict` reads them back."""
        plain = {"study": str(self.study.path.resolve()), "code": str(self.code.resolve())}
        names = ("run", "attempt", "config", "data_id", "seconds", "threads", "gpus", "memory_gb")
        return plain | {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunJob":
        """A job from plain values."""
        return cls(**values | {"study": StudyFolder(Path(values["study"])), "code": Path(values["code"])})

    @classmethod
    def read(cls, path: Path) -> "RunJob":
        """A job from its file.

        Raises:
            MissingInputError: if there is none.
        """
        values = read_json(path)
        if values is None:
            raise MissingInputError(f"{path}: got no job there, expected job.json of a run")
        return cls.from_dict(values)

    def engine_job(self) -> Job:
        """What to submit: the worker, in the frozen code."""
        return Job(
            self.name,
            (sys.executable, "-m", "lobula.exploration.worker", str((self.folder / "job.json").resolve())),
            self.folder,
            self.result,
            self.seconds + SLACK_S,
            self.threads,
            self.gpus,
            self.memory_gb,
            code_environment(self.study.code),
        )


def code_environment(code: Path) -> dict[str, str]:
    """Variables that make Python import lobula from a folder of code, and nothing from the working directory."""
    return {"PYTHONPATH": str(code.resolve() / "src"), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
