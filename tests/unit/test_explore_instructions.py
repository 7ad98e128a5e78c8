"""Instruction documents run as studies: what is read of excerpts, and of the documents that started the project."""

import logging
from pathlib import Path

import pytest

from lobula.config import recipe_names
from lobula.errors import ConfigError, MissingInputError
from lobula.exploration.instructions import parse_instructions, read_instructions
from lobula.exploration.study import SpaceEntry, Study
from lobula.exploration.study_files import load_study, save_study, study_names
from lobula.exploration.views.render import render
from support.explored import make_snapshot

SEEDS = [folder / "shared" / "seeds" for folder in Path(__file__).resolve().parents[3:5]]  # beside the checkout
SIGNAL = """# A study of the PDE_N2 model

- `ucb_c`: float value (0.5-3.0)

**Training Parameters (change within block):**

```yaml
training:
  learning_rate_W_start: 1.0E-3 # range: 1E-4 to 1E-2
  coeff_W_L1: 1.0E-12 # range 1.0E-10 to 1.0E-14
  batch_size: 8 # values: 1, 2, 4, 8
  coeff_lin_phi_zero: 1.0 # FIXED - DO NOT modify
  data_augmentation_loop: 100
```

**Simulation Parameters (change at block boundaries only):**

```yaml
simulation:
  n_neurons: 1000 # fixed
  connectivity_filling_factor: 1.0 # **CHANGE AT BLOCK BOUNDARY**
  # Sparsity levels to explore: 1.0, 0.5, 0.05
```

```yaml
claude:
  ucb_c: 0.7
```
"""
FLY = """# GS (flyvis_62_1)

Each block = `n_iter_block` iterations (default 24).

- **Converged**: connectivity_R2 > 0.8
- **Failed**: connectivity_R2 < 0.3

| Parameter | Default (gs) | Description |
|---|---|---|
| `learning_rate_start` (lr) | 1.2E-3 | rate |
| `coeff_edge_diff` | 750 | monotone |
| `coeff_W_L1` | 5E-5 | sparse |
| `n_epochs` | 1 (claude) | epochs |
| `w_init_mode` | zeros | "zeros" or "randn_scaled" (NOT "randn") |

- `hidden_dim` / `n_layers`: edges (default: 80 / 3)

## Block Partition (suggested)

| Block | Focus | Parameters to explore |
|---|---|---|
| 1 | Penalties | coeff_edge_diff (740-760) |
| 2 | Width | hidden_dim (64-96) |
"""


def entry(study: Study, path: str) -> SpaceEntry:
    """The entry of a field in the space of a study."""
    return next(found for found in study.space if isinstance(found, SpaceEntry) and found.path == path)


def seed(number: str) -> Path:
    """A document that started the project, or the test is skipped."""
    found = next((path for folder in SEEDS for path in folder.glob(f"{number}_*.txt")), None)
    if found is None:
        pytest.skip(f"no document {number} in {SEEDS[0]} (it is not part of the repository)")
    return found


def test_yaml_examples_give_values_ranges_and_blocks() -> None:
    found = parse_instructions(SIGNAL, "sparse")
    study = found.study
    assert study.base == "signal-n2"
    assert (study.blocks.path, study.blocks.values) == ("signal.fill", (1.0, 0.5, 0.05))
    assert (entry(study, "training.lr_W").low, entry(study, "training.lr_W").high) == (1e-4, 1e-2)
    assert (entry(study, "training.coeff_W_L1").low, entry(study, "training.coeff_W_L1").high) == (1e-14, 1e-10)
    assert entry(study, "training.batch_size").choices == (1, 2, 4, 8)
    assert study.frozen == ("training.coeff_f_theta_zero",)
    assert study.base_config(2).signal.fill == 0.05
    assert study.base_config().training.coeff_W_L1 == 1e-12
    assert study.base_config().training.n_epochs == 1  # augmentation counts in epochs
    assert study.policy.c == 0.7
    assert not study.code.allowed
    assert "learning_rate_W_start -> training.lr_W: 0.0001 to 0.01" in found.mapped


