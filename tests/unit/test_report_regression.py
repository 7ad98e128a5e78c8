"""The regression check's parts: reference file, row by row comparison, history, second opinion."""

import json
import sys
import time

import numpy as np
import pytest

from lobula.config import ExperimentConfig, load_config
from lobula.errors import ConfigError, MissingInputError, StoreError
from lobula.metrics import Quantity
from lobula.report.assess import assess, parse_command
from lobula.report.fingerprint import Figure
from lobula.report.reference import Reference, reference_path
from lobula.report.regression import append_history, compare_with_reference

CONFIG = ExperimentConfig(name="mine")
METRICS = (
    Quantity("gnn.W.fit_r2", "W", "higher", 0.01),
    Quantity("gnn.prediction.rollout_rmse", "RMSE", "lower", 0.01),
    Quantity("gnn.W.slope", "slope", "one", 0.01),
    Quantity("gnn.embedding.change", "change", "same", 0.01),
    Quantity("gnn.train.loss@1", "loss", "lower", 0.01, repeats=True),
)
USUAL = (0.9, 0.2, 0.95, 0.5, 1.0)


def figures(*values: float, seeds=(0, 1, 2), jitter: float = 0.0) -> dict:
    return {
        seed: {m.name: Figure(m, v + jitter * (seed - 1)) for m, v in zip(METRICS, values, strict=False)}
        for seed in seeds
    }


@pytest.fixture
def reference() -> Reference:
    return Reference.make(CONFIG, figures(*USUAL, jitter=0.001))


def statuses(reference: Reference, now: dict) -> list[str]:
    return [row.status for row in compare_with_reference(reference, CONFIG, now, {}).rows]


def test_reference_comes_back_from_its_file(tmp_path, reference):
    reference.save(tmp_path / "folder" / "mine.json")
    again = Reference.load(tmp_path / "folder" / "mine.json")
    assert again == reference
    content = json.loads((tmp_path / "folder" / "mine.json").read_text())
    assert "3 x sd" in content["rule"]
    assert {"made", "code", "versions", "machine", "config_digest", "seeds"} <= set(content)
    known = content["metrics"]["gnn.W.fit_r2"]
    assert (known["better"], known["median"], known["tolerance"]) == ("higher", 0.9, 0.01)


