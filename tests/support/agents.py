"""Stand-ins for agents: real programs that answer well, badly, late or not at all."""

import json
import sys
from pathlib import Path

CHANGE = {"path": "training.lr", "old": 0.002, "new": 0.005}
GOOD = {"kind": "config", "parents": [], "strategy": "exploit", "hypothesis": "faster", "changes": [CHANGE]}

_HEAD = "import json, os, subprocess, sys, time\ncontext = json.load(sys.stdin)\n"


def program(folder: Path, body: str) -> tuple[str, ...]:
    """Words of a command that reads the context into `context` and goes on with `body`; GOOD is a proposal there."""
    path = folder / "agent.py"
    path.write_text(f"{_HEAD}GOOD = json.loads({json.dumps(GOOD)!r})\n{body}\n")
    return sys.executable, str(path)
