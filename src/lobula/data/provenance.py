"""Where a result comes from: code, library versions, machine."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_LIBRARIES = ("torch", "numpy", "scipy", "pandas", "zarr", "pydantic", "scikit-learn", "matplotlib")
_GIT_SECONDS = 10


def code_state() -> dict[str, Any]:
    """Commit of lobula's own source and whether it was changed; both None outside a git checkout of lobula."""
    package = Path(__file__).resolve().parent.parent
    tracked = _git(package, "ls-files", "--error-unmatch", str(Path(__file__).resolve()))
    commit = _git(package, "rev-parse", "HEAD") if tracked is not None else None
    if commit is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git(package, "status", "--porcelain", "--untracked-files=no"))}


def versions() -> dict[str, str | None]:
    """Versions of Python, lobula and the libraries that decide numbers."""
    return {"python": platform.python_version()} | {name: _version(name) for name in ("lobula", *_LIBRARIES)}


def device_facts() -> dict[str, Any]:
    """Processor, cores, threads and accelerator of this machine; nothing that names the machine."""
    import torch  # takes two seconds

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