def test_foreign_reference(tmp_path):
    with pytest.raises(MissingInputError, match="--update"):
        Reference.load(tmp_path / "none.json")
    for text in ("{", "[]", '{"format": "other", "version": 1}', '{"format": "lobula-reference", "version": 1}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(StoreError, match="no readable reference"):
            Reference.load(tmp_path / "bad.json")


def test_same_figures_pass(reference):
    comparison = compare_with_reference(reference, CONFIG, figures(*USUAL, jitter=0.001), {})
    assert comparison.passes
    assert {row.status for row in comparison.rows} == {"ok"}
    assert comparison.to_dict()["verdict"] == "pass"


@pytest.mark.parametrize(
    ("place", "value", "status"),
    [
        (0, 0.88, "worse"),
        (0, 0.92, "better"),
        (1, 0.22, "worse"),
        (1, 0.18, "better"),
        (2, 0.92, "worse"),
        (2, 1.045, "ok"),
        (3, 0.52, "changed"),
        (3, 0.48, "changed"),
        (4, 1.02, "worse"),
    ],
)
def test_every_direction(reference, place, value, status):
    now = [*USUAL]
    now[place] = value
    found = statuses(reference, figures(*now))
    assert found[place] == status
    assert set(found) <= {"ok", status}
    comparison = compare_with_reference(reference, CONFIG, figures(*now), {})
    assert comparison.passes == (status in ("ok", "better"))


def test_missing_and_new_metrics(reference):
    assert statuses(reference, figures(*USUAL[:4])) == ["ok"] * 4 + ["missing"]
    smaller = Reference.make(CONFIG, figures(*USUAL[:4]))
    assert statuses(smaller, figures(*USUAL)) == ["ok"] * 4 + ["new"]


def test_seeds_are_those_that_both_have():
    spread = Reference.make(CONFIG, figures(*USUAL, jitter=0.1))
    first_only = {0: figures(*USUAL, jitter=0.1)[0]}
    comparison = compare_with_reference(spread, CONFIG, first_only, {})
    assert comparison.rows[0].worse_by == pytest.approx(0.0)
    other_seed = {7: figures(*USUAL)[0]}
    assert statuses(spread, other_seed) == ["ok"] * 4 + ["new"]  # what repeats is known for its own seeds only


def test_failed_seed_and_other_settings_fail(reference):
    now = figures(*USUAL)
    assert not compare_with_reference(reference, CONFIG, now, {3: "diverged"}).passes
    other = CONFIG.with_values({"training.coeff_g_phi_norm": 2.0})
    comparison = compare_with_reference(reference, other, now, {})
    assert not comparison.passes
    assert comparison.changed_settings == ("training.coeff_g_phi_norm is 2.0, reference 1.0",)
    free = {"training.seed": 9, "simulation.seed": 9, "training.device": "cuda", "report.dark": True, "name": "x"}
    assert compare_with_reference(reference, CONFIG.with_values(free), now, {}).passes


def test_fields_that_came_or_went(reference):
    del reference.config["training"]["lr"]
    assert reference.changed_settings(CONFIG) == []  # a new field at its default
    assert reference.changed_settings(CONFIG.with_values({"training.lr": 1e-3}))
    reference.config["training"]["gone"] = 1
    assert reference.changed_settings(CONFIG) == ["training.gone is gone, reference 1"]


def test_history_grows(tmp_path, reference):
    good = compare_with_reference(reference, CONFIG, figures(*USUAL), {})
    bad = compare_with_reference(reference, CONFIG, figures(0.5, *USUAL[1:]), {})
    append_history(tmp_path, good)
    text = append_history(tmp_path, bad, "> looks bad").read_text()
    assert text.index("PASS: mine, seeds 0, 1, 2") < text.index("FAIL: mine") < text.index("> looks bad")
    assert "| gnn.W.fit_r2 | 0.9000 | 0.5000 | 0.4000 |" in text
    assert "commit " in text


def test_where_references_are(tmp_path):
    assert reference_path("fly-small").parts[-2:] == ("references", "fly-small.json")
    (tmp_path / "own.yaml").write_text("name: own\n")
    assert reference_path(str(tmp_path / "own.yaml")) == tmp_path / "own.reference.json"
    with pytest.raises(ConfigError, match="--reference"):
        reference_path(str(tmp_path))


@pytest.mark.parametrize("recipe", ["fly-small", "fly-noise-free", "fly-noise-005", "fly-noise-05"])
def test_a_reference_that_ships_is_of_its_recipe(recipe):
    """A recipe or a default that changes needs a new reference; every metric of every seed is a number."""
    known = Reference.load(reference_path(recipe))
    assert known.changed_settings(load_config(recipe)) == []
    assert not known.facts["code"]["dirty"]
    assert {"gnn.W.fit_r2", "spline.tau.fit_r2", "ridge.v_rest.fit_r2", "ceiling.W.fit_r2"} <= set(known.metrics)
    for metric in known.metrics.values():
        assert set(metric.values) == set(known.seeds)
        assert np.isfinite(list(metric.values.values())).all()
        assert metric.tolerance > 0


def test_assessment_gets_table_and_figures(tmp_path):
    code = "import sys; print(sys.stdin.read().upper(), sys.argv[1].endswith('w.png'))"
    text = assess([sys.executable, "-c", code], "| table |", [tmp_path / "w.png"], 20)
    assert "> | TABLE | True" in text
    assert "no part of the verdict" in text


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise SystemExit(3)", "status 3"), ("import time; time.sleep(60)", "took longer than 1 s")],
)
def test_assessment_that_goes_wrong_is_only_said(code, said):
    begin = time.monotonic()
    assert said in assess([sys.executable, "-c", code], "x" * 10**6, [], 1)
    assert time.monotonic() - begin < 20


def test_assessment_without_a_program():
    assert "did not start" in assess(["no-such-program-here"], "", [], 1)
    assert parse_command("say 'two words'") == ["say", "two words"]
    for text in ("", "say 'oh"):
        with pytest.raises(ConfigError, match="--assess"):
            parse_command(text)
