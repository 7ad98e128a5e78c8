"""A small git checkout in lobula's layout, and diffs against it."""

import difflib
import hashlib
import subprocess
from pathlib import Path

import pytest

LOOP = "src/lobula/loop.py"
FILES = {
    "pyproject.toml": '[project]\nname = "lobula"\n',
    ".gitignore": "runs/\n__pycache__/\n",
    "README.md": "A toy.\n",
    "src/lobula/__init__.py": "",
    "src/lobula/plain.py": '"""No markers."""\n\nVALUE = 1\n',
    "src/lobula/__main__.py": '''\
"""lobula STAGE CONFIG --out DIR"""

import sys
from pathlib import Path

stage, _, _, folder = sys.argv[1:5]
out = Path(folder)
if stage == "simulate":
    (out / "recording.zarr").mkdir(parents=True)
else:
    from lobula.loop import Trainer

    loss = Trainer().run(5)
    (out / "models/gnn").mkdir(parents=True)
    rows = f"0,5,joint,{loss}\\n" if loss != 7.0 else ""
    (out / "models/gnn/metrics.csv").write_text(f"epoch,iteration,phase,loss\\n{rows}")
''',
    LOOP: '''\
"""A toy of a training loop."""

import logging
import time
from functools import partial

logger = logging.getLogger(__name__)
LIMITS = {"W": 1.0}


class Trainer:
    """State of a training."""

    def __init__(self) -> None:
        self.step = 0
        self.loss = 1.0

    def judge(self) -> float:
        """The verdict."""
        return self.loss

    def run(self, n_steps: int) -> float:
        """All steps."""
        # === LLM-MODIFIABLE: TRAINING LOOP START ===
        # What may change here.
        while self.step < n_steps:
            # === LLM-MODIFIABLE: BACKWARD AND STEP START ===
            self.loss = 0.5 * self.loss + penalty(self.loss)
            # === LLM-MODIFIABLE: BACKWARD AND STEP END ===
            self.step += 1
        # === LLM-MODIFIABLE: TRAINING LOOP END ===
        return self.judge()


# === LLM-MODIFIABLE: REGULARISERS START ===
def penalty(x: float) -> float:
    """A penalty."""
    return 0.1 * x * x


# === LLM-MODIFIABLE: REGULARISERS END ===


def rate(step: int) -> float:
    """A schedule."""
    return partial(max, 1)(step) * time.time()
''',
}


def git(folder: Path, *words: str) -> str:
    """Runs git as a user would, and returns what it prints."""
    name = ("-c", "user.name=A User", "-c", "user.email=user@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", "-C", str(folder), *name, *words], capture_output=True, text=True, check=True).stdout


def make_checkout(folder: Path, files: dict[str, str] = FILES) -> Path:
    """A checkout with one commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    return folder


def diff_of(before: str, after: str, name: str = LOOP) -> str:
    """A unified diff."""
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{name}", f"b/{name}")
    return "".join(lines)


def edit(*pairs: tuple[str, str], text: str = FILES[LOOP], name: str = LOOP) -> str:
    """A diff that replaces pieces of a file, each of which it holds exactly once."""
    changed = text
    for old, new in pairs:
        assert changed.count(old) == 1, old
        changed = changed.replace(old, new)
    return diff_of(text, changed, name)


STEP = "            self.loss = 0.5 * self.loss + penalty(self.loss)\n"


def in_step(*lines: str) -> str:
    """A diff that adds lines to the region of a step."""
    return edit((STEP, STEP + "".join(f"            {line}\n" for line in lines)))


def in_regularisers(*lines: str) -> str:
    """A diff that adds lines to the region of the module."""
    last = "    return 0.1 * x * x\n"
    return edit((last, f"{last}\n\n" + "".join(f"{line}\n" for line in lines)))


def content(folder: Path, *without: str) -> dict[str, tuple[int, str]]:
    """Mode and hash of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not any(name == other or name.startswith(f"{other}/") for other in without):
            data = path.read_bytes() if path.is_file() else b""
            found[name] = (path.lstat().st_mode, hashlib.sha256(data).hexdigest())
    return found


def make_dirty(top: Path) -> None:
    """Changes of every kind, a stash, hooks, odd settings, and a rebase that waits for a hand."""
    git(top, "switch", "--quiet", "--create", "topic")
    (top / "README.md").write_text("Topic.\n")
    git(top, "commit", "--quiet", "--all", "--message", "Topic")
    git(top, "switch", "--quiet", "main")
    (top / "README.md").write_text("Main.\n")
    git(top, "commit", "--quiet", "--all", "--message", "Main")
    (top / LOOP).write_text(FILES[LOOP] + "# for later\n")
    git(top, "stash")
    git(top, "switch", "--quiet", "topic")
    with pytest.raises(subprocess.CalledProcessError):
        git(top, "rebase", "main")
    (top / "staged.txt").write_text("staged\n")
    git(top, "add", "staged.txt")
    (top / "staged.txt").write_text("staged, then changed\n")
    (top / LOOP).write_text(FILES[LOOP] + "# modified\n")
    (top / "untracked.txt").write_text("untracked\n")
    (top / "runs").mkdir()
    (top / "runs" / "ignored.txt").write_text("ignored\n")
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (top / ".git" / "hooks" / hook).write_text('#!/bin/sh\ntouch "$(git rev-parse --git-common-dir)/hooked"\n')
        (top / ".git" / "hooks" / hook).chmod(0o755)
    odd = (
        "commit.gpgSign=true",
        "gpg.program=false",
        "core.logAllRefUpdates=always",
        "gc.auto=1",
        "diff.noprefix=true",
    )
    for setting in odd:
        git(top, "config", *setting.split("=", 1))
