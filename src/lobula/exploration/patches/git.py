"""git, run so that it never asks, never runs a hook, and never touches what it was not told to."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lobula.errors import StoreError

_SECONDS = 300
_QUIET = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.logAllRefUpdates": "false",
    "core.sparseCheckout": "false",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "apply.whitespace": "nowarn",
}
"""Settings of the user's that must not act here; given with every command and written nowhere."""


@dataclass(frozen=True)
class Git:
    """git in one place.

    Attributes:
        folder: a working tree, or the folder that holds the objects and refs (.git).
        index: index file to work on in place of the folder's own.
        author: name and e-mail of commits.
    """

    folder: Path
    index: Path | None = None
    author: tuple[str, str] | None = None

    def run(self, *words: str, given: str | None = None) -> str:
        """Standard output of a git command, without its last line break.

        Raises:
            StoreError: if git fails, or is not there; says what git said.
        """
        done = self._call(words, given)
        if done.returncode != 0:
            raise StoreError(f"git {words[0]} in {self.folder}: {said(done.stderr)}")
        return done.stdout.removesuffix("\n")

    def attempt(self, *words: str, given: str | None = None) -> tuple[str | None, str]:
        """Standard output, or None where git fails, and what it said in that case."""
        try:
            done = self._call(words, given)
        except StoreError as error:
            return None, str(error)
        return (done.stdout.removesuffix("\n"), "") if done.returncode == 0 else (None, said(done.stderr))

    def blob(self, name: str) -> bytes:
        """Content of a file, such as "COMMIT:src/x.py", or ":src/x.py" for the index."""
        command = [*self._command(), "cat-file", "blob", name]
        try:
            return subprocess.run(
                command, env=self._environment(), capture_output=True, check=True, timeout=_SECONDS
            ).stdout
        except (OSError, subprocess.SubprocessError) as cause:
            raise StoreError(f"git cat-file in {self.folder}: cannot read {name} ({cause})") from None

    def _call(self, words: tuple[str, ...], given: str | None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self._command(), *words],
                input=given or "",
                env=self._environment(),
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as cause:
            raise StoreError(f"git {words[0]} in {self.folder}: {cause}") from None

    def _command(self) -> list[str]:
        return ["git", "-C", str(self.folder), *(word for item in _QUIET.items() for word in ("-c", "=".join(item)))]

    def _environment(self) -> dict[str, str]:
        # GIT_DIR and the like are set where lobula is started from a hook; they would lead elsewhere
        values = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        values |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        if self.index is not None:
            values["GIT_INDEX_FILE"] = str(self.index)
        for role in ("AUTHOR", "COMMITTER") if self.author else ():
            values |= dict(zip((f"GIT_{role}_NAME", f"GIT_{role}_EMAIL"), self.author or (), strict=True))
        return values


def said(text: str) -> str:
    """The first line that says something, of what a command said."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("warning:")]
    return lines[0].removeprefix("error: ").removeprefix("fatal: ") if lines else "failed without a word"
