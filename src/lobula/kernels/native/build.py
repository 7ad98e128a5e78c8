"""Compiles the C files beside this one, once per machine, and loads the result.

The code is compiled for the processor that it runs on, and its threads are those of torch: it is linked with the OpenMP
that torch brings, and else finds what torch has loaded. Two pools of threads would take the cores from each other.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

SOURCES = ("hats.c", "loss.c", "message_sum.c", "mlp.c", "source_network.c", "update.c")
HEADERS = ("first_layer.h", "loss.h", "message_sum.h", "mlp.h", "product.h", "vectors.h")
FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-march=native", "-fopenmp", "-fPIC")
SWITCH = "LOBULA_NATIVE"
"""Environment variable: 0 leaves everything to torch."""
_HERE = Path(__file__).parent


def loaded() -> ctypes.CDLL:
    """The compiled kernels, for those who asked whether there are any."""
    found = library()
    if found is None:
        raise RuntimeError("no compiled kernels; ask `fits` first")
    return found


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there are none, and the log says why."""
    if os.environ.get(SWITCH) == "0":
        return None
    if sys.platform != "linux" or platform.machine() != "x86_64":
        logger.info("kernels: torch's operations, as compiled ones are for Linux on x86-64")
        return None
    try:
        return ctypes.CDLL(str(compiled(FLAGS, list(_folders()))))
    except OSError as error:
        logger.warning("kernels: torch's operations, slower (%s)", error)
        return None


def compiled(flags: Sequence[str], folders: Sequence[Path]) -> Path:
    """The shared library, from a cache or compiled now.

    Args:
        flags: of the compiler.
        folders: where it may be; compiled into the first.

    Raises:
        OSError: if there is no compiler, or it fails, or there is no folder to write to.
    """
    name = f"native-{_fingerprint(flags)}.so"
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    if not folders:
        raise OSError(f"no folder to compile into; make {_HERE / '__pycache__'} or ~/.cache writable")
    found = dict.fromkeys(filter(None, map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "cc"))))
    problem = OSError("no C compiler found; install gcc, or name one with CC=...")
    for compiler in found:
        try:
            return _compiled_by(compiler, flags, folders[0], name)
        except OSError as error:
            problem = error
    raise problem


def _compiled_by(compiler: str, flags: Sequence[str], folder: Path, name: str) -> Path:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        built = [Path(temporary, source).with_suffix(".o") for source in SOURCES]
        for source, output in zip(SOURCES, built, strict=True):
            _call(compiler, *flags, "-c", _HERE / source, "-o", output)
        _call(compiler, "-shared", *built, *_openmp(), "-lm", "-o", Path(temporary, name))
        os.replace(Path(temporary, name), folder / name)  # other processes may be doing the same
    logger.info("kernels: compiled in %.1f s", time.monotonic() - began)
    return folder / name


def _call(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        said = next((line for line in lines if "error" in line), lines[0])
        raise OSError(f"{words[0]} failed: {said}; CC=... names another compiler")


def _openmp() -> list[Path]:
    return sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))


def _folders() -> Iterator[Path]:
    """Where compiled code may lie: beside Python's own, or in the user's cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    for folder in (_HERE / "__pycache__", Path(cache_home) / "lobula"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            yield folder


def _fingerprint(flags: Sequence[str]) -> str:
    """Of all that decides what the compiled code is and where it runs: a cluster's machines may share a folder."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = sorted({line for line in lines if line.startswith(("flags", "model name"))})
    openmp = [file.name for file in _openmp()]
    digest = hashlib.sha256(repr((list(flags), processor, openmp)).encode())
    for name in (*SOURCES, *HEADERS):
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()[:16]
