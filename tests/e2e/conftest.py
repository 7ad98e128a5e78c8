"""The command line as tests use it: in this process, or in one of its own if it is to be killed."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from lobula.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
# seven columns, 443 neurons, 8,174 edges: the whole pipeline in seconds
SMALL_CIRCUIT = {
    "connectome.extent": "1",
    "simulation.n_frames": "2400",
    "simulation.n_frames_validation": "300",
    "simulation.n_frames_test": "300",
}
SHORT_TRAINING = {
    "training.n_steps": "12",
    "training.rounds": "1",
    "training.round_steps": "4",
    "training.gauss_newton_steps": "0",
    "training.validation_every": "5",
    "training.checkpoint_every": "5",
    "spline.n_knots": "8",
    "spline.n_rounds": "2",
    "spline.curve_frames": "1000",
    "recovery.n_cell_types": "5",
    "scoring.rollout_steps": "20",
    "scoring.n_rollouts": "2",
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit status, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line that an error writes; fails if there is anything else, or a traceback."""
        assert self.code == 2, f"status {self.code}, expected 2\n{self.err}"
        assert self.out == "", f"an error wrote to stdout:\n{self.out}"
        lines = self.err.splitlines()
        assert len(lines) == 1, f"expected one line:\n{self.err}"
        return lines[0]


Command = Callable[..., Outcome]
Spawn = Callable[..., subprocess.Popen]


def _set(values: dict[str, str]) -> list[str]:
    return [word for path, value in values.items() for word in ("--set", f"{path}={value}")]


def run_here(*words: object) -> Outcome:
    """`lobula WORDS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def lobula() -> Command:
    """Runs `lobula` in this process."""
    return run_here


@pytest.fixture(scope="session")
def circuit() -> list[str]:
    """Options that make the circuit and the recording small."""
    return _set(SMALL_CIRCUIT)


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options that make everything small."""
    return _set(SMALL_CIRCUIT | SHORT_TRAINING)


def heed_interrupts() -> None:
    """Shells start background jobs with Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts `lobula` in a process of its own; what is left of it is killed at the end."""
    started: list[subprocess.Popen] = []

    def start(*words: object) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
        command = [sys.executable, "-m", "lobula", *(str(word) for word in words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, preexec_fn=heed_interrupts, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool], subprocess.Popen], None]:
    """Waits for something that a running process does; fails if the process ends before."""

    def wait(happened: Callable[[], bool], process: subprocess.Popen) -> None:
        end = time.monotonic() + 120
        while not happened():
            if process.poll() is not None:
                pytest.fail(f"ended with {process.returncode} before it happened: {process.communicate()[1]}")
            assert time.monotonic() < end, "waited two minutes"
            time.sleep(0.002)

    return wait


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: list[str]) -> tuple[Path, Outcome]:
    """A small run of all stages, and how it ended. Read it, do not change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_here("run", "fly-small", *tiny, "--out", out)


@pytest.fixture
def run_copy(finished: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A copy of the small run, to be changed."""
    assert finished[1].code == 0, finished[1].err
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory, circuit: list[str]) -> Path:
    """A small recording. Read it, do not change it."""
    out = tmp_path_factory.mktemp("recording") / "run"
    done = run_here("simulate", *circuit, "--out", out)
    assert done.code == 0, done.err
    return out / "recording.zarr"
