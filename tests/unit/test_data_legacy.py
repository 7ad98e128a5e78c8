"""Old layouts: recognised by what is there, and read field by field."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from tests.support import old_stores

from lobula.data.legacy import LegacyStore, detect_layout, find_stores
from lobula.data.series import NeuronTimeSeries
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError

LAYOUTS = [("v3", 2), ("v3", 3), ("v2", 2), ("v2", 3), ("v1", 2), ("v1", 3), ("npy", 0)]
FIELDS = ("voltage", "stimulus", "calcium", "fluorescence")


@pytest.fixture
def values() -> dict[str, np.ndarray]:
    return old_stores.frames(40)


@pytest.mark.parametrize(("layout", "zarr_format"), LAYOUTS)
def test_every_layout_is_recognised_and_read(tmp_path: Path, values: dict, layout: str, zarr_format: int) -> None:
    path = old_stores.write(tmp_path / "x_list_0", layout, values, zarr_format)
    assert detect_layout(path) == layout
    store = LegacyStore(path)
    assert (store.n_frames, store.n_neurons, store.fields) == (40, 6, FIELDS)
    for name in FIELDS:
        np.testing.assert_array_equal(store.window(name), values[name])
        np.testing.assert_array_equal(store.window(name, 5, 23), values[name][5:23])
    for name, array in old_stores.static().items():
        if name in store.static:
            np.testing.assert_array_equal(store.static[name], array)
            assert store.static[name].dtype == (np.float32 if name == "pos" else np.int64)
    assert set(store.static) >= {"pos", "group_type", "neuron_type"}


@pytest.mark.parametrize(("layout", "zarr_format"), LAYOUTS)
def test_series_loads_them(tmp_path: Path, values: dict, layout: str, zarr_format: int) -> None:
    path = old_stores.write(tmp_path / "x_list_0", layout, values, zarr_format)
    series = NeuronTimeSeries.load(path, fields=("voltage", "calcium"), start=3, stop=9)
    assert torch.equal(series.voltage, torch.from_numpy(values["voltage"][3:9]))
    assert torch.equal(series.calcium, torch.from_numpy(values["calcium"][3:9]))
    assert series.stimulus is None
    assert series.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert series.neuron_type.tolist() == [4, 4, 1, 1, 0, 0]
    assert series.pos.tolist() == old_stores.static()["pos"].tolist()
    # the suffix may be left out, and the folder around it is enough
    for spelled in (tmp_path / "x_list_0", tmp_path):
        assert torch.equal(NeuronTimeSeries.load(spelled).voltage, torch.from_numpy(values["voltage"]))
    with pytest.raises(ConfigError, match="fields: got 'volts'"):
        NeuronTimeSeries.load(path, fields=("volts",))
    with pytest.raises(MissingInputError, match="but no noise"):
        NeuronTimeSeries.load(path, fields=("noise",))
    with pytest.raises(ShapeError, match="frames 3:99"):
        NeuronTimeSeries.load(path, start=3, stop=99)


@pytest.mark.parametrize("metadata_columns", [4, 5])
def test_metadata_of_four_or_five_columns(tmp_path: Path, values: dict, metadata_columns: int) -> None:
    store = LegacyStore(old_stores.write(tmp_path / "x", "v2", values, metadata_columns=metadata_columns))
    assert ("index" in store.static) == (metadata_columns == 5)
    np.testing.assert_array_equal(store.static["neuron_type"], old_stores.static()["neuron_type"])
    np.testing.assert_array_equal(store.static["pos"], old_stores.static()["pos"])


def test_splits_of_a_dataset(tmp_path: Path) -> None:
    old_stores.write_dataset(tmp_path)
    assert {split: path.name for split, path in find_stores(tmp_path).items()} == {
        "train": "x_list_train",
        "test": "x_list_test",
    }
    assert NeuronTimeSeries.load(tmp_path).n_frames == 90
    assert NeuronTimeSeries.load(tmp_path, split="test").n_frames == 30
    with pytest.raises(MissingInputError, match="no split 'validation'"):
        NeuronTimeSeries.load(tmp_path, split="validation")


def test_fields_are_read_alone(tmp_path: Path, values: dict) -> None:
    path = old_stores.write(tmp_path / "x", "v3", values)
    for chunk in (path / "stimulus.zarr").iterdir():
        if chunk.name[0].isdigit():
            chunk.write_bytes(b"damaged")
    assert NeuronTimeSeries.load(path).n_frames == 40
    with pytest.raises(StoreError, match=r"stimulus: frames 0\.\.39 cannot be decoded"):
        NeuronTimeSeries.load(path, fields=("stimulus",))


def test_a_trailing_axis_of_one_is_dropped(tmp_path: Path, values: dict) -> None:
    old_stores.write_array(tmp_path / "z/voltage.zarr", values["voltage"][:, :, None], 3)
    np.testing.assert_array_equal(LegacyStore(tmp_path / "z").window("voltage", 2, 4), values["voltage"][2:4])


def test_what_is_none_of_them(tmp_path: Path) -> None:
    assert detect_layout(tmp_path) is None
    assert find_stores(tmp_path) == {}
    zarr.create_group(tmp_path / "group.zarr")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "zarr.json").write_text("{")
    for path in (tmp_path / "group.zarr", tmp_path / "half", tmp_path):
        assert detect_layout(path) is None
        with pytest.raises(StoreError, match="none of the old layouts"):
            LegacyStore(path)
    with pytest.raises(MissingInputError, match="no such store"):
        LegacyStore(tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match="no such recording store"):
        NeuronTimeSeries.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("a.npy", (4, 6, 8), "got shape (4, 6, 8), expected (n_frames, n_neurons, 9)"),
        ("a.npy", (6, 9), "got shape (6, 9), expected (n_frames, n_neurons, 9)"),
        ("a.npy", (0, 6, 9), "got shape (0, 6, 9)"),
        ("a.zarr", (4, 6), "got shape (4, 6), expected (n_frames, n_neurons, 9)"),
        ("a/voltage.zarr", (4, 6, 2), "expected (n_frames, n_neurons)"),
    ],
)
def test_wrong_shapes(tmp_path: Path, name: str, shape: tuple[int, ...], said: str) -> None:
    array = np.ones(shape, dtype=np.float32)
    if name.endswith(".npy"):
        np.save(tmp_path / name, array)
    else:
        old_stores.write_array(tmp_path / name, array)
    with pytest.raises(ShapeError, match=re.escape(said)):
        LegacyStore(tmp_path / name.partition("/")[0])


def test_fields_that_do_not_fit_together(tmp_path: Path, values: dict) -> None:
    path = old_stores.write(tmp_path / "x", "v3", values | {"stimulus": values["stimulus"][:30]})
    with pytest.raises(ShapeError, match="the store was cut or is still being written"):
        LegacyStore(path)
    path = old_stores.write(tmp_path / "y", "v2", values)
    (path / "metadata.zarr").rename(path / "old.zarr")
    old_stores.write_array(path / "metadata.zarr", np.zeros((6, 3)))
    with pytest.raises(ShapeError, match=r"metadata\.zarr: got shape \(6, 3\), expected \(n_neurons, 4 or 5\)"):
        LegacyStore(path)


def test_types_must_be_whole_numbers(tmp_path: Path, values: dict) -> None:
    array = old_stores.packed(values)
    array[0, 2, 6] = 0.5
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ShapeError, match=r"neuron_type .* is not one whole number per neuron"):
        LegacyStore(tmp_path / "a.npy")


def test_files_that_cannot_be_read(tmp_path: Path, values: dict) -> None:
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(StoreError, match=r"no readable \.npy file"):
        LegacyStore(tmp_path / "a.npy")
    path = old_stores.write(tmp_path / "x", "v3", values)
    (path / "voltage.zarr" / ".zarray").write_text("{}")
    with pytest.raises(StoreError, match="no readable zarr array"):
        LegacyStore(path)
