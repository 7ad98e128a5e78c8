"""A study whose runs take no time: journal, controller, policy, proposer and local engine are the real ones.

    python tests/support/toy_study.py FOLDER SECTIONS

drives one to its end; SECTIONS is JSON.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lobula.exploration import journal as journal_module
from lobula.exploration.controller import Controller, Parts
from lobula.exploration.engines.base import Engine
from lobula.exploration.engines.local import LocalEngine
from lobula.exploration.folder import StudyFolder
from lobula.exploration.journal import Journal
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.proposers.base import Proposer
from lobula.exploration.proposers.registry import make_proposer
from lobula.exploration.records import RunState, Snapshot
from lobula.exploration.run_job import RunJob
from lobula.exploration.scorer import Scores
from lobula.exploration.study import Study

WORKER = (sys.executable, "-S", str(Path(__file__).with_name("toy_worker.py")))


def toy_study(**sections: Any) -> Study:
    """Two dimensions, random proposals, two slots."""
    values: dict[str, Any] = {
        "name": "toy",
        "space": ["training.lr", "training.lr_W"],
        "budget": {"n_runs": 6, "run_seconds": 60.0},
        "engine": {"slots": 2},
        "proposer": {"name": "random"},
        "seeds": {"panel": 3, "holdout": 2},
        "policy": {"n_race": 2},
    }
    return Study.from_dict({**values, **sections})


def toy_score(job: RunJob) -> Scores:
    """What the toy worker left."""
    value = json.loads(job.result.read_text())["toy"]
    return Scores(RunState.OK, None, {"gnn.W.r2": value, "gnn.cell_types.accuracy": value / 2})


def drive_toy(
    path: Path,
    study: Study,
    render: Callable[[Snapshot], None] | None = None,
    engine: Engine | None = None,
    proposer: Proposer | None = None,
) -> Snapshot:
    """Starts the study in a folder, or goes on with it, to its end."""
    folder = StudyFolder(path)
    if not folder.journal.exists():
        Journal.create(folder, study, "toy").close()
    with Journal.open(folder, writer=True) as journal:
        parts = Parts(
            engine or LocalEngine(path / "engine"),
            make_policy(study),
            proposer or make_proposer(study, path),
            toy_score,
            render or (lambda snapshot: None),
            WORKER,
        )
        return Controller(folder, journal, parts).run(wait=_short)


def kill_at(commit: int, before: bool) -> None:
    """From now on this process is killed at one of its commits, just before or just after it."""
    writing, seen = journal_module.Journal._writing, [0]

    @contextmanager
    def counted(self: Journal) -> Iterator[Any]:
        with writing(self) as connection:
            yield connection
            seen[0] += 1
            if seen[0] == commit and before:
                os.kill(os.getpid(), signal.SIGKILL)
        if seen[0] == commit and not before:
            os.kill(os.getpid(), signal.SIGKILL)

    journal_module.Journal._writing = counted  # type: ignore[method-assign]


def _short(seconds: float) -> None:
    time.sleep(0.02)


if __name__ == "__main__":
    drive_toy(Path(sys.argv[1]), toy_study(**json.loads(sys.argv[2])))
