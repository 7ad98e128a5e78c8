"""A run once more, beside the study: same code, settings and seeds. The scores should be the same."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from lobula.errors import ConfigError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.run_job import RunJob, code_environment
from lobula.exploration.scorer import load_scores

SAME = 1e-6
"""Relative difference up to which two scores are the same: threads may add in another order."""


def repeat_run(
    folder: StudyFolder, run: int, then: dict[str, float], metrics: list[str]
) -> list[tuple[str, float, float]]:
    """Runs and scores a run again in a folder of its own, which is deleted at the end.

    Args:
        folder: of the study.
        run: number of a run that was scored.
        then: its scores.
        metrics: which to compare.

    Returns:
        Metric, score then, score now; NaN for one that is missing.

    Raises:
        ConfigError: if the run left no job, or does not end well this time.
    """
    source = folder.run(run) / "job.json"
    if not source.is_file():
        raise ConfigError(f"run {run}: {source} is missing, expected the job of a run of this study")
    place = StudyFolder(folder.path / "replays" / f"{run:04d}-{os.getpid()}")
    try:
        job = replace(RunJob.read(source), study=place)
        _share(folder, place)
        _call("worker", job.write(), folder.code)
        if not job.result.is_file():
            raise ConfigError(f"run {run}: ended without a result this time; see {folder.run(run)} for the first time")
        _call("scorer", job.folder / "job.json", folder.code)
        scores = load_scores(job)
        if scores is None or not scores.metrics:
            error = scores.error if scores else "no scores"
            raise ConfigError(f"run {run}: did not end well this time: {error}")
        missing = float("nan")
        return [(name, then.get(name, missing), scores.metrics.get(name, missing)) for name in metrics]
    finally:
        shutil.rmtree(place.path, ignore_errors=True)


def is_same(then: float, now: float) -> bool:
    """Whether two scores are equal up to rounding."""
    return abs(now - then) <= SAME * max(1.0, abs(then))


def _share(folder: StudyFolder, place: StudyFolder) -> None:
    """Links to recordings, truths and code."""
    place.path.mkdir(parents=True, exist_ok=True)
    for name in ("data", "truth", "code"):
        (place.path / name).symlink_to((folder.path / name).resolve(), target_is_directory=True)


def _call(module: str, job: Path, code: Path) -> None:
    words = [sys.executable, "-m", f"lobula.exploration.{module}", str(job)]
    subprocess.run(words, env=os.environ | code_environment(code), capture_output=True, check=False)