def test_tables_bullets_and_block_partition_are_read() -> None:
    found = parse_instructions(FLY, "fly")
    study, base = found.study, found.study.base_config()
    assert study.base == "gs"
    assert (study.objective.converged, study.objective.failed) == (0.8, 0.3)
    assert (study.blocks.n_iter, study.budget.n_runs) == (24, 48)
    assert (base.training.lr, base.training.coeff_g_phi_diff) == (1.2e-3, 750.0)
    assert (entry(study, "training.coeff_g_phi_diff").low, entry(study, "training.coeff_g_phi_diff").high) == (740, 760)
    assert (entry(study, "model.hidden_dim").low, entry(study, "model.hidden_dim").high) == (64, 96)
    assert entry(study, "model.w_init").choices == ("zeros", "randn_scaled")
    assert base.training.coeff_W_L1 == 0.0  # would never act in one epoch
    assert any("never acts in one epoch" in note for note in found.notes)
    assert not any("coeff_W_L1" in line for line in found.mapped)


def test_what_has_no_place_is_an_error_that_names_all_of_it() -> None:
    strange = SIGNAL.replace("  batch_size: 8", "  warp_drive: 9\n  flux: 1 # range: 0 to 2\n  batch_size: 8")
    with pytest.raises(ConfigError, match=r"warp_drive \(line 11\), flux \(line 12\)"):
        parse_instructions(strange, "x")
    with pytest.raises(ConfigError, match="names no circuit"):
        parse_instructions("# A study of worms", "x")
    with pytest.raises(ConfigError, match="as many as params has rows"):
        parse_instructions(
            SIGNAL.replace("n_neurons: 1000 # fixed", "n_neuron_types: 3\n  params: [[10, 1, 1], [10, 2, 1]]"), "x"
        )
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_instructions(SIGNAL.replace("training:\n", "training: [\n"), "x")
    with pytest.raises(ConfigError, match="expected a value"):
        parse_instructions(SIGNAL.replace("1.0, 0.5, 0.05", "1.0, 0.5, 5.0"), "x")
    with pytest.raises(MissingInputError):
        read_instructions("nowhere.md")


def test_a_later_recurrent_start_is_refused_rather_than_dropped() -> None:
    text = SIGNAL.replace(
        "  batch_size: 8", "  recurrent_training: true\n  recurrent_training_start_epoch: 3\n  batch_size: 8"
    )
    with pytest.raises(ConfigError, match="recurrent_start"):
        parse_instructions(text, "x")
    study = parse_instructions(text.replace("epoch: 3", "epoch: 0"), "x").study
    assert study.base_config().training.regime == "recurrent"
    assert study.base_config().training.target == "observed"


@pytest.mark.parametrize("number", ["001", "002", "003", "004"])
def test_the_documents_that_started_the_project_are_studies(number: str) -> None:
    found = read_instructions(seed(number))
    study = found.study
    for block in range(study.n_blocks or 1):
        study.base_config(block)
    dimensions = study.dimensions()
    assert len(dimensions) >= 4
    assert all(d.low is None or d.low <= d.default <= (d.high or 0.0) for d in dimensions)
    assert not {d.path for d in dimensions} & set(study.frozen)
    assert study.instructions == seed(number).resolve()
    assert Study.from_dict(study.to_dict()) == study
    assert "## Iter 1: " in render(make_snapshot(2, study=study))[f"{study.name}_analysis.md"]


def test_document_001_keeps_the_circuit_and_searches_training() -> None:
    study = read_instructions(seed("001")).study
    assert study.base == "gs"
    assert (study.objective.converged, study.objective.failed) == (0.8, 0.3)
    assert (study.blocks.n_iter, study.budget.n_runs, study.policy.name) == (24, 120, "ucb")
    assert (entry(study, "training.coeff_W_L2").low, entry(study, "training.coeff_W_L2").high) == (2e-6, 4e-6)
    assert all(d.path.startswith(("training.", "model.")) for d in study.dimensions())


