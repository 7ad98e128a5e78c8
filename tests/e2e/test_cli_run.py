"""The whole run through the command line: what it prints, what it leaves, what it repeats."""

import json
from pathlib import Path

import numpy as np

from lobula.data import Recording

ESTIMATORS = ("ridge", "spline", "gnn")
STAGES = [f"{verb} {name}" for verb in ("train", "recover") for name in ESTIMATORS]
STAGES = ["simulate", *STAGES, "score", "report"]


def starts(run: Path) -> dict[str, tuple]:
    """When each stage was started, and how often."""
    stages = json.loads((run / "run.json").read_text())["stages"]
    return {name: (facts["started"], facts["wall_s"]) for name, facts in stages.items()}


def repeated(before: dict[str, tuple], after: dict[str, tuple]) -> set[str]:
    return {name for name in after if after[name] != before.get(name)}


def test_run_prints_scores_and_ends_with_the_report(finished):
    run, outcome = finished
    assert outcome.code == 0, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out.splitlines()[-1] == str(run / "report" / "index.html")
    heading = next(line for line in outcome.out.splitlines() if "ceiling" in line)
    assert heading.split() == ["ridge", "spline", "gnn", "ceiling"]
    assert "target: observed" in outcome.out
    assert "W slope" in outcome.out
    page = (run / "report" / "index.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")


def test_manifest_and_scores_are_complete(finished):
    run, _ = finished
    manifest = json.loads((run / "run.json").read_text())
    assert (manifest["status"], list(manifest["stages"])) == ("done", STAGES)
    assert all(facts["status"] == "done" and facts["wall_s"] >= 0 for facts in manifest["stages"].values())
    scores = json.loads((run / "scores.json").read_text())
    assert scores["target"] == "observed"
    for name in (*ESTIMATORS, "ceiling"):
        assert {"r2", "fit_r2", "slope", "n", "sign_accuracy", "identifiable"} <= set(scores[name]["W"])
    for name in ESTIMATORS:
        assert set(scores[name]) >= {"W", "tau", "v_rest", "cell_types", "prediction"}


def test_closed_form_rungs_come_close_to_the_ceiling(finished):
    run, _ = finished
    scores = json.loads((run / "scores.json").read_text())
    assert scores["ceiling"]["tau"]["fit_r2"] > 0.9
    assert scores["ridge"]["W"]["fit_r2"] > scores["ceiling"]["W"]["fit_r2"] - 0.015


def test_no_stray_files(finished):
    run, _ = finished
    expected = {".lock", "config.yaml", "estimates", "models", "recording.zarr", "report", "run.json"}
    assert {entry.name for entry in run.iterdir()} == expected | {"scores", "scores.json", "traces.npz", "truth.zarr"}
    left_over = [path for path in run.rglob("*") if path.name.endswith((".partial", ".tmp")) or path.stem == "tmp"]
    assert left_over == []
    assert {entry.name for entry in (run / "estimates").iterdir()} == {f"{name}.zarr" for name in ESTIMATORS}
    assert (run / ".lock").read_text() == ""


def test_second_call_skips_everything(run_copy, lobula, tiny):
    before = starts(run_copy)
    again = lobula("run", "fly-small", *tiny, "--out", run_copy)
    assert again.code == 0, again.err
    assert repeated(before, starts(run_copy)) == set()
    assert again.out.splitlines()[-1] == str(run_copy / "report" / "index.html")
    assert all(f"{name}: unchanged, skipped" in again.err for name in ("simulate", "train gnn", "report"))


def test_stored_config_is_used_without_a_recipe(run_copy, lobula):
    before = starts(run_copy)
    for words in (("score", "--out", run_copy), ("score", run_copy), ("run", "--out", run_copy)):
        done = lobula(*words, "--quiet")
        assert (done.code, done.err) == (0, "")
    assert repeated(before, starts(run_copy)) == set()


def test_change_repeats_only_what_it_concerns(run_copy, lobula):
    before = starts(run_copy)
    done = lobula("score", run_copy, "--set", "scoring.n_rollouts=1")
    assert done.code == 0, done.err
    assert "scoring.n_rollouts changed since the last time" in done.err
    assert repeated(before, starts(run_copy)) == {"score"}
    assert done.out.splitlines()[-1] == str(run_copy / "scores.json")


def test_force_repeats_and_gives_the_same(run_copy, finished, lobula):
    before = starts(run_copy)
    for stage in ("simulate", "recover"):
        done = lobula(stage, run_copy, "--force")
        assert done.code == 0, done.err
    assert repeated(before, starts(run_copy)) == {"simulate", *(f"recover {name}" for name in ESTIMATORS)}
    first, second = (Recording.open(run / "recording.zarr") for run in (finished[0], run_copy))
    for split in first.splits:
        for field in first[split].fields:
            assert np.array_equal(first[split].window(field), second[split].window(field)), (split, field)


def test_json_is_all_there_is_on_stdout(run_copy, lobula):
    result = json.loads(lobula("run", run_copy, "--json").out)
    assert result["output"] == str(run_copy / "report" / "index.html")
    assert result["scores"] == json.loads((run_copy / "scores.json").read_text())
    assert list(result["stages"]) == STAGES
    for command, output in (("simulate", "recording.zarr"), ("train", "models"), ("recover", "estimates")):
        assert json.loads(lobula(command, run_copy, "--json").out)["output"] == str(run_copy / output)


def test_existing_recording_is_fitted_without_a_truth(recording, tmp_path, lobula, tiny):
    alone = tmp_path / "mine.zarr"
    alone.symlink_to(recording)
    options = [*tiny, "--set", f"simulation.recording={alone}", "--set", "training.estimators=[ridge]"]
    out = tmp_path / "run"
    for stage in ("simulate", "train", "recover", "score"):
        done = lobula(stage, "fly-small", *options, "--out", out)
        assert done.code == 0, done.err
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["ridge"]) == {"prediction"}
    assert "report.formats" in lobula("report", "--out", out, "--formats", "gif").error_line
    done = lobula("report", "--out", out, "--formats", "svg,png")
    assert done.code == 0, done.err
    kinds = {file.suffix for file in (out / "report" / "figures").iterdir()}
    assert {".svg", ".png", ".csv"} <= kinds
    assert not (out / "recording.zarr").exists()


def test_seed_changes_both_streams_and_set_has_the_last_word(lobula, tmp_path, circuit):
    done = lobula("simulate", *circuit, "--seed", 3, "--set", "training.seed=5", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seeds"] == {"simulation": 3, "training": 5}
