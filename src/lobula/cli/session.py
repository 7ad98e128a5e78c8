"""What every command shares: notices and errors on stderr, one line each, and the exit status."""

import errno
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from lobula.errors import LobulaError

EXIT_BUG = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_FOR_USERS = "Sparse (CSR tensor support|invariant checks)"  # torch, on every first use


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at that moment, so that a progress bar can move out of the way."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


@contextmanager
def session(debug: bool = False, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """The body of a command: notices go to stderr, an error becomes one line and an exit status.

    Args:
        debug: let errors through with their traceback.
        quiet: warnings only.
        verbose: everything.

    Raises:
        typer.Exit: with status 2 for an error that the user can mend, 130 for Ctrl-C, 1 for a fault of our own.
    """
    handler = _StderrHandler()
    handler.setFormatter(_Format())
    logger = logging.getLogger("lobula")
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_NOT_FOR_USERS, category=UserWarning)
            yield
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except (typer.Exit, typer.TyperException):
        raise
    except Exception as error:
        if debug:
            raise
        mendable = isinstance(error, LobulaError | OSError | MemoryError)
        say(one_line(error) if mendable else f"{one_line(error)}; a fault of lobula itself: --debug shows where")
        raise typer.Exit(EXIT_INPUT if mendable else EXIT_BUG) from error
    finally:
        logger.removeHandler(handler)


def say(message: str) -> None:
    """One line on stderr."""
    typer.echo(" ".join(message.split()), err=True)


def one_line(error: BaseException) -> str:
    """What an error says: kind, what, got, expected, next step."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, LobulaError):
        return f"{kind}: {text}"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"DiskFullError: {error.filename or 'disk'}: the disk is full; free space and run the same command again"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{kind}: {error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"MemoryError: {text or 'out of memory'}; --dry-run shows what an experiment needs"
    return f"{kind}: {text}" if text else kind


class _Format(logging.Formatter):
    """The bare message; its level in front of it if it is a warning or worse."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"
