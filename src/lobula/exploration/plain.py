"""Values as JSON can hold them, in one spelling: what the journal stores and hashes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_DEPTH = 40
"""Nesting that an honest value never has; what lies deeper is left out."""


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON holds it, whatever an agent sent.

    Numbers keep every bit. NaN and infinities, which JSON does not know, become their names; what is no plain value
    becomes its text.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)  # an IntEnum, too
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if depth >= MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, depth + 1) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(inner, depth + 1) for inner in value), key=str)
    return value.as_posix() if isinstance(value, Path) else str(value)


def canonical(value: Any) -> str:
    """JSON text of a value: sorted keys, no spaces, ASCII; equal texts mean equal values."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def line(text: Any) -> str:
    """Text that any database and any file can hold, on one line."""
    return " ".join(str(text).encode("utf-8", "replace").decode().replace("\0", " ").split())


def same_value(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; true is not 1, but 1 is 1.0, and a tuple is a list."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and one == other
