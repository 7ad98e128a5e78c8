"""What the steps of a long computation came to, kept as they pass, so that a killed one goes on where it was."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lobula.data.atomic import disk_full_as_error

logger = logging.getLogger(__name__)


class KeptSteps:
    """Results of steps, in the order of the calls.

    Steps have to be deterministic, and called in an order that follows from the results alone. Then the same
    computation, started again with the same file, is given the results that are there and computes the next. A file
    belongs to one set of inputs: who has others deletes it.

    Args:
        path: the file, arrays of NumPy one after the other; None keeps nothing.
        on_round: called with (round, score), whether the round was computed or is from the file.
    """

    def __init__(
        self, path: Path | None = None, on_round: Callable[[int, float], None] = lambda round_, score: None
    ) -> None:
        self._path, self.on_round = path, on_round
        self._known = iter(_whole_records(path) if path is not None and path.exists() else [])

    def once(self, compute: Callable[..., Any], *args: Any) -> np.ndarray:
        """What ``compute(*args)`` returns, as an array; it is not called if the file says what it returned.

        Raises:
            DiskFullError: if the disk is full.
        """
        for known in self._known:
            return known
        result = np.asarray(compute(*args))
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with disk_full_as_error(self._path, "what the steps before came to is kept"), self._path.open("ab") as file:
                np.save(file, result, allow_pickle=False)
        return result


NOT_KEPT = KeptSteps()


def _whole_records(path: Path) -> list[np.ndarray]:
    """The arrays in a file; one that is cut short, as its process was killed, is taken off."""
    records: list[np.ndarray] = []
    with path.open("r+b") as file:
        whole, size = 0, path.stat().st_size
        while whole < size:
            try:
                records.append(np.load(file, allow_pickle=False))
            except (ValueError, EOFError, OSError):
                file.truncate(whole)
                break
            whole = file.tell()
    logger.info("%s: %d steps are known", path.name, len(records))
    return records
