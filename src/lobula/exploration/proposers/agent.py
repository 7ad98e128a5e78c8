"""Any command as a proposer: the study as JSON on its stdin, proposals as JSON on its stdout."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lobula.errors import ProposerError
from lobula.exploration.context import build_context
from lobula.exploration.proposals import Proposal
from lobula.exploration.proposers.answers import one_line, proposals_in
from lobula.exploration.proposers.base import Request

_POLL_S = 0.02
_MAX_BYTES = 8 << 20  # printed: far more than any proposal


def bare(text: str) -> str:
    """What a command printed, as it is."""
    return text


def as_json(context: Mapping[str, Any]) -> str:
    """The context as a command reads it on stdin."""
    return json.dumps(context)


class AgentProposer:
    """Runs a command for every request. It keeps nothing: what the command should know is in the context.

    Args:
        command: words of the command; it runs where the study was started from, with the study's folder in
            ``LOBULA_STUDY``.
        timeout_s: after that it is killed, with everything that it started.
        name: short name, kept with its proposals.
        encode: the context as text for stdin.
        decode: the answer, out of what was printed; raises ValueError with a line if that is a failure.
        in_folder: whether it runs in the study's folder instead.
    """

    def __init__(
        self,
        command: Sequence[str],
        timeout_s: float = 600.0,
        name: str = "agent",
        encode: Callable[[Mapping[str, Any]], str] = as_json,
        decode: Callable[[str], str] = bare,
        in_folder: bool = False,
    ) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._name = name
        self._encode = encode
        self._decode = decode
        self._in_folder = in_folder

    @property
    def name(self) -> str:
        """Name that its proposals are kept under."""
        return self._name

    def propose(self, request: Request) -> list[Proposal]:
        """What the command answers.

        Raises:
            ProposerError: one line: not found, exit status, timeout, or no proposals in what it printed.
        """
        given = self._encode(build_context(request))
        environment = dict(os.environ)
        if request.folder is not None:
            environment["LOBULA_STUDY"] = str(request.folder.absolute())
        folder = request.folder if self._in_folder else None
        printed = run_command(self._name, self._command, given, self._timeout_s, environment, folder)
        try:
            answer = self._decode(printed)
        except ValueError as error:
            raise ProposerError(one_line(f"{self._name}: {error}")) from None
        return proposals_in(answer, self._name, request.n)


def run_command(
    name: str,
    command: Sequence[str],
    given: str,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """What a command prints on stdout.

    Files, not pipes: a process that the command leaves behind with its stdout open cannot keep anyone waiting, and is
    killed in any case.

    Args:
        name: of the agent, for errors.
        command: words.
        given: text for its stdin.
        timeout_s: seconds that it may take.
        environment: its environment; default: ours.
        folder: where it runs; default: here.

    Raises:
        ProposerError: if it cannot be started, takes too long, prints too much, or exits with another status than 0.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given.encode())
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                list(command), stdin=stdin, stdout=stdout, stderr=stderr, env=environment, cwd=folder,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ProposerError(f"{name}: cannot start {command[0]!r}: {error.strerror or error}") from None
        try:
            status = _wait(name, process, (stdout, stderr), timeout_s)
        finally:
            _end(process)
        if status != 0:
            said = _last_line(stderr) or _last_line(stdout) or "it printed nothing"
            how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
            raise ProposerError(one_line(f"{name}: {how}: {said}"))
        return _text(stdout)


def _wait(name: str, process: subprocess.Popen[bytes], files: Sequence[IO[bytes]], timeout_s: float) -> int:
    end = time.monotonic() + timeout_s
    while (status := process.poll()) is None:
        if time.monotonic() > end:
            raise ProposerError(f"{name}: no answer after {timeout_s:g} s, killed it; raise proposer.agent.timeout_s")
        if any(os.fstat(file.fileno()).st_size > _MAX_BYTES for file in files):
            raise ProposerError(f"{name}: printed more than {_MAX_BYTES >> 20} MB, killed it; expected proposals")
        time.sleep(_POLL_S)
    return status


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group, also what the command left behind when it ended."""
    with suppress(ProcessLookupError, PermissionError):  # nothing is left; macOS says so in the second way
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MAX_BYTES).decode(errors="replace")


def _last_line(file: IO[bytes]) -> str:
    lines = [line.strip() for line in _text(file).splitlines() if line.strip()]
    return lines[-1] if lines else ""
