"""Checkpoints: everything that the next step depends on, written atomically."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from lobula.data.atomic import atomic_write_bytes
from lobula.errors import MissingInputError, StoreError


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes beside the target and renames: a kill or a full disk leaves the old checkpoint or the new one.

    Raises:
        DiskFullError: if there is no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; refuses anything but tensors and plain values.

    Raises:
        MissingInputError: if there is none.
        StoreError: if it is truncated or foreign.
    """
    if not path.exists():
        raise MissingInputError(f"checkpoint: {path} does not exist; run the train stage first")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise StoreError(
            f"checkpoint: {path} is truncated or foreign ({type(error).__name__}); delete it and train again"
        ) from error
