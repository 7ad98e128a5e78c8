"""`lobula check`: passes on unchanged code, and fails on every planted fault.

Faults are planted from here: nothing in lobula knows of them.
"""

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lobula import pipeline
from lobula.data import RecordingWriter
from lobula.recovery import run as recovery_run
from lobula.training import penalties
from lobula.training import run as training_run

RUNGS = ["--set", "training.estimators=[ridge,gnn]", "--skip-plot"]
Folder = tuple[Path, Path, list[str]]


@pytest.fixture(scope="module")
def checked(tmp_path_factory, lobula, tiny) -> Folder:
    """A check's folder, its reference over two seeds, and the words of a check. Copy the folder to change it."""
    folder = tmp_path_factory.mktemp("check")
    reference = folder / "reference.json"
    words = ["check", "fly-small", *tiny, *RUNGS, "--reference", reference]
    done = lobula(*words, "--out", folder / "out", "--seeds", "2", "--update")
    assert done.code == 0, done.err
    assert f"reference written: {reference}" in done.out
    return folder / "out", reference, words


@pytest.fixture
def copied(checked, tmp_path) -> Folder:
    """The same with a folder of its own."""
    out, reference, words = checked
    return Path(shutil.copytree(out, tmp_path / "out")), reference, words


def statuses(out: Path) -> dict[str, str]:
    return {row["name"]: row["status"] for row in json.loads((out / "verdict.json").read_text())["rows"]}


def test_reference_says_how_it_was_made(checked):
    content = json.loads(checked[1].read_text())
    assert content["seeds"] == [0, 1]
    assert content["config"]["connectome"]["extent"] == 1
    assert {"made", "rule", "versions", "machine", "code", "config_digest"} <= set(content)
    rungs = {name.split(".")[0] for name in content["metrics"]}
    assert rungs == {"ridge", "gnn", "ceiling"}
    names = ("gnn.train.loss@1", "gnn.train.g_phi_norm@1", "gnn.embedding.change", "gnn.estimates.tau_median")
    assert set(names) <= set(content["metrics"])


def test_unchanged_code_passes_and_history_grows(copied, lobula):
    out, _, words = copied
    done = lobula(*words, "--out", out, "--seeds", "1")
    assert done.code == 0, done.out
    assert "PASS: fly-small, seeds 0" in done.out
    assert set(statuses(out).values()) == {"ok"}
    kept = next((out / "archive").iterdir())
    assert (kept / "seed-0" / "models" / "gnn" / "metrics.csv").is_file()
    assert (kept / "verdict.json").is_file()
    assert not list(kept.rglob("*.zarr"))
    again = lobula(*words, "--out", out, "--seeds", "1", "--skip-train", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["verdict"] == "pass"
    history = (out / "history.md").read_text()
    assert history.count("PASS: fly-small") == 2
    assert history.count("commit ") == 2


# ---------------------------------------------------------------- planted faults


def flip_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    make = recovery_run.edge_table
    monkeypatch.setattr(recovery_run, "edge_table", lambda wiring, c, weight, *rest: make(wiring, c, -weight, *rest))


def scale_tau(monkeypatch: pytest.MonkeyPatch) -> None:
    make = recovery_run.neuron_table
    monkeypatch.setattr(recovery_run, "neuron_table", lambda *a: make(*a).assign(tau=lambda t: 1.1 * t["tau"]))


def double_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    norm, kind = penalties.PENALTIES["g_phi_norm"]

    def double(*inputs) -> penalties.Residuals:  # a mean of squares
        return [(np.sqrt(2) * residual, unit) for residual, unit in norm(*inputs)]

    monkeypatch.setattr(penalties, "PENALTIES", {**penalties.PENALTIES, "g_phi_norm": (double, kind)})


def delay_stimulus(monkeypatch: pytest.MonkeyPatch) -> None:
    append = RecordingWriter.append

    def late(writer, split, **fields) -> None:
        rows = fields["stimulus"]
        append(writer, split, **fields | {"stimulus": np.concatenate([rows[:1], rows[:-1]])})

    monkeypatch.setattr(RecordingWriter, "append", late)


def freeze_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    make = training_run.optimiser_for

    def without(model, *rest):
        optimiser = make(model, *rest)
        for group in optimiser.param_groups:
            group["base_lr"] *= not any(parameter is model.embedding for parameter in group["params"])
        return optimiser

    monkeypatch.setattr(training_run, "optimiser_for", without)


FAULTS = [
    (flip_weights, ("gnn.W.slope", "ridge.W.sign_accuracy", "ridge.W.r2"), ["--skip-train"]),
    (scale_tau, ("gnn.tau.slope", "ridge.tau.slope"), ["--skip-train"]),
    (double_penalty, ("gnn.start.g_phi_norm",), []),
    (delay_stimulus, ("ridge.estimates.residual_std_driven", "gnn.estimates.residual_std_driven"), []),
    (freeze_embedding, ("gnn.embedding.change",), []),
]
faults = pytest.mark.parametrize(("plant", "seen_in", "options"), FAULTS)


@faults
def test_planted_fault_fails(copied, lobula, monkeypatch, plant: Callable, seen_in: tuple[str, ...], options):
    out, _, words = copied
    plant(monkeypatch)
    assert_fails(lobula(*words, "--out", out, "--seeds", "1", *options), out, seen_in)


def assert_fails(done, out: Path, seen_in: tuple[str, ...]) -> None:
    """The check failed, by these metrics among others."""
    assert done.code == 1, done.out + done.err
    assert "FAIL: fly-small" in done.out
    found = statuses(out)
    assert {found[name] for name in seen_in} <= {"worse", "changed"}
    assert all(name in done.out for name in seen_in)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory, lobula) -> Path:
    """The folder of a check of fly-small itself against the reference that ships, seed 0; it must pass."""
    out = tmp_path_factory.mktemp("shipped") / "out"
    done = lobula("check", "fly-small", "--seeds", "1", "--skip-plot", "--out", out)
    assert done.code == 0, done.out + done.err
    return out


