"""Scores of a run, made by the frozen code in a process of its own: the only one that sees estimates and truth."""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lobula.config import ExperimentConfig, save_config
from lobula.errors import ConfigError, MissingInputError
from lobula.exploration.engines.base import Engine, Job
from lobula.exploration.engines.status import JobWatch
from lobula.exploration.engines.ticket import read_json, write_json
from lobula.exploration.records import RunState
from lobula.exploration.run_job import SLACK_S, RunJob, code_environment
from lobula.exploration.stages import run_stage

RESULT = "result.json"
_NO_SCORES = ("seeds", "target")


@dataclass(frozen=True)
class Scores:
    """What came of scoring a run.

    Attributes:
        status: OK, or NAN, CRASH, INFRA: the state that the run goes to in place of SCORED.
        error: one line, where not OK.
        metrics: finite numbers of scores.json by path ("gnn.W.r2").
        left_out: paths of those that are not finite.
    """

    status: RunState
    error: str | None
    metrics: Mapping[str, float]
    left_out: tuple[str, ...] = ()


def main(words: list[str]) -> int:
    """`python -m lobula.exploration.scorer JOB`: scores the run of a job file; exit status 0 if it could."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return 0 if score_run(RunJob.read(Path(words[0]))).status is RunState.OK else 1


def scoring_job(job: RunJob) -> Job:
    """The scoring of a run as a job for an engine; its description lies where the run cannot change it."""
    out = job.study.scores(job.run)
    out.mkdir(parents=True, exist_ok=True)
    path = out / ".job.json"
    write_json(path, job.to_dict())
    if load_scores(job) is None:
        (out / RESULT).unlink(missing_ok=True)
    command = (sys.executable, "-m", "lobula.exploration.scorer", str(path.resolve()))
    environment = code_environment(job.study.code)
    name, seconds = f"score-{job.run}-{job.attempt}", job.seconds + SLACK_S
    return Job(name, command, out, out / RESULT, seconds, job.threads, 0, job.memory_gb, environment)


class Scorer:
    """Scores runs by jobs of an engine, without waiting for them; asks again find the same job.

    Args:
        engine: where the scoring runs.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watch = JobWatch(engine)

    def __call__(self, job: RunJob) -> Scores | None:
        """Scores of a run that ended well; None while that goes on.

        Raises:
            EngineError: if the engine refuses.
        """
        found = load_scores(job)
        if found is not None:
            return found
        scoring = scoring_job(job)
        status = self._watch.look(scoring, self._engine.submit(scoring), job.attempt)
        if status.outcome is None or load_scores(job) is not None:
            return load_scores(job)
        return Scores(RunState.INFRA, f"score: {status.error or status.outcome.value}", {})


def score_run(job: RunJob) -> Scores:
    """Scores the estimates of a finished run: scores/<run>/scores.json, and result.json with the flattened numbers.

    The folder of the scores gets links to recording, truth, models and estimates; the frozen code scores there, with
    the config of the job, not with what the run left.
    """
    out, deadline = job.study.scores(job.run), time.monotonic() + job.seconds
    try:
        config = ExperimentConfig.from_dict(job.config).with_values({"simulation.recording": None})
        _link_inputs(job, out)
        (out / ".experiment.yaml").write_text(save_config(config))
        (out / "scores.json").unlink(missing_ok=True)
        words = ["score", str(out / ".experiment.yaml"), "--out", str(out), "--force"]
        end = run_stage(words, job.study.code, out / "score.log", deadline, job.threads)
        scores = Scores(end.status, end.error, {})
        if end.status is RunState.OK:
            scores = read_scores(out / "scores.json")
    except (ConfigError, OSError) as error:
        scores = Scores(RunState.INFRA, f"score: {type(error).__name__}: {error}", {})
    plain = {"run": job.run, "attempt": job.attempt, "status": str(scores.status), "error": scores.error}
    write_json(out / RESULT, plain | {"metrics": dict(scores.metrics), "left_out": list(scores.left_out)})
    return scores


def load_scores(job: RunJob) -> Scores | None:
    """What `score_run` left of a job; None if it has not ended."""
    values = read_json(job.study.scores(job.run) / RESULT)
    if values is None or values["attempt"] != job.attempt:
        return None
    status, left_out = RunState(values["status"]), tuple(values["left_out"])
    return Scores(status, values["error"], values["metrics"], left_out)


def read_scores(path: Path) -> Scores:
    """Flattened numbers of scores.json.

    Raises:
        MissingInputError: if it is not there.
    """
    if not path.exists():
        raise MissingInputError(f"{path}: does not exist, expected scores of a run")
    metrics, left_out = flatten(json.loads(path.read_text()))
    return Scores(RunState.OK, None, metrics, left_out)


def flatten(scores: Mapping[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Finite numbers of nested scores by path, and the paths of numbers that are not (JSON holds null for them).

    Words, lists, seeds and the ceiling where it was not asked for are neither.
    """
    metrics: dict[str, float] = {}
    left_out: list[str] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                walk(inner, f"{path}.{name}" if path else str(name))
        elif value is None:
            left_out.append(path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if math.isfinite(value):
                metrics[path] = float(value)
            else:
                left_out.append(path)

    walk({name: value for name, value in scores.items() if name not in _NO_SCORES}, "")
    return metrics, tuple(path for path in left_out if path != "ceiling")


def _link_inputs(job: RunJob, out: Path) -> None:
    """Links to what scoring reads, side by side, as in a run of its own."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "run.json").exists():
        write_json(out / "run.json", {})
    sources = {
        "recording.zarr": job.study.data(job.data_id) / "recording.zarr",
        "truth.zarr": job.study.truth(job.data_id) / "truth.zarr",
        "models": job.folder / "models",
        "estimates": job.folder / "estimates",
    }
    for name, source in sources.items():
        if not source.exists():
            raise MissingInputError(f"{source} does not exist, expected the output of a finished run")
        link = out / name
        link.unlink(missing_ok=True)
        link.symlink_to(source.resolve(), target_is_directory=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
