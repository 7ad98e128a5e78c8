"""Training by two processes: the same result as by one, resumed, and ended together when one of them fails."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT, planted_circuit
from tests.support.team import SMALL, recording, run

from lobula.cli import main
from lobula.config import ExperimentConfig
from lobula.data import RecordingWriter
from lobula.errors import ConfigError
from lobula.training import new_model
from lobula.training.distributed import ALONE, Team, joined

REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = str(REPOSITORY / "tests" / "support" / "team.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(words, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str], timeout: float = 300.0) -> tuple[str, str]:
    try:
        return process.communicate(timeout=timeout)
    finally:
        process.kill()


def torchrun(*words: str) -> str:
    process = start(*TORCHRUN, *words)
    out, err = finish(process)
    assert process.returncode == 0, err
    return out


def pair_without_torchrun(*words: str) -> list[subprocess.Popen[str]]:
    """Two processes that nothing watches: each must notice by itself that the other ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(sys.executable, WORKER, *words, RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(2)]


def metrics(path: Path) -> np.ndarray:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name] or "nan") for name in ("iteration", "loss", "validation")] for row in rows])


def parameters(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by two processes."""
    out = tmp_path_factory.mktemp("two")
    torchrun(WORKER, str(out), "0")
    return out


def test_two_processes_train_the_model_of_one(two: Path, tmp_path: Path) -> None:
    run(tmp_path)
    np.testing.assert_allclose(metrics(two / "metrics.csv"), metrics(tmp_path / "metrics.csv"), rtol=1e-3)
    one, first, second = (parameters(p) for p in (tmp_path / "returned-0.pt", *sorted(two.glob("returned-*.pt"))))
    for name, value in one.items():
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=0, msg=name)
        if not name.startswith("message_mlp"):  # Gauss-Newton tells messages, and parameters only as far as these
            torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-3, msg=name)
    data = recording()
    model, voltage = (
        new_model(data, ExperimentConfig().with_values(SMALL)),
        torch.from_numpy(data["test"].voltage(0, 50)),
    )
    messages = []
    for state in (one, first):
        model.load_state_dict(state)
        with torch.no_grad():
            messages.append(model.message(voltage))
    assert float((messages[1] - messages[0]).std() / messages[0].std()) < 0.01  # a step may amplify rounding


def test_a_process_that_fails_ends_the_other_and_both_resume(two: Path, tmp_path: Path) -> None:
    leader, other = pair_without_torchrun(str(tmp_path), "12")
    assert "told to stop" in finish(leader)[1]
    error = finish(other, timeout=60)[1]
    assert "ProcessLostError: training: process 1 lost another one, expected 2 processes until the end" in error
    assert leader.returncode != 0
    assert other.returncode != 0
    for process in pair_without_torchrun(str(tmp_path), "0"):
        err = finish(process)[1]
        assert process.returncode == 0, err
    assert (tmp_path / "metrics.csv").read_text() == (two / "metrics.csv").read_text()
    whole, resumed = parameters(two / "returned-1.pt"), parameters(tmp_path / "returned-1.pt")
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_torchrun_trains_from_the_command_line(tmp_path: Path) -> None:
    planted = planted_circuit(n_frames=1000)
    cut = {"train": slice(0, 800), "validation": slice(800, 900), "test": slice(900, 1000)}
    frames, store = {name: part.stop - part.start for name, part in cut.items()}, tmp_path / "mine.zarr"
    with RecordingWriter.create(
        store, planted.wiring, dt=DT, n_frames=frames, fields=("voltage", "stimulus")
    ) as writer:
        for name, part in cut.items():
            writer.append(name, voltage=planted.voltage[part], stimulus=planted.stimulus[part])
    fields = {"simulation.recording": store, "training.estimators": "[spline,gnn]", "training.warm_start": "spline",
              "training.n_steps": 6, "training.rounds": 0, "training.validation_every": 5, "spline.n_rounds": 2,
              "model.hidden_dim": 64}  # fmt: skip
    words = ["train", "fly-small", *(word for name, value in fields.items() for word in ("--set", f"{name}={value}"))]
    out = torchrun("-m", "lobula", *words, "--out", str(tmp_path / "two"))
    assert out.splitlines() == [str(tmp_path / "two" / "models")]
    assert torchrun("-m", "lobula", *words, "--out", str(tmp_path / "two")) == out  # nothing left to do
    assert main([*words, "--quiet", "--out", str(tmp_path / "one")]) == 0
    found = [metrics(tmp_path / name / "models" / "gnn" / "metrics.csv") for name in ("one", "two")]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)


def test_a_batch_that_cannot_be_split_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    settings = ExperimentConfig().with_values({"training.batch_size": 8}).training
    expected = r"training\.batch_size: got 8 for 3 processes, expected a multiple of 3; set training\.batch_size=9"
    with pytest.raises(ConfigError, match=expected), joined(settings):
        pass


def test_parts_of_a_batch_cover_it_once() -> None:
    frames = np.arange(12)
    assert np.concatenate([frames[Team(r, 3).part(12)] for r in range(3)]).tolist() == frames.tolist()
    assert frames[ALONE.part(12)].tolist() == frames.tolist()
