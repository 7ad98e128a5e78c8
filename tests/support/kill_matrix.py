"""Kills the controller of a toy study at one commit after the other, goes on, and says what was lost or doubled.

    python tests/support/kill_matrix.py FOLDER STRIDE

Prints JSON: commits at which it was killed, and what was wrong. A process of its own, because it forks.
"""

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from lobula.exploration.folder import StudyFolder
from lobula.exploration.journal import Journal
from lobula.exploration.records import RunState
from support.toy_study import drive_toy, kill_at, toy_study

STUDY = toy_study(budget={"n_runs": 4, "run_seconds": 60.0}, seeds={"panel": 2, "holdout": 1})


def child(path: Path, commit: int | None, before: bool) -> bool:
    """Drives the study in a fork; whether it came to its end."""
    number = os.fork()
    if number == 0:
        status = 1
        try:
            if commit is not None:
                kill_at(commit, before)
            drive_toy(path, STUDY)
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(number, 0)[1] == 0


def faults(path: Path) -> list[str]:
    """What is wrong with a study that should be done."""
    with Journal.open(StudyFolder(path)) as journal:
        journal.verify()
        snapshot = journal.snapshot()
    found = [] if snapshot.phase == "done" else [f"phase {snapshot.phase}"]
    found += [f"run {run.id} is {run.state}" for run in snapshot.runs if run.state is not RunState.SCORED]
    found += [f"run {run.id} has {run.attempt} attempts" for run in snapshot.runs if run.attempt != 1]
    pairs = Counter((run.config, run.pair) for run in snapshot.runs)
    found += [f"{config} ran twice on {pair}" for (config, pair), n in pairs.items() if n > 1]
    spent = sum(not run.pair.holdout for run in snapshot.runs)
    found += [f"{spent} runs of a budget of 4"] if spent != 4 else []
    used = {run.node for run in snapshot.runs}
    found += [f"node {node.id} has no run" for node in snapshot.nodes if node.id not in used]
    done = Counter((path / "executions.log").read_text().split())
    found += [f"job {name} was executed {n} times" for name, n in done.items() if n > 1]
    found += [f"run {run.id} was not executed" for run in snapshot.runs if done[f"{run.id}-1"] == 0]
    return found


def main(folder: Path, stride: int) -> None:
    """All kill points, every ``stride``-th."""
    commit, killed, wrong = 1, [], []
    while True:
        ended = []
        for before in (True, False):
            path = folder / f"{commit}-{before}"
            ended.append(child(path, commit, before))
            if not child(path, None, before):
                wrong.append(f"commit {commit}, before={before}: did not come to its end")
            else:
                wrong += [f"commit {commit}, before={before}: {fault}" for fault in faults(path)]
            shutil.rmtree(path)
        if all(ended):
            break
        killed.append(commit)
        commit += stride
    print(json.dumps({"killed": killed, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
