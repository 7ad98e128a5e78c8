"""What the doctor looks at."""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lobula.cli.tables import size
from lobula.connectome import Connectome
from lobula.data import RunDir, Wiring
from lobula.data.atomic import atomic_write_text
from lobula.data.provenance import device_facts, versions
from lobula.simulation import integrate

MIN_MEMORY = 4e9  # fly-small needs half of it
MIN_DISK = 5e9  # a full-size recording without drift takes 3.5 GB
TOLERANCE = 1e-5  # single precision over 50 steps


@dataclass(frozen=True)
class Check:
    """One line of the doctor's findings.

    Attributes:
        name: what was looked at.
        found: what was seen.
        is_fine: False if lobula will not work well.
        advice: what to do then.
    """

    name: str
    found: str
    is_fine: bool = True
    advice: str = ""


def simulator() -> Check:
    r"""Three neurons whose Euler trajectory is known, one of them driven by a synapse.

    .. math:: v_i(t) = v_i^* + (v_i(0) - v_i^*)(1 - dt/\tau_i)^t, \qquad v^* = V + W \max(v, 0)
    """
    dt, n_steps = 0.02, 50
    tau, rest, start = np.array([0.1, 0.05, 0.3]), np.array([0.5, 0.2, -0.3]), np.array([0.5, 1.0, 1.0])
    weight = -0.8
    wiring = Wiring.from_edges(np.array([[0], [1]]), 3)
    zeros, one = np.zeros(3, dtype=np.int64), np.ones(1)
    circuit = Connectome(
        wiring, weight * one, tau, rest, zeros, ("neuron",), zeros, zeros, one, -one, np.zeros((0, 2), dtype=np.int64)
    )
    settled = rest + np.array([0.0, weight * rest[0], 0.0])
    steps = np.arange(1, n_steps + 1)[:, None]
    expected = settled + (start - settled) * (1 - dt / tau) ** steps
    error = float(np.abs(integrate(circuit, np.zeros((n_steps, 3)), v0=start, dt=dt) - expected).max())
    advice = f"expected at most {TOLERANCE:g}; reinstall with the versions of constraints.txt"
    return Check("simulator against a closed form", f"largest difference {error:.1e}", error <= TOLERANCE, advice)


def software() -> list[Check]:
    """Python and the libraries."""
    found = versions()
    supported = (3, 11) <= sys.version_info < (3, 14)
    python = Check("Python", str(found.pop("python")), supported, "expected 3.11 to 3.13; use one of them")
    missing = ", ".join(name for name, version in found.items() if version is None)
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if missing:
        return [python, Check("libraries", f"{missing} not installed", False, "install lobula with pip")]
    return [python, Check("libraries", listed)]


def machine() -> list[Check]:
    """Cores, threads, accelerator, memory."""
    facts = device_facts()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    advice = f"expected {size(MIN_MEMORY)}; use a smaller connectome.extent"
    return [
        Check("cores", f"{cores} to use, {facts['n_cores']} in all"),
        Check("torch threads", str(facts["n_threads"])),
        Check("accelerator", str(facts["gpu"] or "none; not needed")),
        Check("memory", size(memory), memory >= MIN_MEMORY, advice),
    ]


def disk(out: Path) -> list[Check]:
    """Room and rights where runs will be written."""
    folder = next(place for place in (out, *out.resolve().parents) if place.is_dir())
    free = shutil.disk_usage(folder).free
    found, is_fine, advice = "works", True, "choose another --out"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".lobula-doctor-") as scratch, RunDir(Path(scratch)) as run:
            atomic_write_text(run / "written", found)
    except OSError as error:
        found, is_fine = str(error.strerror or error), False
    return [
        Check("disk", f"{size(free)} free", free >= MIN_DISK, f"expected {size(MIN_DISK)}; {advice}"),
        Check("write, rename and lock a file", found, is_fine, advice),
    ]
