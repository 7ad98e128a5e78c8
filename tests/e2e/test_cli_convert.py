"""`lobula data convert`: what earlier programs recorded can be inspected and learned from."""

import json

import numpy as np
import pytest
import torch
from tests.support import old_stores

from lobula.data import Recording


@pytest.fixture
def dataset(tmp_path):
    """A dataset of 900 frames with derivatives and parameters."""
    return old_stores.write_dataset(tmp_path / "old", 700, 200)


def test_converted_it_can_be_inspected_and_learned_from(lobula, tmp_path, dataset):
    done = lobula("data", "convert", dataset, tmp_path / "new", "--dt", "0.02")
    assert (done.code, done.err) == (0, "")
    path = tmp_path / "new" / "recording.zarr"
    assert done.out.splitlines()[-1] == str(path)
    assert "6 neurons, 8 edges; frames: train 622, validation 78, test 200" in done.out
    assert "fields: voltage, stimulus, drift; with truth" in done.out
    assert lobula("data", "inspect", path).code == 0
    assert lobula("data", "inspect", tmp_path / "new" / "truth.zarr").code == 0
    settings = [f"simulation.recording={path}", "training.estimators=[ridge]", "recovery.n_cell_types=2"]
    settings += ["scoring.rollout_steps=20", "scoring.n_rollouts=2", "training.target=drift"]
    words = [word for setting in settings for word in ("--set", setting)]
    run = lobula("run", *words, "--out", tmp_path / "run")
    assert run.code == 0, run.err
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["ridge"]["W"]["r2"] > 0.999  # the derivatives are exact


@pytest.mark.parametrize("kind", ["npz", "pairs", "npy", "csv"])
def test_edges_come_from_a_file(lobula, tmp_path, kind):
    store = old_stores.write(tmp_path / "old" / "x_list_0", "v2", old_stores.frames(100))
    edges, file = old_stores.EDGES, tmp_path / f"edges.{'npz' if kind == 'pairs' else kind}"
    if kind == "npz":
        np.savez(file, edge_index=edges)
    elif kind == "pairs":
        np.savez(file, pre=edges[0], post=edges[1])
    elif kind == "npy":
        np.save(file, edges)
    else:
        file.write_text("pre,post\n" + "".join(f"{pre},{post}\n" for pre, post in edges.T))
    done = lobula("data", "convert", store, tmp_path / "new", "--dt", "0.02", "--edges", file, "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert (facts["truth"], facts["n_edges"], facts["n_frames"]["test"]) == (None, 8, 10)
    assert Recording.open(facts["recording"]).wiring.n_edges == 8


def test_what_is_wrong_is_said(lobula, tmp_path, dataset):
    def line(*words: object) -> str:
        return lobula("data", "convert", *words).error_line

    out = tmp_path / "new"
    assert line(dataset, out).startswith("ConfigError: --dt: not given, expected the seconds between frames")
    assert "dt: got -1.0, expected seconds > 0" in line(dataset, out, "--dt", "-1")
    assert "nowhere: does not exist" in line(tmp_path / "nowhere", out, "--dt", "1")
    assert "three shares" in line(dataset, out, "--dt", "1", "--split", "0.5", "0.5", "0.5")
    assert "activation" in line(dataset, out, "--dt", "0.02", "--activation", "rleu")
    (dataset / "ode_params.pt").unlink()
    assert "no wiring beside it" in line(dataset, out, "--dt", "1")
    edges = tmp_path / "edges.csv"
    assert "edges.csv does not exist" in line(dataset, out, "--dt", "1", "--edges", edges)
    edges.write_text("from,to\n0,1\n")
    assert "holds from, to, expected edge_index, or pre and post" in line(dataset, out, "--dt", "1", "--edges", edges)
    edges.write_text("pre,post\n0,17\n")
    assert "edge 0 (0 -> 17) is out of range, expected 0..5" in line(dataset, out, "--dt", "1", "--edges", edges)
    (tmp_path / "edges.txt").write_text("0 1")
    assert "ends in .npz, .npy or .csv" in line(dataset, out, "--dt", "1", "--edges", tmp_path / "edges.txt")
    (tmp_path / "edges.npz").write_bytes(b"nothing")
    assert "cannot be read" in line(dataset, out, "--dt", "1", "--edges", tmp_path / "edges.npz")
    assert not out.exists()


def test_values_that_are_not_finite(lobula, tmp_path):
    values = old_stores.frames(100)
    values["voltage"][97, 3] = np.inf
    store = old_stores.write(tmp_path / "x", "npy", values)
    torch.save(old_stores.parameters(), tmp_path / "ode_params.pt")
    line = lobula("data", "convert", store, tmp_path / "new", "--dt", "0.02").error_line
    assert line.startswith("NonFiniteError: ")
    assert "inf at frame 97, neuron 3" in line


def test_what_is_there_already_is_not_overwritten(lobula, tmp_path, dataset):
    (tmp_path / "new" / "recording.zarr").mkdir(parents=True)
    (tmp_path / "new" / "recording.zarr" / "mine.txt").write_text("mine")
    line = lobula("data", "convert", dataset, tmp_path / "new", "--dt", "0.02").error_line
    assert "exists and is not a lobula store" in line
    assert (tmp_path / "new" / "recording.zarr" / "mine.txt").read_text() == "mine"
