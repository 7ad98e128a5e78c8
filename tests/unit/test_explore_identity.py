"""Ids, canonical values, and the panel of seeds."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.explore import make_study

from lobula import pipeline
from lobula.config import ExperimentConfig, load_config, params_doc
from lobula.config.applicable import RECORDING_SECTIONS
from lobula.exploration.identity import NOT_IDENTITY, code_id, config_id, data_id
from lobula.exploration.panel import holdout, next_pair, panel, with_pair
from lobula.exploration.plain import MAX_DEPTH, canonical, line, plain, same_value
from lobula.exploration.records import RunRecord, RunState, SeedPair, Snapshot
from lobula.exploration.study import Seeds

BASE = load_config("fly-small")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def other_value(path: str) -> object:
    """A value of a field that is valid and not the base's, or None where that takes more than one field."""
    section, field = path.split(".")
    old = BASE.to_dict()[section][field]
    candidates: list[object] = (
        [old + 1, old * 0.9] if isinstance(old, int | float) and not isinstance(old, bool) else []
    )
    for candidate in candidates:
        try:
            BASE.with_values({path: candidate})
        except ValueError:
            continue
        return candidate
    return None


NUMERIC = [
    row.path for row in params_doc() if "." in row.path and row.kind in ("int", "float") and other_value(row.path)
]


@pytest.mark.parametrize("path", NUMERIC)
def test_every_number_of_the_config_counts_where_it_should(path: str) -> None:
    changed = BASE.with_values({path: other_value(path)})

    assert (config_id(changed, "c") == config_id(BASE, "c")) == (path in NOT_IDENTITY)
    assert (data_id(changed) != data_id(BASE)) == (path.split(".")[0] in RECORDING_SECTIONS)


def test_name_description_device_and_seeds_are_no_identity() -> None:
    same = {"name": "other", "description": "another", "training.device": "cuda:0", "training.checkpoint_every": 7}
    seeds = {"simulation.seed": 42, "training.seed": 43}

    assert config_id(BASE.with_values(same | seeds), "c") == config_id(BASE, "c")
    assert data_id(BASE.with_values(same)) == data_id(BASE)
    assert data_id(BASE.with_values({"training.seed": 43})) == data_id(BASE)
    assert config_id(BASE, "d") != config_id(BASE, "c")


def test_the_recording_of_an_id_is_the_one_that_the_stages_would_reuse() -> None:
    assert pipeline.recording_digest(BASE).startswith(data_id(BASE))


def test_an_id_follows_the_content_of_the_files_that_a_config_names(tmp_path: Path) -> None:
    file = tmp_path / "parameters.npz"
    file.write_bytes(b"one")
    config = BASE.with_values({"connectome.parameters": str(file)})
    before = config_id(config, "c"), data_id(config)

    file.write_bytes(b"two")

    assert config_id(config, "c") != before[0]
    assert data_id(config) != before[1]


def test_ids_do_not_depend_on_the_process() -> None:
    code = (
        "import sys; from lobula.config import load_config; from lobula.exploration.identity import *;"
        "c = load_config('fly-small'); print(config_id(c, 'c'), data_id(c), 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert answer.split() == [config_id(BASE, "c"), data_id(BASE), "False"]


def test_the_id_of_code_follows_source_and_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "src" / "lobula"
    package.mkdir(parents=True)
    (package / "a.py").write_text("x = 1\n")
    first = code_id(tmp_path)

    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"x")
    (tmp_path / "README.md").write_text("x")
    assert code_id(tmp_path) == first

    (package / "a.py").write_text("x = 2\n")
    second = code_id(tmp_path)
    (package / "a.py").rename(package / "b.py")
    assert len({first, second, code_id(tmp_path)}) == 3


@given(JSON_VALUES)
def test_canonical_text_keeps_every_value(value: object) -> None:
    text = canonical(value)

    assert text.isascii()
    assert same_json(json.loads(text), value)
    assert canonical(json.loads(text)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_canonical_text_keeps_every_bit_of_a_number(value: float) -> None:
    back = json.loads(canonical([value]))[0]

    assert (back, math.copysign(1, back)) == (value, math.copysign(1, value))


def test_values_that_are_no_json_become_text() -> None:
    deep: list[object] = []
    for _ in range(5_000):
        deep = [deep]

    assert plain([math.nan, -math.inf, Path("a/b"), (1, 2), {3, 1}]) == ["nan", "-inf", "a/b", [1, 2], [1, 3]]
    assert canonical({1: "\ud800"}) == '{"1":"\\ud800"}'
    assert canonical(deep).count("[") == MAX_DEPTH
    assert line("one\n two\0\ud800") == "one two ?"


def test_true_is_not_one_and_one_is_one_point_zero() -> None:
    assert same_value(1, 1.0)
    assert same_value((1, "a"), [1.0, "a"])
    for one, other in itertools.combinations([True, 1, "1", None, [1], [1, 1], math.nan, {"a": 1}], 2):
        assert not same_value(one, other)
        assert not same_value(other, one)


@pytest.mark.parametrize("mode", ["different-data", "same-data"])
@pytest.mark.parametrize("first", [0, 42])
def test_the_holdout_has_recordings_that_the_panel_has_not(mode: str, first: int) -> None:
    seeds = Seeds.model_validate({"mode": mode, "first": first, "panel": 4, "holdout": 3})
    search, kept = panel(seeds), holdout(seeds)

    assert [pair.index for pair in search] == [0, 1, 2, 3]
    assert [pair.index for pair in kept] == [0, 1, 2]
    assert all(pair.holdout for pair in kept)
    assert not any(pair.holdout for pair in search)
    assert search[0] == SeedPair(0, first, first)
    assert len({pair.init for pair in (*search, *kept)}) == 7
    assert not {pair.data for pair in search} & {pair.data for pair in kept}
    assert len({pair.data for pair in search}) == (1 if mode == "same-data" else 4)


def test_the_next_pair_is_the_first_that_a_config_lacks() -> None:
    study = make_study(seeds={"panel": 2, "holdout": 1})
    first, second = panel(study.seeds)
    runs = [
        RunRecord(1, 1, "a", second, RunState.INFRA),
        RunRecord(2, 2, "b", first, RunState.SCORED),
        RunRecord(3, 2, "b", holdout(study.seeds)[0], RunState.RUNNING),
    ]
    snapshot = Snapshot(study, runs=runs)

    assert next_pair(snapshot, "a") == first
    assert next_pair(snapshot, "b") == second
    assert next_pair(snapshot, "b", of_holdout=True) is None
    assert next_pair(Snapshot(study, runs=[*runs, RunRecord(4, 1, "a", first, RunState.OK)]), "a") is None


def test_a_pair_sets_both_seeds_and_nothing_else() -> None:
    config = with_pair(BASE, SeedPair(3, 7, 8))

    assert (config.simulation.seed, config.training.seed) == (7, 8)
    assert config.with_values({"simulation.seed": 0, "training.seed": 0}) == with_pair(BASE, SeedPair(0, 0, 0))
    assert isinstance(config, ExperimentConfig)


def same_json(one: object, other: object) -> bool:
    """Equal with types: 1 is not 1.0, and 0.0 is not -0.0."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