def test_document_002_is_blocks_of_time_step_with_code() -> None:
    study = read_instructions(seed("002")).study
    assert (study.blocks.path, study.blocks.values) == ("training.time_step", (1, 4, 16, 32, 64))
    assert (study.code.allowed, study.code.after) == (True, 4)
    assert (study.objective.converged, study.objective.failed) == (0.9, 0.1)
    assert study.seeds.mode == "same-data"
    assert "training.batch_size" in study.frozen
    config = study.base_config(3)
    assert (config.training.time_step, config.training.regime, config.training.target) == (32, "recurrent", "observed")


def test_document_003_is_two_stages_with_replicates() -> None:
    study = read_instructions(seed("003")).study
    assert study.base == "gs-two-stage"
    assert study.base_config().training.two_stage
    assert {d.path: d.choices for d in study.dimensions()} == {
        "training.alternate_joint_ratio": (0.2, 0.3, 0.4, 0.5, 0.6),
        "training.alternate_lr_ratio": (0.01, 0.05, 0.1, 0.2, 0.3),
        "training.n_epochs": (2, 3),
        "training.augmentation": (20, 25, 30),
    }
    assert {"training.lr", "training.lr_W", "training.lr_embedding"} <= set(study.frozen)
    assert (study.engine.slots, study.policy.replicate, study.budget.run_seconds) == (4, 0.5, 5400.0)


def test_document_004_is_blocks_of_fill_with_two_objectives() -> None:
    study = read_instructions(seed("004")).study
    assert (study.blocks.path, study.blocks.values) == ("signal.fill", (1.0, 0.75, 0.5, 0.25, 0.1, 0.05))
    assert (study.objective.second, study.objective.weights) == ("gnn.cell_types.accuracy", (0.6, 0.4))
    assert (study.policy.name, study.policy.c) == ("ucb_dual", 1.414)
    assert study.base_config(1).signal.fill == 0.75
    assert study.base_config().signal.parameters == ((10, 1, 1), (10, 2, 1), (10, 1, 2), (10, 2, 2))


def test_names_of_today_need_no_notice(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="lobula.config.legacy"):
        parse_instructions("# flyvis_62_1\n\n```yaml\ntraining:\n  lr: 1e-3 # range: 1e-4 to 1e-2\n```\n", "x")
    assert caplog.records == []


@pytest.mark.parametrize("name", study_names())
def test_shipped_studies_are_valid(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.instructions is not None
    assert study.instructions.is_file()
    if study.base not in recipe_names():
        pytest.skip(f"no recipe {study.base} yet")
    for block in range(study.n_blocks or 1):
        study.base_config(block)
    assert all(d.low is None or d.low <= d.default <= (d.high or 0.0) for d in study.dimensions())


def test_the_shipped_studies_are_those_of_the_documents_and_a_tiny_one() -> None:
    assert study_names() == ("fly-gs", "fly-gs-two-stage", "fly-tiny", "signal-recurrent", "signal-sparsity")
    tiny = load_study("fly-tiny")
    assert (tiny.budget.n_runs, tiny.engine.slots) == (40, 4)


def test_studies_load_by_path_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    (tmp_path / "how.md").write_text("be brave")
    path.write_text("name: mine\nspace: [training.lr]\ninstructions: how.md\n")
    study = load_study(
        path, ["budget.n_runs=12", "objective.metric=spline.W.r2", "proposer.agent.share=0.5", "base=gs"]
    )
    assert (study.budget.n_runs, study.objective.metric, study.proposer.agent.share) == (12, "spline.W.r2", 0.5)
    assert study.base == "gs"
    assert study.instructions == (tmp_path / "how.md").resolve()
    (tmp_path / "again.yaml").write_text(save_study(study))
    assert load_study(tmp_path / "again.yaml") == study
    (tmp_path / "doc.md").write_text(SIGNAL)
    assert load_study(tmp_path / "doc.md", ["budget.n_runs=3"]).budget.n_runs == 3


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("fly-tinny", "budget.n_runs=1", "did you mean fly-tiny"),
        ("fly-tiny", "budget.n_run=1", "did you mean n_runs"),
        ("fly-tiny", "budget.n_runs=none", "expected an integer"),
        ("fly-tiny", "budget.n_runs", "expected section.field=value"),
        ("fly-tiny", "name.x=1", "has no fields"),
    ],
)
def test_wrong_studies_and_overrides_say_what_is_wrong(name: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(name, [override])
