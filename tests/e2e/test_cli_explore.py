"""`lobula explore` through the command line, on real runs of the smallest recipe."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lobula.exploration.manage import read
from lobula.exploration.records import RunState
from lobula.exploration.study_files import study_names

STUDY = ("fly-tiny", "--set", "budget.n_runs=2", "--set", "engine.slots=2", "--set", "seeds.holdout=0")
QUICK = ("--set", 'set=["training.estimators=[gnn]", training.n_steps=5, simulation.n_frames=1000]')


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A finished study; its controller was killed on the way."""
    out = tmp_path_factory.mktemp("explore") / "study"
    words = [sys.executable, "-m", "lobula", "explore", "run", *STUDY, *QUICK, "--out", str(out)]
    log = out.parent / "log"
    with log.open("wb") as stderr:
        controller = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True)
    while not (out / "runs" / "0001" / "job.json").exists():
        assert controller.poll() is None, log.read_text()
        time.sleep(0.05)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    return out


def test_a_study_from_its_plan_to_a_better_recipe(study, lobula, tmp_path):
    done = lobula("explore", "resume", study, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["phase"], facts["n_runs"], facts["states"]) == ("done", 2, {"scored": 2})
    snapshot = read(study)
    assert [run.attempt for run in snapshot.runs] == [1, 1]
    assert all(run.state is RunState.SCORED and "gnn.W.r2" in run.metrics for run in snapshot.runs)
    assert not list((study / "runs").rglob("truth.zarr"))
    assert not list((study / "data").rglob("truth.zarr"))
    assert len(list((study / "truth").rglob("truth.zarr"))) == 1  # both runs have the pair 0
    assert "Iter 2" in (study / "fly-tiny_analysis.md").read_text()
    assert "baseline" in lobula("explore", "tree", study).out
    assert "proposed by tpe" in lobula("explore", "why", study, "2").out
    assert "->" in lobula("explore", "diff", study, "2").out
    page = Path(lobula("explore", "export", study, "--out", tmp_path / "export").out.strip())
    assert "gnn.W.r2" in page.read_text()
    assert (tmp_path / "export" / "runs.csv").read_text().count("\n") == 3
    made = lobula("explore", "promote", study, "2", "--out", tmp_path / "better.yaml")
    assert made.code == 0, made.err
    assert lobula("train", tmp_path / "better.yaml", "--dry-run").code == 0
    again = lobula("explore", "run", *STUDY, *QUICK, "--out", study, "--json")
    assert json.loads(again.out) == facts | {"folder": str(study)}


def test_a_run_gives_the_same_scores_again(study, lobula):
    done = lobula("explore", "resume", study)
    assert done.code == 0, done.err
    same = lobula("explore", "replay", study, "1")
    assert (same.code, same.out.strip().splitlines()[-1]) == (0, "the same"), same.err


def test_plans_and_lists(lobula):
    assert all(name in lobula("explore", "studies").out for name in study_names())
    plan = json.loads(lobula("explore", "plan", "fly-tiny", "--seconds", "12", "--json").out)
    assert plan["n_runs"] >= 40
    assert plan["run_seconds"] == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("status", "nowhere"), "no study here"),
        (("plan", "fly-tinny"), "did you mean fly-tiny?"),
        (("run", "fly-tiny", "--set", "budget.runs=3"), "n_runs"),
        (("run", "fly-tiny", "--set", "space=[training.lrr]"), "training.lrr"),
        (("run", "fly-tiny", "--set", "objective.goal=best"), "mean"),
    ],
)
def test_bad_input_is_one_line(lobula, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in lobula("explore", *words).error_line


def test_another_study_in_the_same_folder_is_refused(study, lobula):
    line = lobula("explore", "run", "fly-tiny", "--set", "budget.n_runs=9", "--out", study).error_line
    assert "other settings" in line


def test_a_node_that_is_not_there(study, lobula):
    assert "no such node" in lobula("explore", "why", study, "99").error_line
