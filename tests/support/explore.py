"""What the tests of the explorer share: studies, journals with nodes in them, a writer to kill."""

import random
import sys
from pathlib import Path
from typing import Any

from lobula.exploration.folder import StudyFolder
from lobula.exploration.gate import Gate
from lobula.exploration.journal import Journal
from lobula.exploration.panel import next_pair
from lobula.exploration.records import NodeRecord, RunRecord, RunState
from lobula.exploration.study import Study

LR = 0.002  # of the recipe fly-small


def make_study(**values: Any) -> Study:
    return Study.from_dict({"name": "trial", "base": "fly-small", **values})


def mutation(path: str, old: Any, new: Any, *parents: int, **more: Any) -> dict[str, Any]:
    return {"kind": "config", "parents": list(parents), "changes": [{"path": path, "old": old, "new": new}], **more}


def add_node(journal: Journal, gate: Gate, content: dict[str, Any]) -> NodeRecord:
    """Propose, check and accept, as the controller does."""
    proposal = journal.propose("test", content)
    return journal.accept(proposal, gate.check(content, journal.snapshot()))


def add_baseline(journal: Journal, gate: Gate) -> NodeRecord:
    content = {"kind": "replicate", "strategy": "baseline"}
    return journal.accept(journal.propose("test", content), gate.baseline(journal.snapshot()))


def add_scored(journal: Journal, node: NodeRecord, value: float) -> RunRecord:
    """The next run of a node, from accepted to scored."""
    pair = next_pair(journal.snapshot(), node.config)
    assert pair is not None
    run = journal.add_run(node.id, pair)
    for state in (RunState.SUBMITTED, RunState.RUNNING, RunState.OK):
        journal.move(run.id, state)
    return journal.score(run.id, {"gnn.W.r2": value})


def tell(*words: Any) -> None:
    """One line for the parent, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def write_until_killed(folder: Path) -> None:
    """Goes on writing and says after every commit what was committed; a parent kills it."""
    with Journal.open(StudyFolder(folder), writer=True) as journal:
        rng = random.Random(len(journal.events()))  # other proposals than before the last kill
        gate = Gate(journal.study, journal.code, journal.base)
        tell("begin")
        while True:
            content = mutation("training.lr", LR, rng.uniform(1e-4, 1e-2))
            proposal = journal.propose("writer", content)
            tell("proposal", proposal, "pending")
            node = journal.accept(proposal, gate.check(content, journal.snapshot()))
            tell("node", node.id, proposal)
            pair = next_pair(journal.snapshot(), node.config)
            assert pair is not None
            run = journal.add_run(node.id, pair)
            tell("run", run.id, run.state)
            for state in (RunState.SUBMITTED, RunState.RUNNING, RunState.OK):
                tell("run", run.id, journal.move(run.id, state).state)
            tell("run", run.id, journal.score(run.id, {"gnn.W.r2": -0.25, "n": 8.1e-05}).state)


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]))
