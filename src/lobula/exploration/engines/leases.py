"""Leases of GPUs: one job on a device at a time, over all studies of a user on this machine."""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def lease_folder() -> Path:
    """Where the lock files are: of this machine and this user."""
    folder = Path(tempfile.gettempdir()) / f"lobula-leases-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def lease(devices: Sequence[str]) -> tuple[str, int] | None:
    """Takes the first free device.

    Returns:
        The device and an open file whose lock is the lease: it ends with the process that holds it, however that dies.
        None if all are taken.
    """
    for device in devices:
        name = "".join(sign if sign.isalnum() or sign in "-." else "_" for sign in device)
        file = os.open(lease_folder() / f"gpu-{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        return device, file
    return None