@pytest.mark.slow
@faults
def test_planted_fault_fails_the_shipped_reference(shipped, tmp_path, lobula, monkeypatch, plant, seen_in, options):
    out = Path(shutil.copytree(shipped, tmp_path / "out"))
    plant(monkeypatch)
    done = lobula("check", "fly-small", "--seeds", "1", "--skip-plot", "--out", out, *options)
    print(plant.__name__, [line for line in done.out.splitlines() if "FAIL" in line or "PASS" in line])
    assert_fails(done, out, seen_in)
    assert "FAIL: fly-small" in (out / "history.md").read_text()


def test_doubled_coefficient_in_the_settings_fails(copied, lobula):
    out, _, words = copied
    for file in out.glob("seed-*/run.json"):
        manifest = json.loads(file.read_text())
        manifest["config"]["training"]["coeff_g_phi_norm"] = 2.0
        file.write_text(json.dumps(manifest))
    done = lobula(*words, "--out", out, "--seeds", "1", "--skip-train")
    assert done.code == 1
    assert "Setting training.coeff_g_phi_norm is 2.0, reference 1.0" in done.out


# ---------------------------------------------------------------- what may go wrong


def test_check_that_is_cut_off_goes_on(copied, lobula, monkeypatch):
    out, _, words = copied
    with monkeypatch.context() as patched:

        def stop(*_) -> None:
            raise KeyboardInterrupt

        patched.setattr(pipeline, "_score", stop)
        assert lobula(*words, "--out", out, "--seeds", "1").code == 130
    before = json.loads((out / "seed-0" / "run.json").read_text())["stages"]
    done = lobula(*words, "--out", out, "--seeds", "1")
    assert done.code == 0, done.err
    assert "going on with the check that was cut off" in done.err
    after = json.loads((out / "seed-0" / "run.json").read_text())["stages"]
    assert after["train gnn"] == before["train gnn"]
    assert len(list((out / "archive").iterdir())) == 1


@pytest.mark.parametrize(
    "code", ["import sys; print('fine:', len(sys.stdin.read()) > 100)", "raise SystemExit(1)", "while True: pass"]
)
def test_assessment_never_changes_the_verdict(copied, lobula, code):
    out, _, words = copied
    options = ["--skip-train", "--seeds", "1", "--assess", f'{sys.executable} -c "{code}"', "--assess-timeout", "2"]
    done = lobula(*words, "--out", out, *options)
    assert done.code == 0, done.err
    said = {"imp": "> fine: True", "rai": "status 1", "whi": "took longer than 2 s"}[code[:3]]
    assert said in (out / "history.md").read_text()


def test_a_recipe_without_a_reference_says_how_to_make_one(lobula, tmp_path):
    assert lobula("check", "gs").error_line.endswith("with: lobula check gs --update")
    recipe = tmp_path / "my runs" / "mine.yaml"
    recipe.parent.mkdir()
    recipe.write_text("name: mine\n")
    line = lobula("check", recipe, "--set", "training.n_steps=5", "--seeds", "2", "--out", tmp_path / "out").error_line
    assert str(recipe.with_name("mine.reference.json")) in line
    words = ["lobula", "check", str(recipe), "--set", "training.n_steps=5", "--out", str(tmp_path / "out")]
    assert shlex.split(line.partition("with: ")[2]) == [*words, "--seeds", "2", "--update"]
    assert not (tmp_path / "out").exists()


def test_bad_input(copied, lobula, tmp_path):
    out, reference, words = copied
    new = ["--out", tmp_path / "new"]
    lines = {
        "no reference to compare with": lobula(*words[:-1], tmp_path / "none.json", *new).error_line,
        "no run here": lobula(*words, *new, "--skip-train").error_line,
        "did you mean fly-small?": lobula("check", "fly-smal", *new).error_line,
        "--assess": lobula(*words, *new, "--assess", "say 'oh").error_line,
    }
    for said, line in lines.items():
        assert said in line
    (tmp_path / "bad.json").write_text("{")
    assert "no readable reference" in lobula(*words[:-1], tmp_path / "bad.json", *new).error_line
    (out / "check.json").unlink()
    before = (out / "seed-0" / "scores.json").read_bytes()
    assert "no check made" in lobula(*words, "--out", out).error_line
    assert (out / "seed-0" / "scores.json").read_bytes() == before
    assert reference.is_file()
