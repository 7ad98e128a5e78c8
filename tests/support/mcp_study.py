"""Serves a study that is made by hand over MCP: ``python mcp_study.py FOLDER``."""

import sys
from pathlib import Path

from lobula.exploration.mcp_server import serve
from lobula.exploration.proposals import ConfigMutation, Replicate
from lobula.exploration.records import RunState, Snapshot

sys.path.insert(0, str(Path(__file__).parent))
from hand_made_study import HandMade

CHANGES = (
    {"path": "training.lr", "old": 0.002, "new": 0.004},
    {"path": "model.activation", "old": "relu", "new": "tanh"},
)


def snapshot(_: Path) -> Snapshot:
    """A base, a better child of it on two pairs of seeds, and a grandchild that failed."""
    made = HandMade()
    made.try_out(Replicate(strategy="baseline"), lambda _: 0.5)
    made.try_out(ConfigMutation(parents=(1,), changes=CHANGES, hypothesis="smooth", predicted_sign=1), lambda _: 0.75)
    made.run(made.nodes[1], 0.7, pair=1)
    change = {"path": "training.lr", "old": 0.004, "new": 0.1}
    node = made.accept(made.propose(ConfigMutation(parents=(2,), changes=(change,), strategy="failure-probe")))
    made.run(node, state=RunState.NAN)
    return made.snapshot


if __name__ == "__main__":
    serve(Path(sys.argv[1]), snapshot, wait_s=float(sys.argv[2]))
