"""The job of a run: `python -m lobula.exploration.worker JOB`.

Makes the recording if nobody has, trains, recovers, and leaves result.json, atomically, as its last act. It never
opens the study's database, and tells the training nothing about the truth: recordings are simulated in the folder of
the truth and moved out of it when they are whole. Killed and started again it goes on; each stage resumes by itself.
"""

import fcntl
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from lobula.config import ExperimentConfig, save_config
from lobula.errors import ConfigError, DiskFullError
from lobula.exploration.engines.ticket import read_json, write_json
from lobula.exploration.pace import Pace, read_rows
from lobula.exploration.records import RunState
from lobula.exploration.run_job import RunJob
from lobula.exploration.stages import StageEnd, Watch, run_stage

logger = logging.getLogger(__name__)

TRAJECTORY_COLUMNS = ("iteration", "phase", "loss", "prediction", "validation")
"""Of metrics.csv: those that no truth goes into."""
TRAJECTORY_POINTS = 12
_LOCK_EVERY = 0.5  # seconds


def main(words: list[str]) -> int:
    """Does the job; exit status 0 if the run is ok."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, _stop)
    job = RunJob.read(Path(words[0]))
    done = read_json(job.result)
    if done is None or done.get("attempt") != job.attempt:
        done = Worker(job).work()
        write_json(job.result, done)
    return 0 if done["status"] == RunState.OK else 1


@dataclass
class Worker:
    """A run on its way.

    Attributes:
        job: what to do.
        wall: seconds of each stage that was run.
    """

    job: RunJob
    wall: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.job.seconds

    def work(self) -> dict[str, Any]:
        """All stages; content of result.json."""
        try:
            config = ExperimentConfig.from_dict(self.job.config)
            end = self._stages(config)
        except ConfigError as error:
            end = StageEnd(RunState.INVALID, f"ConfigError: {error}", 0.0)
        except (OSError, DiskFullError) as error:
            end = StageEnd(RunState.INFRA, f"{type(error).__name__}: {error}", 0.0)
        rows = read_rows(self.job.folder / "models" / "gnn" / "metrics.csv")
        return {
            "run": self.job.run,
            "attempt": self.job.attempt,
            "status": str(end.status),
            "error": end.error,
            "wall_s": {name: round(seconds, 3) for name, seconds in self.wall.items()},
            "host": os.uname().nodename,
            "trajectory": trajectory(rows),
        }

    def _stages(self, config: ExperimentConfig) -> StageEnd:
        end = self._recording(config)
        if end.status is not RunState.OK:
            return end
        folder, path = self.job.folder, self.job.study.data(self.job.data_id) / "recording.zarr"
        config = config.with_values({"simulation.recording": str(path.resolve())})
        mark = folder / "run.json"
        if not mark.exists():
            write_json(mark, {})  # makes the folder, which holds job.json, a run directory
        experiment = folder / "config.yaml"
        experiment.write_text(save_config(config))
        watch = None
        if "gnn" in config.training.estimators:
            left = self.deadline - time.monotonic()
            watch = Pace(config, folder / "models" / "gnn" / "metrics.csv", left)
        return self._stage("fit", ["run", "--until", "recover"], experiment, folder, self.job.code, watch)

    def _recording(self, config: ExperimentConfig) -> StageEnd:
        """Makes the recording, unless it is there; nothing that goes wrong here is the fault of the run's config,
        except a config that is not valid."""
        data = self.job.study.data(self.job.data_id)
        truth = self.job.study.truth(self.job.data_id)
        recording = data / "recording.zarr"
        if recording.exists():
            return StageEnd(RunState.OK, None, 0.0)
        data.mkdir(parents=True, exist_ok=True)
        truth.mkdir(parents=True, exist_ok=True)
        with (truth / ".simulate.lock").open("a") as lock:
            if not self._wait_for(lock.fileno()):
                return StageEnd(RunState.INFRA, "simulate: out of time while another run made the recording", 0.0)
            if recording.exists():
                return StageEnd(RunState.OK, None, 0.0)
            experiment = truth / ".experiment.yaml"
            experiment.write_text(save_config(config.with_values({"simulation.recording": None})))
            end = self._stage("simulate", ["simulate"], experiment, truth, self.job.study.code)
            if end.status is RunState.OK:
                (truth / "recording.zarr").replace(recording)
        if end.status in (RunState.OK, RunState.INVALID):
            return end
        return StageEnd(RunState.INFRA, end.error, end.seconds)

    def _wait_for(self, lock: int) -> bool:
        began = time.monotonic()
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.wall["wait"] = time.monotonic() - began
                return True
            if time.monotonic() > self.deadline:
                return False
            time.sleep(_LOCK_EVERY)

    def _stage(
        self, name: str, words: list[str], experiment: Path, out: Path, code: Path, watch: Watch | None = None
    ) -> StageEnd:
        words = [*words, str(experiment), "--out", str(out)]
        log = self.job.folder / f"{name}.log"
        end = run_stage(words, code, log, self.deadline, self.job.threads, watch)
        self.wall[name] = end.seconds
        logger.info("%s: %s in %.1f s%s", name, end.status, end.seconds, f" ({end.error})" if end.error else "")
        return end


def trajectory(rows: list[dict[str, str]], n_points: int = TRAJECTORY_POINTS) -> list[dict[str, Any]]:
    """A few points of a training, evenly spread, the last included; no column that a truth goes into."""
    last = len(rows) - 1
    chosen = range(last + 1) if last < n_points else [round(k * last / (n_points - 1)) for k in range(n_points)]
    return [{name: _number(rows[k][name]) for name in TRAJECTORY_COLUMNS if rows[k].get(name)} for k in chosen]


def _number(text: str) -> float | int | str | None:
    for kind in (int, float):
        with suppress(ValueError):
            value = kind(text)
            return value if abs(value) < float("inf") else None  # NaN is not, either
    return text


def _stop(number: int, frame: object) -> NoReturn:
    """Ends without a result: whoever asked for it knows why. The stage that runs is killed on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
