"""Which torch device a setting means."""

import os

import torch

from lobula.errors import ConfigError


def usable_device(name: str, setting: str = "training.device") -> torch.device:
    """The device of that name, after a first allocation on it.

    Args:
        name: for example "cpu" or "cuda:0".
        setting: field to name in the error.

    Raises:
        ConfigError: if this machine or this build of torch has no such device.
    """
    try:
        device = torch.device(name)
        if device.type == "cuda":  # products give equal bits each time; cuBLAS reads this once, at the first of them
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.zeros(1, device=device)
    # torch raises AssertionError for a device that this build lacks, RuntimeError for a wrong name or number
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"{setting}: got {name!r}, expected a device that torch can use here, cpu works ({reason})"
        ) from error
    return device
