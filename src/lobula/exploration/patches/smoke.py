"""Does patched code run: an import, then a few training steps on a tiny recording, on the processor."""

import csv
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lobula.config import ExperimentConfig, load_config, save_config
from lobula.errors import ConfigError, PatchError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.study import Study

TINY = (
    *("simulation.n_frames=400", "simulation.n_frames_validation=150", "simulation.n_frames_test=150"),
    *("training.estimators=[gnn]", "training.device=cpu"),
)
"""Makes any experiment small; `study.code.smoke` comes after it and has the last word."""
_SMALL = {"signal": "signal.n_neurons=40", "optic_lobe": "connectome.extent=1"}
_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


def check_import(path: Path, files: Sequence[str], seconds: float) -> None:
    """Imports the changed modules of a working tree in another process.

    Args:
        path: of the working tree.
        files: relative to it, below src/.
        seconds: limit.

    Raises:
        PatchError: if an import fails.
    """
    modules = [file.removeprefix("src/").removesuffix(".py").replace("/", ".") for file in files]
    modules = [module.removesuffix(".__init__") for module in modules]
    status, output = run_limited([sys.executable, "-P", "-c", _IMPORT, *modules], code_environment(path), seconds)
    if status != 0:
        raise PatchError(f"patch: {', '.join(modules)} cannot be imported ({_why(status, output, seconds)})")
    places = [Path(line) for line in output.splitlines()[-len(modules) :]]
    if not all(place.resolve().is_relative_to(path.resolve()) for place in places):
        raise PatchError(f"patch: {modules[0]} was imported from {places[0]}, expected it from {path}")


def check_smoke(folder: StudyFolder, study: Study, path: Path) -> None:
    """Trains for a few steps with the code of a working tree.

    The experiment is the study's own, made tiny; its recording is simulated once per study, with the frozen code. What
    only a GPU runs (recorded CUDA graphs) is not seen here.

    Raises:
        PatchError: if the training fails, takes longer than `study.code.smoke_seconds`, or leaves the finite numbers.
        ConfigError: if the experiment cannot be made tiny, or not be simulated.
    """
    config = smoke_config(study)
    if config.simulation.recording is None:
        config = config.with_values({"simulation.recording": str(tiny_recording(folder, study, config))})
    seconds = study.code.smoke_seconds
    with tempfile.TemporaryDirectory(prefix="lobula-smoke-") as scratch:
        out = Path(scratch) / "run"
        words = _lobula("train", config, Path(scratch), out)
        status, output = run_limited(words, code_environment(path), seconds)
        if status != 0:
            raise PatchError(f"patch: the smoke run failed ({_why(status, output, seconds)})")
        _check_finite(out / "models" / "gnn" / "metrics.csv")


def smoke_config(study: Study) -> ExperimentConfig:
    """The study's experiment, made tiny.

    Raises:
        ConfigError: if it is not valid then; names the field.
    """
    source = load_config(study.base, study.set).connectome.source
    small = [_SMALL[source]] if source in _SMALL else []
    try:
        return load_config(study.base, [*study.set, *small, *TINY, *study.code.smoke])
    except ConfigError as error:
        raise ConfigError(f"smoke run: {error}; choose other overrides in code.smoke of the study") from None


def tiny_recording(folder: StudyFolder, study: Study, config: ExperimentConfig) -> Path:
    """The recording of smoke runs, without its truth; simulated at the first call.

    Raises:
        ConfigError: if the simulation fails.
    """
    place = folder.path.resolve() / "smoke" / "recording.zarr"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    seconds = 5 * study.code.smoke_seconds
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent) as scratch:
        out = Path(scratch) / "run"
        words = _lobula("simulate", config, Path(scratch), out)
        status, output = run_limited(words, code_environment(folder.code), seconds)
        if status != 0:
            raise ConfigError(
                f"smoke run: its recording cannot be simulated ({_why(status, output, seconds)}); choose other "
                "overrides in code.smoke of the study"
            )
        with suppress(OSError):  # another gate was first
            (out / "recording.zarr").rename(place)
    return place


def code_environment(path: Path) -> dict[str, str]:
    """Environment in which `python -P -m lobula` is that of a working tree, alone and on the processor."""
    values = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    given = values.get("PYTHONPATH")  # where a cluster may keep the libraries
    source = os.pathsep.join([str(path.resolve() / "src"), *([given] if given else [])])
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    alone = {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**values, **single, **alone}


def run_limited(words: Sequence[str], environment: Mapping[str, str], seconds: float) -> tuple[int | None, str]:
    """Runs a command in a process group of its own, of which nothing is left afterwards.

    Returns:
        Exit status, None if it took longer than ``seconds``, and what it printed.
    """
    with tempfile.TemporaryFile() as printed:  # a file, as a pipe can fill up
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed.seek(0)
        return status, printed.read().decode("utf-8", "replace")


def _lobula(stage: str, config: ExperimentConfig, scratch: Path, out: Path) -> list[str]:
    file = scratch / "smoke.yaml"
    file.write_text(save_config(config), encoding="utf-8")
    return [sys.executable, "-P", "-m", "lobula", stage, str(file), "--out", str(out), "--quiet"]


def _check_finite(metrics: Path) -> None:
    if not metrics.is_file():
        raise PatchError("patch: the smoke run left no metrics, expected metrics.csv as without the patch")
    with metrics.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise PatchError("patch: the smoke run left no row of metrics, expected one at its last step")
    for row in rows:
        for name, value in row.items():
            if name != "phase" and value and not math.isfinite(float(value)):
                raise PatchError(f"patch: the smoke run left {name}={value} at step {row['iteration']}")


def _why(status: int | None, output: str, seconds: float) -> str:
    if status is None:
        return f"took longer than {seconds:g} s"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"status {status}: {lines[-1][:300] if lines else 'no word'}"
