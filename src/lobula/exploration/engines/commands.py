"""Commands of a scheduler, here or on a host that ssh reaches."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from lobula.errors import EngineError

TIMEOUT_S = 120.0
_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Attributes:
        status: exit status.
        out: its standard output.
        err: its standard error.
    """

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both, in one line."""
        return " ".join(f"{self.out} {self.err}".split())[:400]


def ask(words: Sequence[str], given: str = "", host: str | None = None) -> Answer:
    """Runs a command of the scheduler.

    Args:
        words: of the command.
        given: its standard input.
        host: where to run it, in a login shell; None: here.

    Raises:
        EngineError: if it cannot be run at all, or does not answer.
    """
    command = list(words) if host is None else [*_SSH, host, shlex.join(["bash", "-lc", shlex.join(words)])]
    where = "" if host is None else f" on {host}"
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=TIMEOUT_S, errors="replace")
    except FileNotFoundError:
        raise EngineError(f"{command[0]}: not found, expected it on the path; is this a host of the cluster?") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{words[0]}{where}: does not answer: {error}") from error
    return Answer(done.returncode, done.stdout, done.stderr)


def refused(what: str, answer: Answer) -> EngineError:
    """The error for an answer that is none."""
    return EngineError(f"{what}: got status {answer.status} and {answer.text or 'nothing'!r}, expected an answer")
