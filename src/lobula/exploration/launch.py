"""From a run in the journal to a job for an engine."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from lobula.config import ExperimentConfig
from lobula.data.atomic import atomic_write_json
from lobula.exploration.engines.base import Job
from lobula.exploration.folder import StudyFolder
from lobula.exploration.identity import data_id
from lobula.exploration.panel import with_pair
from lobula.exploration.records import RunRecord
from lobula.exploration.study import Study

JOB = "job.json"
WORKER = (sys.executable, "-m", "lobula.exploration.worker")
"""Program that runs what job.json says."""


def threads_of(study: Study) -> int:
    """Threads that a run may use."""
    return study.engine.threads or max(1, (os.cpu_count() or 1) // study.engine.slots)


def job_name(study: Study, run: RunRecord) -> str:
    """Unique within the study and the same for every controller, so that an engine starts it once."""
    return f"{study.name}-{run.id}-{run.attempt}"


def make_job(folder: StudyFolder, study: Study, run: RunRecord, program: tuple[str, ...] = WORKER) -> Job:
    """The job of a run's present attempt."""
    place = folder.run(run.id)
    return Job(
        name=job_name(study, run),
        command=(*program, str(place / JOB)),
        folder=place,
        result=folder.result(run.id),
        seconds=study.budget.run_seconds,
        threads=threads_of(study),
        gpus=1 if study.engine.gpus else 0,
        memory_gb=study.engine.memory_gb,
        environment={"PYTHONPATH": str(folder.code / "src")},
    )


def attempt_of(result: Path) -> int | None:
    """Attempt that a result file is of; None if there is none, or it is no result."""
    try:
        return int(json.loads(result.read_text(encoding="utf-8"))["attempt"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_job(
    folder: StudyFolder, study: Study, config: ExperimentConfig, run: RunRecord, code: Path
) -> dict[str, Any]:
    """Writes what the worker reads, and takes away the result of an earlier attempt, but not one of this attempt.

    Args:
        folder: of the study.
        study: its definition.
        config: resolved config of the run, without its seeds.
        run: on which seeds.
        code: root of the code that trains: the frozen copy, or the worktree of a patch.

    Returns:
        Content of job.json.
    """
    seeded = with_pair(config, run.pair)
    place, number = folder.run(run.id), data_id(seeded)
    place.mkdir(parents=True, exist_ok=True)
    if attempt_of(folder.result(run.id)) != run.attempt:
        folder.result(run.id).unlink(missing_ok=True)
    content: dict[str, Any] = {
        "run": run.id,
        "attempt": run.attempt,
        "config": seeded.to_dict(),
        "data": str(folder.data(number).resolve()),
        "truth": str(folder.truth(number).resolve()),
        "folder": str(place.resolve()),
        "result": str(folder.result(run.id).resolve()),
        "code": str(code.resolve()),
        "frozen_code": str(folder.code.resolve()),
        "seconds": study.budget.run_seconds,
    }
    atomic_write_json(place / JOB, content)
    return content
