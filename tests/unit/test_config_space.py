"""The field metadata is the single source of docs, ranges and search space."""

import pytest

from lobula.config import ExperimentConfig, params_doc, search_space, section_names
from lobula.config.experiment import is_section
from lobula.errors import ConfigError

FREE_OF_BOUNDS = {"choice", "bool", "str", "path", "list"}


def all_paths() -> list[str]:
    sections = {name: ExperimentConfig.model_fields[name].annotation for name in section_names()}
    return [f"{name}.{key}" for name, section in sections.items() for key in section.model_fields]  # type: ignore[union-attr]


def test_every_field_is_documented() -> None:
    rows = {row.path: row for row in params_doc()}
    top_level = [n for n, field in ExperimentConfig.model_fields.items() if not is_section(field.annotation)]
    assert sorted(rows) == sorted([*all_paths(), *top_level])
    for row in rows.values():
        assert row.meaning, row.path
        assert row.valid or row.kind in FREE_OF_BOUNDS, f"{row.path}: a number without a range"


def test_one_section_and_an_unknown_one() -> None:
    assert {row.path.partition(".")[0] for row in params_doc("training")} == {"training"}
    with pytest.raises(ConfigError, match="did you mean training"):
        params_doc("trainin")


def test_rows_say_what_validation_enforces() -> None:
    rows = {row.path: row for row in params_doc()}
    assert rows["connectome.extent"].valid == ">= 0, <= 20"
    assert rows["simulation.dt"].unit == "s"
    assert rows["training.target"].valid == "observed | drift"
    assert rows["ridge.max_frames"].valid == ">= 2 or null"
    assert rows["training.estimators"].default == ["ridge", "spline", "gnn"]


def test_rows_say_what_a_search_tries() -> None:
    rows, space = {row.path: row for row in params_doc()}, {dimension.path: dimension for dimension in search_space()}
    assert {path for path, row in rows.items() if row.search} == set(space)
    for path, dimension in space.items():
        assert rows[path].search == (dimension.choices or (dimension.low, dimension.high))
    assert rows["training.lr_W"].search == (1e-4, 5e-2)
    assert rows["model.g_phi_positive"].search == (False, True)


@pytest.mark.parametrize("dimension", search_space(), ids=lambda dimension: dimension.path)
def test_everything_in_the_search_space_is_valid(dimension) -> None:
    values = dimension.choices or (dimension.low, dimension.high)
    for value in (*values, dimension.default):
        ExperimentConfig().with_values({dimension.path: value})
    if dimension.kind != "choice":
        assert dimension.low < dimension.high
        assert dimension.scale == "linear" or dimension.low > 0


def test_frozen_fields_are_not_searched() -> None:
    paths = {dimension.path for dimension in search_space()}
    assert "training.lr_W" in paths
    assert not paths & {"training.seed", "simulation.seed", "simulation.dt", "training.device", "report.dark"}
