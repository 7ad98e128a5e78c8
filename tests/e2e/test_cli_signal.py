"""Signal networks through the command line."""

import json

import numpy as np
import pytest

from lobula.data import Recording

SMALL = {
    "signal.n_neurons": "30",
    "simulation.n_frames": "1500",
    "simulation.n_frames_validation": "200",
    "simulation.n_frames_test": "200",
    "training.estimators": "[ridge]",
    "ridge.activation": "tanh",
    "recovery.n_cell_types": "4",
    "scoring.rollout_steps": "20",
    "scoring.n_rollouts": "2",
}
OPTIONS = [word for path, value in SMALL.items() for word in ("--set", f"{path}={value}")]


def test_a_network_is_simulated_and_looked_at(lobula, tmp_path):
    done = lobula("simulate", "signal-small", *OPTIONS, "--out", tmp_path / "run")
    assert (done.code, done.out.strip()) == (0, str(tmp_path / "run" / "recording.zarr"))
    assert "spectral radius" in done.err
    recording = Recording.open(tmp_path / "run" / "recording.zarr")
    assert (recording.n_neurons, recording["train"].n_frames, recording.dt) == (30, 1500, 0.01)
    assert recording["train"].voltage().std() > 1
    seen = lobula("data", "inspect", tmp_path / "run" / "recording.zarr", "--json")
    facts = json.loads(seen.out)
    assert "train/stimulus" not in {array["name"] for array in facts["arrays"]}
    again = lobula("simulate", "--out", tmp_path / "run")
    assert (again.code, "unchanged, skipped" in again.err) == (0, True)


def test_every_stage_does_without_a_stimulus(lobula, tmp_path):
    for stage in ("simulate", "train", "recover", "score"):
        words = ("signal-small", *OPTIONS) if stage == "simulate" else ()
        done = lobula(stage, *words, "--out", tmp_path / "run")
        assert done.code == 0, done.err
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert np.isfinite(scores["ridge"]["prediction"]["one_step_rmse"])


def test_a_plan_of_a_network(lobula, tmp_path):
    plan = json.loads(lobula("simulate", "signal-n2", "--dry-run", "--json", "--out", tmp_path / "run").out)
    assert (plan["n_neurons"], plan["n_edges"], plan["n_columns"]) == (1_000, 999_000, 0)
    assert 5 < plan["seconds"]["simulate"] < 200
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("signal.connectivity_file=absent.npy", "signal.connectivity_file"),
        ("signal.rank=500", "signal.rank: got 500"),
        ("signal.parameters=[[1, 2]]", "expected 3 per cell type"),
    ],
)
def test_bad_networks_are_one_line(lobula, tmp_path, setting, message):
    settings = ["--set", setting, "--set", "signal.connectivity=low_rank"]
    if "file" in setting:
        settings[-1] = "signal.connectivity=file"
    outcome = lobula("simulate", "signal-small", *settings, "--out", tmp_path / "run")
    assert message in outcome.error_line
