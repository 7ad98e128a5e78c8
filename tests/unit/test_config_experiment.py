"""The config itself: frozen, strict, and with digests that tell equal settings from different ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lobula.config import ExperimentConfig, load_config, save_config, section_names
from lobula.config.stimulus import OWN_FIELDS, StimulusConfig
from lobula.config.yaml_format import dump_yaml, parse_yaml
from lobula.errors import ConfigError

rates = st.floats(1e-12, 0.999, exclude_min=False, allow_nan=False)


def test_config_is_frozen() -> None:
    config = ExperimentConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.training.seed = 1  # type: ignore[misc]
    assert hash(config) == hash(ExperimentConfig())


def test_with_values_makes_a_changed_copy() -> None:
    config = ExperimentConfig()
    changed = config.with_values({"training.seed": 3, "name": "x"})
    assert (config.training.seed, changed.training.seed, changed.name) == (0, 3, "x")


@pytest.mark.parametrize("path", ["training.sed", "trainin.seed", "name.first", "training.seed.x"])
def test_with_values_refuses_unknown_paths(path: str) -> None:
    with pytest.raises(ConfigError, match=r"no such field|not a section"):
        ExperimentConfig().with_values({path: 1})


def test_digest_sees_only_its_sections() -> None:
    config = ExperimentConfig()
    other = config.with_values({"training.lr": 1e-3})
    assert config.digest("simulation", "connectome") == other.digest("simulation", "connectome")
    assert config.digest("training") != other.digest("training")
    assert config.digest() != other.digest()
    assert config.digest("training", exclude=("training.lr",)) == other.digest("training", exclude=("training.lr",))


def test_digest_ignores_the_name_and_knows_its_sections() -> None:
    config = ExperimentConfig()
    assert config.digest() == config.with_values({"name": "other"}).digest()
    assert config.digest() == config.digest(*section_names())
    with pytest.raises(ConfigError, match="no section 'trainin'"):
        config.digest("trainin")


def test_integer_and_float_of_one_value_have_one_digest() -> None:
    one = load_config("fly-small", ["simulation.dt=1"])
    assert one.digest() == load_config("fly-small", ["simulation.dt=1.0"]).digest()


@given(lr=rates, seed=st.integers(0, 2**63), frames=st.none() | st.integers(2, 10**9), name=st.text(max_size=20))
def test_any_valid_config_survives_yaml(lr: float, seed: int, frames: int | None, name: str) -> None:
    values = {"training.lr": lr, "training.seed": seed, "ridge.max_frames": frames, "description": name}
    config = ExperimentConfig().with_values(values)
    assert ExperimentConfig.from_dict(parse_yaml(save_config(config), "test")) == config


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_yaml_reads_back_what_it_wrote(value: object) -> None:
    assert parse_yaml(dump_yaml({"key": value}), "test") == {"key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6e-4", 6e-4),
        ("-1.5E+3", -1500.0),
        ("64_000", 64_000),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("true", True),
        ("~", None),
        ("1e", "1e"),
        ("2026-01-01", "2026-01-01"),
        ("'6e-4'", "6e-4"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(text, "test")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"stimulus.bar_width": 3.0},
            r"bar_width: got 3\.0, but stimulus\.kind is dead_leaves, .*=moving_bar, or",
        ),
        ({"stimulus.kind": "video", "stimulus.pan_speed": 1.0}, r"pan_speed: .* stimulus\.kind=dead_leaves or photos,"),
        ({"stimulus.kind": "flash", "stimulus.path": "films"}, "path: got 'films', but stimulus.kind is flash"),
        ({"stimulus.mixed_kinds": ["flash", "grey"]}, r"mixed_kinds: .* set stimulus\.kind=mixed"),
        ({"stimulus.kind": "mixed", "stimulus.noise_hold": 2}, "noise_hold: got 2, but stimulus.kind is mixed"),
    ],
)
def test_a_field_of_another_kind_of_movie_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExperimentConfig().with_values(values)


def test_fields_of_all_kinds_and_those_of_a_mixture_are_taken() -> None:
    common = {"stimulus.grey": 0.4, "stimulus.contrast": 0.5, "stimulus.clip_frames": 30}
    for kind in ("dead_leaves", "blank", "m_sequence"):
        ExperimentConfig().with_values({**common, "stimulus.kind": kind})
    mixture = {"stimulus.kind": "mixed", "stimulus.mixed_kinds": ["flash", "moving_edge", "photos"]}
    own = {"stimulus.flash_period": 0.5, "stimulus.edge_speed": 5.0, "stimulus.path": "pictures"}
    ExperimentConfig().with_values({**mixture, **own})


def test_every_field_of_a_movie_has_a_kind_that_uses_it() -> None:
    fields, common = set(StimulusConfig.model_fields), {"kind", "grey", "contrast", "clip_frames"}
    assert {name for names in OWN_FIELDS.values() for name in names} == fields - common
