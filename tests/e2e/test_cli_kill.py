"""kill -9 and Ctrl-C at any moment: the same command goes on, and the result is the uninterrupted one to the bit."""

import json
import signal
from pathlib import Path

import numpy as np
import torch
import zarr

SIMULATION = ["--set", "connectome.extent=1", "--set", "simulation.n_frames=12000"]
SIMULATION += ["--set", "simulation.n_frames_validation=300", "--set", "simulation.n_frames_test=2300"]
TRAINING = {"estimators": "[gnn]", "n_steps": 60, "rounds": 1, "round_steps": 20, "gauss_newton_steps": 1}
TRAINING |= {"checkpoint_every": 8, "validation_every": 10}
OPTIONS = [*SIMULATION, *(word for key, value in TRAINING.items() for word in ("--set", f"training.{key}={value}"))]
OPTIONS += ["--set", "recovery.n_cell_types=5", "--set", "recovery.max_frames=2000"]


def n_written(run: Path, split: str = "train") -> int:
    try:
        document = json.loads((run / "recording.zarr" / split / "zarr.json").read_text())
    except FileNotFoundError:
        return 0
    return document["attributes"]["n_frames_written"]


def arrays(store: Path) -> dict[str, np.ndarray]:
    """Every array of a store, by path."""
    found: dict[str, np.ndarray] = {}

    def collect(group: zarr.Group) -> None:
        found.update({array.path: np.asarray(array[...]) for _, array in group.arrays()})
        for _, inner in group.groups():
            collect(inner)

    collect(zarr.open_group(store, mode="r"))
    return found


def assert_same_bits(first: Path, second: Path) -> None:
    one, two = arrays(first), arrays(second)
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].tobytes() == two[name].tobytes(), name


def assert_same_tensors(first: object, second: object, where: str = "") -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same_tensors(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for k, (one, two) in enumerate(zip(first, second, strict=True)):
            assert_same_tensors(one, two, f"{where}[{k}]")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def test_kill_during_simulate_and_train(tmp_path, lobula, spawn, wait_until):
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    def finish(stage: str, run: Path) -> str:
        done = lobula(stage, *OPTIONS, "--out", run)
        assert done.code == 0, done.err
        return done.err

    finish("simulate", whole)
    simulating = spawn("simulate", *OPTIONS, "--out", cut)
    wait_until(lambda: n_written(cut) >= 4000, simulating)
    simulating.kill()
    simulating.wait()
    assert 0 < n_written(cut) < 12_000
    assert f"going on at frame {n_written(cut)} of 12000" in finish("simulate", cut)
    for name in ("recording.zarr", "truth.zarr"):
        assert_same_bits(whole / name, cut / name)

    finish("train", whole)
    checkpoint = cut / "models" / "gnn" / "checkpoint.pt"
    training = spawn("train", *OPTIONS, "--out", cut)
    wait_until(checkpoint.exists, training)
    training.kill()
    training.wait()
    assert torch.load(checkpoint, weights_only=True)["step"] < 80
    assert "training goes on at step" in finish("train", cut)
    for name in ("best.pt", "checkpoint.pt"):
        one, two = (torch.load(run / "models" / "gnn" / name, weights_only=True) for run in (whole, cut))
        assert_same_tensors(one, two, name)
    one, two = ((run / "models" / "gnn" / "metrics.csv").read_text() for run in (whole, cut))
    assert one == two

    finish("recover", whole)
    finish("recover", cut)
    assert_same_bits(whole / "estimates" / "gnn.zarr", cut / "estimates" / "gnn.zarr")
    stages = json.loads((cut / "run.json").read_text())["stages"]
    assert [stages[name]["n_attempts"] for name in ("simulate", "train gnn", "recover gnn")] == [2, 2, 1]
    left_over = [path for path in cut.rglob("*") if path.name.endswith((".partial", ".tmp"))]
    assert left_over == []


def test_kill_between_rounds_of_the_spline_that_a_network_starts_from(tmp_path, tiny, lobula, spawn, wait_until):
    options = [*tiny, "--set", "training.estimators=[gnn]", "--set", "training.warm_start=spline"]
    options += ["--set", "spline.n_rounds=4"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for run in (whole, cut):
        assert lobula("simulate", *options, "--out", run).code == 0
    assert lobula("train", *options, "--out", whole).code == 0
    rounds = cut / "models" / "spline" / "rounds.npy"
    training = spawn("train", *options, "--out", cut)
    wait_until(lambda: rounds.exists() and rounds.stat().st_size > 0, training)
    training.kill()
    training.wait()
    assert not (cut / "models" / "spline" / "curve.npz").exists()
    assert "steps are known" in lobula("train", *options, "-v", "--out", cut).err
    for name in ("rounds.npy", "curve.npz", "circuit.npz"):
        one, two = ((run / "models" / "spline" / name).read_bytes() for run in (whole, cut))
        assert one == two, name
    stages = json.loads((cut / "run.json").read_text())["stages"]
    assert [stages[name]["n_attempts"] for name in ("train spline", "train gnn")] == [2, 1]

    before = (cut / "models" / "spline" / "curve.npz").read_bytes()
    assert lobula("train", *options, "--set", "spline.n_knots=12", "--out", cut).code == 0
    assert (cut / "models" / "spline" / "curve.npz").read_bytes() != before  # settings of the spline count


def test_interrupt_says_how_to_go_on(tmp_path, lobula, spawn, wait_until):
    run = tmp_path / "run"
    simulation = [*SIMULATION, "--set", "simulation.n_frames=60000"]  # seconds, so that the signal arrives in time
    simulating = spawn("simulate", *simulation, "--out", run)
    wait_until(lambda: n_written(run) >= 2000, simulating)
    simulating.send_signal(signal.SIGINT)
    out, err = simulating.communicate(timeout=60)
    assert simulating.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in err
    assert json.loads((run / "run.json").read_text())["stages"]["simulate"]["status"] == "interrupted"
    written = n_written(run)
    assert f"going on at frame {written} of 60000" in lobula("simulate", *simulation, "--out", run).err
