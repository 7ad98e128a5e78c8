"""Files that are either old or new, never half written."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lobula.errors import DiskFullError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write beside the file, flush to disk, then rename onto it.

    Raises:
        DiskFullError: if the disk is full; the file keeps its old content.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with disk_full_as_error(path, "the file keeps its old content"):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def atomic_write_text(path: str | Path, text: str) -> None:
    """`atomic_write_bytes` for text (UTF-8)."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: str | Path, values: Any) -> None:
    """`atomic_write_bytes` for JSON; arrays become lists, paths strings, and NaN or infinity null."""
    atomic_write_text(path, json.dumps(_plain(values), indent=2, allow_nan=False) + "\n")


@contextmanager
def disk_full_as_error(path: Path, kept: str) -> Iterator[None]:
    """Turn "no space left" into `DiskFullError` that says what is kept."""
    try:
        yield
    except OSError as cause:
        if cause.errno not in _DISK_FULL:
            raise
        raise DiskFullError(
            f"{path}: the disk is full; {kept}; free space there and run the same command again"
        ) from cause


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
