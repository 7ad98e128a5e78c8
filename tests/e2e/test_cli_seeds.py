"""`lobula run --seeds` and `lobula compare`, on a circuit of seconds."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lobula import pipeline
from lobula.cli.stages import OUTPUTS
from lobula.errors import DivergedError

ONE_RUNG = ["--set", "training.estimators=[ridge]"]


@pytest.fixture(scope="module", autouse=True)
def quick_report() -> Iterator[None]:
    """A report without figures; real ones take seconds and are tested elsewhere."""

    def make_report(directory) -> Path:
        (directory / "report").mkdir(exist_ok=True)
        (directory / "report" / "index.html").write_text("<!doctype html>")
        return directory / "report" / "index.html"

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lobula.report.run.make_report", make_report)
        yield


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory, lobula, tiny) -> tuple[Path, list[str], str]:
    """A folder of two seeds, the words that made it, and what was printed. Read it, do not change it."""
    out = tmp_path_factory.mktemp("seeds") / "two"
    words = ["run", "fly-small", *tiny, *ONE_RUNG, "--seeds", "2", "--out", out]
    done = lobula(*words)
    assert done.code == 0, done.err
    return out, words, done.out


def change_json(file: Path, value: object, *keys: str) -> None:
    """Sets a value inside a JSON file."""
    content = json.loads(file.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    file.write_text(json.dumps(content))


def test_every_seed_has_a_run_and_the_table_sums_them_up(two_seeds):
    out, _, printed = two_seeds
    for seed in (0, 1):
        manifest = json.loads((out / f"seed-{seed}" / "run.json").read_text())
        assert manifest["seeds"] == {"simulation": seed, "training": seed}
        assert (out / f"seed-{seed}" / "report" / "index.html").is_file()
    table = json.loads((out / "seeds.json").read_text())
    values = [json.loads((out / f"seed-{s}" / "scores.json").read_text())["ridge"]["W"]["fit_r2"] for s in (0, 1)]
    over = table["table"]["ridge"]["W.fit_r2"]
    assert over["values"] == {"0": values[0], "1": values[1]}
    assert over["mean"] == pytest.approx(sum(values) / 2)
    assert over["worst"] == min(values)
    assert table["collapses"] == {"ridge": 0}
    assert "ceiling" in table["table"]
    text = (out / "seeds.md").read_text()
    assert "half of the ceiling's" in text
    assert "| W fit R² | ridge | 2 |" in text
    assert printed.splitlines()[-1] == str(out / "seeds.md")
    assert "Collapsed: ridge 0 of 2" in printed


def test_what_is_there_is_not_done_again(two_seeds, lobula, tmp_path):
    source, words, _ = two_seeds
    out = Path(shutil.copytree(source, tmp_path / "two"))
    before = json.loads((out / "seed-0" / "run.json").read_text())["stages"]
    again = lobula(*words[:-3], "0,1,2", "--out", out, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["seeds"] == [0, 1, 2]
    assert json.loads((out / "seed-0" / "run.json").read_text())["stages"] == before
    assert "seed 2: 3 of 3" in again.err


def test_seed_that_diverges_is_counted_and_the_others_go_on(two_seeds, lobula, tmp_path, monkeypatch):
    source, words, _ = two_seeds
    out = Path(shutil.copytree(source, tmp_path / "two"))
    run = pipeline._simulate

    def diverge(directory, config, *rest) -> None:
        if config.simulation.seed == 0:
            raise DivergedError("voltage left the finite numbers")
        run(directory, config, *rest)

    monkeypatch.setattr(pipeline, "_simulate", diverge)
    done = lobula(*words[:-1], out)
    assert done.code == 2
    assert "DivergedError: seeds 0: failed" in done.err.splitlines()[-1]
    table = json.loads((out / "seeds.json").read_text())
    assert (table["seeds"], list(table["failed"]), table["collapses"]) == ([1], ["0"], {"ridge": 1})
    assert "Seed 0 failed: voltage left" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "none"], "expected a number of seeds (5) or a list of them"),
        (["--seeds", "0"], "expected 1 to 1000 different seeds"),
        (["--seeds", "1,1"], "expected 1 to 1000 different seeds"),
        (["--seeds", "2", "--seed", "1"], "--seed and --seeds: got both"),
        (["--seeds", "2", "--set", "training.seed=3"], "--set training.seed: got it beside --seeds"),
    ],
)
def test_bad_seeds(lobula, tmp_path, words, said):
    assert said in lobula("run", "fly-small", *words, "--out", tmp_path / "new").error_line
    assert not (tmp_path / "new").exists()


def test_folder_of_seeds_is_no_run_directory(two_seeds, lobula):
    out, words, _ = two_seeds
    assert "expected a folder for several" in lobula(*words[:-1], out / "seed-0").error_line
    assert "not a run directory" in lobula("run", "fly-small", "--out", out).error_line


def test_plan_says_how_often(lobula, tmp_path, tiny):
    done = lobula("run", "fly-small", *tiny, "--seeds", "3", "--dry-run", "--out", tmp_path / "new")
    assert "for each of 3 seeds" in done.out
    assert not (tmp_path / "new").exists()


def test_compare_pairs_seeds_and_shows_what_differs(two_seeds, lobula, tmp_path):
    first, _, _ = two_seeds
    second = Path(shutil.copytree(first, tmp_path / "noisier"))
    for seed in (0, 1):  # as if simulated with more noise
        change_json(second / f"seed-{seed}" / "run.json", 0.5, "config", "simulation", "process_noise")
        change_json(second / f"seed-{seed}" / "run.json", "other", "stages", "simulate", "digest")
        change_json(second / f"seed-{seed}" / "scores.json", 5.0 + 0.1 * seed, "ridge", "prediction", "one_step_rmse")
    done = lobula("compare", first, second, "--json", "--out", tmp_path / "comparison.md")
    assert done.code == 0, done.err
    assert "different recordings" in done.err
    result = json.loads(done.out)
    assert result["settings"] == {"simulation.process_noise": [0.05, 0.5]}
    row = next(r for r in result["scores"] if (r["rung"], r["quantity"]) == ("ridge", "prediction.one_step_rmse"))
    assert row["n"] == [2, 2]
    assert "paired by seed" in row["method"]
    assert row["low"] < row["mean"] < row["high"]
    assert (row["mean"] > 1, row["judgement"]) == (True, "worse")
    assert "| simulation.process_noise | 0.05 | 0.5 |" in (tmp_path / "comparison.md").read_text()
    table = lobula("compare", first / "seed-0", first / "seed-1")
    assert "simulation.seed" in table.out
    assert "no interval: one seed" in table.out


def test_compare_refuses_what_is_not_comparable(two_seeds, lobula, tmp_path):
    source, _, _ = two_seeds
    assert "expected two or more" in lobula("compare", source).error_line
    assert "neither a run nor a folder of runs" in lobula("compare", source, tmp_path).error_line
    other = Path(shutil.copytree(source, tmp_path / "drift"))
    for file in other.glob("*/run.json"):
        change_json(file, "drift", "config", "training", "target")
    line = lobula("compare", source, other).error_line
    assert "was fitted to 'observed'" in line
    assert "expected one target" in line
    change_json(other / "seed-1" / "run.json", "observed", "config", "training", "target")
    assert "training.target differs" in lobula("compare", source, other).error_line
    shutil.copytree(source / "seed-0", other / "seed-0-too")
    assert "have the same seeds (0, 0)" in lobula("compare", source, other).error_line
    (other / "seed-0" / "scores.json").unlink()
    assert "lobula score" in lobula("compare", source, other).error_line


def test_a_run_may_end_before_its_report(tmp_path, lobula, tiny):
    out = tmp_path / "short"
    done = lobula("run", "fly-small", *tiny, *ONE_RUNG, "--until", "recover", "--out", out)
    assert (done.code, done.out.strip()) == (0, str(out / "estimates"))
    assert not (out / "scores.json").exists()
    assert set(json.loads((out / "run.json").read_text())["stages"]) == {"simulate", "train ridge", "recover ridge"}
    more = lobula("run", "--until", "score", "--out", out)
    assert more.out.splitlines()[-1] == str(out / "scores.json")
    assert not (out / "report").exists()
    plan = json.loads(lobula("run", "--until", "train", "--dry-run", "--json", "--out", out).out)
    assert set(plan["seconds"]) == {"simulate", "train"}


def test_a_plan_counts_the_spline_that_a_network_starts_from(tmp_path, lobula, tiny):
    def seconds(*words: str) -> float:
        options = [*tiny, "--set", "training.estimators=[gnn]", *words, "--dry-run", "--json"]
        return json.loads(lobula("run", "fly-small", *options, "--out", tmp_path / "run").out)["seconds"]["train"]

    assert seconds("--set", "training.warm_start=spline") > seconds()


@pytest.mark.parametrize("words", [["--until", "scores"], ["--seeds", "2", "--until", "train"]])
def test_a_stage_to_end_at_must_exist_and_score_several_seeds(tmp_path, lobula, words):
    done = lobula("run", "fly-small", *words, "--out", tmp_path / "run")
    assert done.code == 2
    assert "expected one of" in done.err
    assert not (tmp_path / "run").exists()


def test_stages_of_the_command_are_those_of_the_pipeline():
    assert tuple(OUTPUTS) == pipeline.STAGE_NAMES
