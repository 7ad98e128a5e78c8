"""Commands that only look: help, info, doctor, data inspect, --dry-run."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import zarr

from lobula.config import recipe_names, search_space
from lobula.connectome import optic_lobe

HEAVY = ("torch", "zarr", "pandas", "scipy", "matplotlib", "sklearn")
STAGES = ("run", "simulate", "train", "recover", "score", "report")
OTHERS = (
    ("info", "params"),
    ("info", "recipes"),
    ("info", "versions"),
    ("doctor",),
    ("bench",),
    ("data", "inspect"),
    ("data", "convert"),
    ("data", "annotate"),
)


@pytest.mark.parametrize("words", [*((stage,) for stage in STAGES), *OTHERS], ids=" ".join)
def test_help_teaches_with_an_example(lobula, words):
    done = lobula(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"lobula {' '.join(words)} " in done.out.replace("\n", " ")
    assert "Example:" in done.out


@pytest.mark.parametrize("stage", STAGES)
def test_stages_share_their_options(lobula, stage):
    text = lobula(stage, "--help").out
    for option in ("--set", "--out", "--seed", "--json", "--force", "--dry-run", "--debug", "--quiet", "--verbose"):
        assert option in text


def test_help_lists_every_command(lobula):
    text = lobula("--help").out
    assert all(
        f" {stage} " in text for stage in (*STAGES, "check", "compare", "info", "doctor", "bench", "data", "explore")
    )


def test_looking_around_does_not_import_what_takes_long():
    looks = [["--help"], ["info", "params", "training"], ["info", "recipes"]]
    looks += [[*words, "--help"] for words in (*((stage,) for stage in STAGES), *OTHERS, ("check",), ("compare",))]
    code = f"import sys, lobula\nfrom lobula.cli import main\nfor words in {looks}: main(words)\n"
    code += f"print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.split()) == (0, [])


def test_module_can_be_run(spawn):
    process: subprocess.Popen = spawn("info", "recipes", "--json")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert tuple(json.loads(out)) == recipe_names()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--sed", "1"), "No such option"),
        (("rum",), "No such command"),
        (("run", "--seed", "-1"), "--seed"),
        (("info", "params", "trainng"), "did you mean training?"),
        (("data", "inspect", "nowhere.zarr"), "nowhere.zarr"),
    ],
)
def test_words_that_make_no_sense(lobula, words, said):
    assert said in lobula(*words).error_line


def test_params_of_a_section(lobula):
    rows = json.loads(lobula("info", "params", "ridge", "--json").out)
    assert [row["path"] for row in rows] == ["ridge.activation", "ridge.widths", "ridge.max_frames"]
    text = lobula("info", "params", "ridge").out
    assert "ridge.activation" in text
    assert "relu" in text


def test_params_of_a_model(lobula):
    found = json.loads(lobula("info", "params", "--model", "flyvis_linear", "--json").out)
    assert found["equation"] == "dv_i/dt = (-v_i + V_i + sum_j W_ij relu(v_j) + I_i) / tau_i"
    params = {row["path"]: row for row in found["params"]}
    tried = {d.path: list(d.choices or (d.low, d.high)) for d in search_space()}
    assert {path: row["search"] for path, row in params.items() if row["search"]} == {
        path: values for path, values in tried.items() if path in params
    }
    assert params["training.lr_W"]["search"] == [1e-4, 5e-2]
    assert params["prior.tied"]["search"] == ["none", "soft", "hard"]
    assert not {"model.hidden_dim", "training.coeff_g_phi_diff", "simulation.dt"} & set(params)
    text = lobula("info", "params", "prior", "--model", "flyvis_linear").out
    assert text.startswith("flyvis_linear: dv_i/dt = (-v_i")
    assert re.search(r"prior\.tied +none +none \| soft \| hard +all +block_only", text)
    text = lobula("info", "params", "training", "--model", "flyvis_B").out
    assert re.search(r"training\.augmentation +20 +>= 1 +5 to 50 +tunable", text)


def test_versions(lobula):
    facts = json.loads(lobula("info", "versions", "--json").out)
    assert facts["versions"]["numpy"] == np.__version__
    assert "numpy" in lobula("info", "versions").out


def test_doctor_agrees_with_mathematics(lobula, tmp_path):
    done = lobula("doctor", "--out", tmp_path / "runs", "--json")
    checks = {check["name"]: check for check in json.loads(done.out)}
    assert checks["simulator against a closed form"]["is_fine"]
    assert checks["write, rename and lock a file"]["is_fine"]
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_no_when_it_cannot_write(lobula, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lobula.cli.health.atomic_write_text", refuse)
    done = lobula("doctor", "--out", tmp_path)
    assert done.code == 2
    assert "Permission denied; choose another --out" in done.err


@pytest.mark.parametrize(("extent", "n", "e", "columns"), [(1, 443, 8_174, 7), (8, 13_741, 434_112, 217)])
def test_dry_run_knows_sizes_and_writes_nothing(lobula, tmp_path, extent, n, e, columns):
    options = ("--set", f"connectome.extent={extent}", "--set", "simulation.n_frames=16000")
    words = ("run", *options, "--out", tmp_path / "run", "--dry-run")
    plan = json.loads(lobula(*words, "--json").out)
    assert (plan["n_neurons"], plan["n_edges"], plan["n_columns"]) == (n, e, columns)
    assert plan["n_frames"] == {"train": 16_000, "validation": 2_000, "test": 2_000}
    assert plan["disk_bytes"] == 4 * 20_000 * (2 * n + columns)
    assert set(plan["seconds"]) == set(STAGES) - {"run"}
    assert all(seconds > 0 for seconds in plan["seconds"].values())
    assert plan["total_seconds"] == pytest.approx(sum(plan["seconds"].values()))
    assert 0.5e9 < plan["memory_bytes"] < 8e9
    assert f"{n:,}" in lobula(*words).out
    assert not (tmp_path / "run").exists()


def test_dry_run_of_a_longer_experiment_takes_longer(lobula, tmp_path):
    def plan(*changes):
        options = [word for change in changes for word in ("--set", change)]
        return json.loads(lobula("run", *options, "--out", tmp_path, "--dry-run", "--json").out)["seconds"]

    usual = plan("simulation.n_frames=8000", "training.n_steps=3000")
    longer = plan("simulation.n_frames=16000", "training.n_steps=6000")
    assert longer["simulate"] > 1.5 * usual["simulate"]
    assert longer["train"] > usual["train"]
    assert plan("simulation.n_frames=8000", "training.estimators=[ridge]")["train"] < usual["train"]


def test_inspect_a_recording(lobula, recording):
    facts = json.loads(lobula("data", "inspect", recording, "--json").out)
    assert (facts["kind"], facts["attributes"]["dt"]) == ("recording", 0.02)
    assert facts["frames"] == {"train": [2400, 2400], "validation": [300, 300], "test": [300, 300]}
    arrays = {array["name"]: array for array in facts["arrays"]}
    voltage = arrays["train/voltage"]
    assert (voltage["shape"], voltage["dims"], voltage["unit"]) == ([2400, 443], ["time", "neuron"], "a.u.")
    assert voltage["low"] < 0 < voltage["high"]
    assert (voltage["n_nan"], voltage["n_damaged"]) == (0, 0)
    done = lobula("data", "inspect", recording)
    assert (done.code, done.err) == (0, "")
    assert "2,400 of 2,400 frames, complete" in done.out


def test_inspect_a_recording_of_trials(lobula, tmp_path):
    changes = {"simulation.n_frames": 2400, "simulation.trial_frames": 100, "signal.burn_in": 0, "signal.n_neurons": 20}
    words = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    assert lobula("simulate", "signal-small", *words, "--out", tmp_path).code == 0
    facts = json.loads(lobula("data", "inspect", tmp_path / "recording.zarr", "--json").out)
    arrays = {array["name"]: array for array in facts["arrays"]}
    assert {name: arrays[f"train/{name}"]["shape"] for name in ("voltage", "after", "visited")} == {
        "voltage": [2400, 20], "after": [24, 20], "visited": [48, 20],
    }  # fmt: skip
    assert all(array["n_damaged"] == 0 for array in arrays.values())


def test_inspect_truth_estimates_and_arrays(lobula, finished, tmp_path):
    run, _ = finished
    kinds = {"truth": run / "truth.zarr", "estimates": run / "estimates" / "gnn.zarr", "npz": run / "traces.npz"}
    for kind, path in kinds.items():
        done = lobula("data", "inspect", path, "--json")
        assert (done.code, json.loads(done.out)["kind"]) == (0, kind), done.err
    assert optic_lobe(1).n_edges == 8_174
    np.save(tmp_path / "mine.npy", np.array([[1.0, np.nan], [np.inf, -2.0]]))
    array = json.loads(lobula("data", "inspect", tmp_path / "mine.npy", "--json").out)["arrays"][0]
    assert (array["n_nan"], array["n_inf"], array["low"], array["high"]) == (1, 1, -2.0, 1.0)


def test_inspect_finds_what_is_wrong(lobula, run_copy, tmp_path):
    store = run_copy / "recording.zarr"
    zarr.open_group(store, mode="r+")["train/voltage"][5, 7] = np.nan
    (store / "train" / "drift" / "c" / "1" / "0").unlink()
    done = lobula("data", "inspect", store)
    assert done.code == 2
    assert "train/voltage: 0 chunks damaged or missing, 1 NaN" in done.err
    assert "train/drift: 1 chunks damaged or missing" in done.err
    zarr.create_group(tmp_path / "foreign.zarr")
    assert "foreign" in lobula("data", "inspect", tmp_path / "foreign.zarr").error_line
    (tmp_path / "text.npz").write_text("no archive")
    assert "no readable .npz" in lobula("data", "inspect", tmp_path / "text.npz").error_line
    assert "run directory" in lobula("data", "inspect", run_copy).error_line
