"""A second opinion on a check from a command, for example a language model: text for the history, never a verdict."""

import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from lobula.errors import ConfigError

logger = logging.getLogger(__name__)

MOST_CHARACTERS = 20_000


def parse_command(text: str) -> list[str]:
    """Words of a command line.

    Raises:
        ConfigError: if there are none, or a quotation has no end.
    """
    try:
        words = shlex.split(text)
    except ValueError as cause:
        raise ConfigError(f"--assess: got {text!r} ({cause}), expected a command") from None
    if not words:
        raise ConfigError("--assess: got no words, expected a command")
    return words


def assess(command: Sequence[str], table: str, figures: Sequence[Path], timeout_s: float) -> str:
    """What a command says about a comparison, as Markdown.

    The table goes to its standard input, the paths of the figures behind its own words. Whatever goes wrong is said in
    the text, and nothing is raised.

    Args:
        command: program and first arguments.
        table: Markdown.
        figures: pictures.
        timeout_s: the command and what it started are killed after that [s].
    """
    words = [*command, *(str(path.resolve()) for path in figures)]
    with TemporaryFile() as given, TemporaryFile() as said:  # files, as pipes can fill up
        given.write(table.encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                words, stdin=given, stdout=said, stderr=subprocess.DEVNULL, start_new_session=True
            )
        except (OSError, ValueError) as error:
            return _failed(command[0], f"did not start ({error})")
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            return _failed(command[0], f"took longer than {timeout_s:g} s")
        except BaseException:
            _kill(process)
            raise
        if status != 0:
            return _failed(command[0], f"ended with status {status}")
        said.seek(0)
        text = said.read().decode(errors="replace").strip()[:MOST_CHARACTERS]
    quoted = "\n".join(f"> {line}".rstrip() for line in text.splitlines())
    return f"Assessment by {Path(command[0]).name}, no part of the verdict:\n\n{quoted or '> (nothing)'}"


def _kill(process: subprocess.Popen) -> None:
    """The command, which still runs, and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failed(name: str, reason: str) -> str:
    logger.warning("assessment: %s %s; the verdict stands without it", name, reason)
    return f"Assessment: {Path(name).name} {reason}."
