"""A prior through the stages: what is done again, and that every table names it."""

import json
from pathlib import Path

import numpy as np
import pytest

import lobula
from lobula import pipeline
from lobula.cli.tables import score_table, terminal
from lobula.config import ExperimentConfig
from lobula.config.prior import PriorConfig
from lobula.data.annotations import annotate
from lobula.data.run_dir import RunDir
from lobula.errors import ConfigError
from lobula.report import tables
from lobula.report.comparison import compare_runs
from lobula.report.inputs import load_inputs
from lobula.report.overview import score_section
from lobula.report.page import table as html_table
from lobula.report.seed_table import SeedScores
from lobula.report.summary import sentences

LABEL = "ridge (counts, Dale known, tied hard)"
PRIOR = {"prior.synapse_counts": True, "prior.sign": "known", "prior.tied": "hard"}


def config(**values: object) -> ExperimentConfig:
    small = {
        "connectome.extent": 1,
        "simulation.n_frames": 400,
        "simulation.n_frames_validation": 60,
        "simulation.n_frames_test": 60,
        "training.estimators": ["ridge"],
        "recovery.n_cell_types": 5,
        "scoring.rollout_steps": 10,
        "scoring.n_rollouts": 1,
    }
    return ExperimentConfig().with_values({**small, **values})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run without a prior and one with."""
    folder = tmp_path_factory.mktemp("runs")
    for name, settings in (("plain", config()), ("prior", config(**PRIOR))):
        lobula.simulate(settings, folder / name, progress=False)
        lobula.train(settings, folder / name, progress=False)
        lobula.recover(settings, folder / name, progress=False)
        lobula.score(settings, folder / name, progress=False)
    return folder / "plain", folder / "prior"


def scores(run: Path) -> dict:
    return json.loads((run / "scores.json").read_text())


def test_a_prior_beats_the_ceiling_that_has_none(runs: tuple[Path, Path]) -> None:
    plain, prior = map(scores, runs)
    assert prior["ceiling"] == plain["ceiling"]
    assert plain["ridge"]["W"]["fit_r2"] == pytest.approx(plain["ceiling"]["W"]["fit_r2"], abs=0.02)
    assert prior["ridge"]["W"]["fit_r2"] > prior["ceiling"]["W"]["fit_r2"] + 0.1
    assert (prior["ridge"]["prior"], plain["ridge"].get("prior")) == ("counts, Dale known, tied hard", None)
    notes = lobula.Estimates.load(runs[1] / "estimates" / "ridge.zarr").notes
    assert notes["prior"] == "counts, Dale known, tied hard"


def test_every_table_names_the_prior(runs: tuple[Path, Path]) -> None:
    plain, prior = runs
    headings = [[column.header for column in score_table(scores(run)).columns] for run in runs]
    assert headings == [["", "ridge", "ceiling"], ["", LABEL, "ceiling"]]
    with terminal().capture() as _:
        terminal().print(score_table(scores(prior)))
    comparison = compare_runs([plain, prior])
    assert f"ridge → {LABEL}" in comparison.to_markdown()
    assert {row.rung for row in comparison.rows} == {"ridge", "ceiling"}
    assert "prior.tied" in comparison.settings
    seeds = SeedScores("x", "observed", {0: scores(prior), 1: scores(prior)}, {}, "")
    assert f"| W fit R² | {LABEL} | 2 |" in seeds.to_markdown()
    assert "ridge" in seeds.to_dict()["table"]
    inputs = load_inputs(RunDir.existing(prior))
    for make in (tables.score_table, tables.prediction_table, tables.type_table):
        made = make(inputs)
        assert made is not None
        assert LABEL in made.columns
        assert LABEL in made.values.columns
        assert f'<th scope="col" class="ridge">{LABEL}</th>' in "".join(html_table(made))
    assert LABEL in " ".join(sentences(inputs))
    section = score_section(inputs)
    assert section is not None
    assert "the ceiling has none" in section.note


def test_nothing_is_named_where_it_is_off(runs: tuple[Path, Path]) -> None:
    inputs = load_inputs(RunDir.existing(runs[0]))
    made = tables.score_table(inputs)
    section = score_section(inputs)
    assert made is not None
    assert section is not None
    assert made.columns == ("ridge", "ceiling")
    text = " ".join([*sentences(inputs), section.note, json.dumps(scores(runs[0]))])
    assert "prior" not in text.lower()


def test_a_prior_and_its_annotations_decide_whether_a_stage_is_done_again(runs: tuple[Path, Path]) -> None:
    with RunDir(runs[1]) as directory:
        settings = [config(), *(config(**{name: value}) for name, value in PRIOR.items()), config(**PRIOR)]
        for name in ("ridge", "spline", "gnn"):
            assert len({pipeline._model_digest(directory, c, name) for c in settings}) == 5
        before = [pipeline._model_digest(directory, c, "ridge") for c in settings]
        n = load_inputs(RunDir.existing(runs[1])).recording.n_neurons  # type: ignore[union-attr]
        annotate(runs[1] / "recording.zarr", sign=np.zeros(n, dtype=int))
        after = [pipeline._model_digest(directory, c, "ridge") for c in settings]
    assert before[0] == after[0]
    assert all(a != b for a, b in zip(before[1:], after[1:], strict=True))


def test_labels_say_what_is_on() -> None:
    assert (PriorConfig().is_active, PriorConfig().label) == (False, "")
    assert PriorConfig(sign="inferred").label == "Dale inferred"
    assert PriorConfig(synapse_counts=True, tied="soft").label == "counts, tied soft"
    with pytest.raises(ConfigError, match=r"prior\.tied"):
        config(**{"prior.tied": "firm"})
