"""What the steps of a long computation came to, kept as they pass, so that a killed one goes on where it was."""

import io
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
    computation, started again with the same file, is given the results that are there and computes the next.

    Args:
        path: the file, arrays of NumPy one after the other; None keeps nothing.
        inputs: names what the results follow from; a file of other inputs is begun anew.
        on_round: called with (round, score), whether the round was computed or is from the file.
    """

    def __init__(
        self,
        path: Path | None = None,
        inputs: str = "",
        on_round: Callable[[int, float], None] = lambda round_, score: None,
    ) -> None:
        self._path, self._inputs, self.on_round = path, np.array(inputs), on_round
        known = _whole_records(path) if path is not None and path.exists() else []
        if path is not None and known and not np.array_equal(known[0], self._inputs):
            path.unlink()
            known = []
        self._known = iter(known[1:])
        if known[1:]:
            logger.info("%s: %d steps are known", path, len(known) - 1)

    def once(self, compute: Callable[..., Any], *args: Any) -> np.ndarray:
        """What ``compute(*args)`` returns, as an array; it is not called if the file says what it returned.

        Raises:
            DiskFullError: if the disk is full.
        """
        for known in self._known:
            return known
        result = np.asarray(compute(*args))
        if self._path is not None:
            self._append(self._path, result)
        return result

    def _append(self, path: Path, result: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        with disk_full_as_error(path, "what the steps before came to is kept"), path.open("ab") as file:
            for record in [result] if file.tell() else [self._inputs, result]:
                np.save(content, record, allow_pickle=False)
            file.write(content.getvalue())


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
    return records
