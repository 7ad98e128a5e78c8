"""Recordings: a store and arrays behave alike, chunking is invisible, and bad values are named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lobula
from lobula.data.fields import ChunkCache
from lobula.data.recording import Recording
from lobula.data.store import RecordingWriter
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, MissingInputError, NonFiniteError, ShapeError, StillError

N_FRAMES = 47
DT = 0.02


def make_frames(wiring: Wiring, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"voltage": wiring.n_neurons, "stimulus": wiring.n_columns, "drift": wiring.n_neurons}
    return {name: rng.standard_normal((N_FRAMES, width)).astype("f4") for name, width in shapes.items()}


def write(path: Path, wiring: Wiring, frames: dict[str, np.ndarray], cache_bytes: int = 2**20) -> Recording:
    settings = {"fields": tuple(frames), "chunk_frames": 10, "columns": np.arange(6).reshape(3, 2)}
    writer = RecordingWriter.create(path, wiring, DT, {"train": N_FRAMES}, static={"u": np.arange(5)}, **settings)
    writer.append("train", **frames)
    return Recording.open(path, cache_bytes)


@pytest.fixture(params=["store", "store without cache", "arrays"])
def recording(request: pytest.FixtureRequest, tmp_path: Path, small_wiring: Wiring) -> Recording:
    """The same 47 frames from a store and from arrays."""
    frames = make_frames(small_wiring)
    if request.param == "arrays":
        return Recording.from_arrays(frames.pop("voltage"), small_wiring, DT, **frames, splits=(1.0, 0.0, 0.0))
    return write(tmp_path / "r.zarr", small_wiring, frames, 0 if "without" in request.param else 2**20)


def test_fields_and_facts(recording: Recording, small_wiring: Wiring) -> None:
    train, frames = recording["train"], make_frames(small_wiring)
    assert (train.n_frames, len(train), train.n_neurons, recording.n_neurons, recording.dt) == (47, 47, 5, 5, DT)
    assert train.is_complete
    assert train.has_drift
    assert recording.has_drift
    assert recording.splits == ("train",)
    assert np.array_equal(recording.wiring.edge_index, small_wiring.edge_index)
    for name, values in frames.items():
        window = train.window(name)
        assert np.array_equal(window, values), name
        assert window.dtype == np.float32


@pytest.mark.parametrize(("start", "stop"), [(0, 47), (0, 0), (3, 4), (9, 31), (10, 20), (40, 47), (47, 47)])
def test_any_window(recording: Recording, small_wiring: Wiring, start: int, stop: int) -> None:
    assert np.array_equal(recording["train"].voltage(start, stop), make_frames(small_wiring)["voltage"][start:stop])


def test_targets(recording: Recording, small_wiring: Wiring) -> None:
    train, frames = recording["train"], make_frames(small_wiring)
    observed = np.diff(frames["voltage"], axis=0) / np.float32(DT)
    assert (train.n_targets("observed"), train.n_targets("drift")) == (46, 47)
    assert np.array_equal(train.target("observed"), observed)
    assert np.array_equal(train.target("observed", 8, 12), observed[8:12])
    assert np.array_equal(train.target("drift", 8, 12), frames["drift"][8:12])
    with pytest.raises(ConfigError, match="expected 'observed' or 'drift'"):
        train.n_targets("derivative")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [None, "observed", "drift"])
@pytest.mark.parametrize("size", [1, 7, 10, 46, 1_000])
def test_blocks_cover_the_split_once(recording: Recording, small_wiring: Wiring, target, size: int) -> None:
    train, frames = recording["train"], make_frames(small_wiring)
    blocks = list(train.blocks(size, target=target))
    last = 46 if target == "observed" else 47
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop) == (0, last)
    assert np.array_equal(np.concatenate([block.voltage for block in blocks]), frames["voltage"][:last])
    assert np.array_equal(np.concatenate([block.stimulus for block in blocks]), frames["stimulus"][:last])
    if target:
        assert np.array_equal(np.concatenate([block.target for block in blocks]), train.target(target))


def test_single_frames_in_any_order(recording: Recording, small_wiring: Wiring) -> None:
    wanted = np.array([46, 0, 13, 12, 13, 30])
    assert np.array_equal(recording["train"].frames(wanted), make_frames(small_wiring)["voltage"][wanted])
    assert recording["train"].frames(np.array([], dtype=int)).shape == (0, 5)
    assert recording["train"].frames(wanted, "stimulus").shape == (6, 3)


def test_what_is_read_may_be_changed(recording: Recording, small_wiring: Wiring) -> None:
    recording["train"].voltage(0, 10)[...] = 0
    assert np.array_equal(recording["train"].voltage(0, 10), make_frames(small_wiring)["voltage"][:10])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, 48), (48, 48)])
def test_windows_outside_are_refused(recording: Recording, start: int, stop: int) -> None:
    with pytest.raises(ShapeError, match="expected a range within 0:47"):
        recording["train"].voltage(start, stop)
    with pytest.raises(ShapeError, match="out of range"):
        recording["train"].frames(np.array([47]))


def test_unknown_split_and_field(recording: Recording) -> None:
    assert "validation" not in recording
    with pytest.raises(MissingInputError, match="no split 'validation'"):
        recording["validation"]
    with pytest.raises(MissingInputError, match="no field 'calcium'"):
        recording["train"].window("calcium")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["voltage", "stimulus", "drift"])
def test_bad_value_is_named(tmp_path: Path, small_wiring: Wiring, field: str, value: float) -> None:
    frames = make_frames(small_wiring)
    frames[field][23, 2] = value
    stored = write(tmp_path / "r.zarr", small_wiring, frames)["train"]
    extra = {"stimulus": frames["stimulus"], "drift": frames["drift"]}
    in_memory = Recording.from_arrays(frames["voltage"], small_wiring, DT, **extra)["train"]
    what = "column" if field == "stimulus" else "neuron"
    for split in (stored, in_memory):
        with pytest.raises(NonFiniteError, match=rf"train/{field}: \S*(nan|inf) at frame 23, {what} 2"):
            split.window(field)
        with pytest.raises(NonFiniteError, match="at frame 23"):
            split.frames(np.array([40 if split is stored else 30, 23]), field)
        assert split.window(field, 0, 5).shape[0] == 5


def test_static_columns_and_attributes(tmp_path: Path, small_wiring: Wiring) -> None:
    recording = write(tmp_path / "r.zarr", small_wiring, make_frames(small_wiring))
    assert recording.static["u"].tolist() == [0, 1, 2, 3, 4]
    assert recording.column_positions is not None
    assert recording.column_positions.shape == (3, 2)
    assert recording.attributes["dt_unit"] == "s"
    assert "5 neurons, 7 edges" in repr(recording)


def test_no_stimulus_and_no_drift(small_wiring: Wiring) -> None:
    train = Recording.from_arrays(np.zeros((20, 5)), small_wiring, DT)["train"]
    assert train.stimulus() is None
    assert next(train.blocks(4)).stimulus is None
    with pytest.raises(MissingInputError, match="record_drift"):
        train.target("drift")


def test_arrays_are_cut_in_time_order(small_wiring: Wiring) -> None:
    voltage = np.arange(100.0).repeat(5).reshape(100, 5)
    recording = Recording.from_arrays(voltage, small_wiring, DT)
    assert [recording[split].n_frames for split in recording.splits] == [80, 10, 10]
    assert recording["validation"].voltage(0, 1)[0, 0] == 80
    assert recording["test"].voltage(0, 1)[0, 0] == 90


def test_memory_map_is_read_in_windows(tmp_path: Path, small_wiring: Wiring) -> None:
    np.save(tmp_path / "v.npy", np.ones((30, 5)))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert Recording.from_arrays(mapped, small_wiring, DT)["train"].voltage(3, 5).sum() == 10


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"voltage": np.zeros((5, 30))}, r"voltage: got shape \(5, 30\), expected \(5, 5\)"),
        ({"voltage": np.zeros(30)}, "voltage: got shape"),
        ({"voltage": np.zeros((3, 5))}, "fewer than two"),
        ({"voltage": np.full((30, 5), "a")}, "real numbers"),
        ({"voltage": np.zeros((30, 5)), "stimulus": np.zeros((29, 3))}, "stimulus: got shape"),
        ({"voltage": np.zeros((30, 5)), "stimulus": np.zeros((30, 4))}, "stimulus: got shape"),
        ({"voltage": np.zeros((30, 5)), "drift": np.zeros((30, 3))}, "drift: got shape"),
    ],
)
def test_arrays_that_do_not_fit(small_wiring: Wiring, arrays: dict, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Recording.from_arrays(wiring=small_wiring, dt=DT, **arrays)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (1.0,)])
def test_bad_shares(small_wiring: Wiring, shares: tuple) -> None:
    with pytest.raises(ConfigError, match="three shares"):
        Recording.from_arrays(np.zeros((30, 5)), small_wiring, DT, splits=shares)
    with pytest.raises(ConfigError, match="dt: got 0"):
        Recording.from_arrays(np.zeros((30, 5)), small_wiring, 0.0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), max_size=40), st.integers(0, 200))
def test_cache_never_exceeds_its_bound(puts: list[tuple[int, int]], bound: int) -> None:
    cache = ChunkCache(bound)
    for tile, n_bytes in puts:
        cache.put(("x", 0, tile), np.zeros(n_bytes, dtype=np.int8))
        assert cache.n_bytes <= bound
    kept = [chunk for tile in range(10) if (chunk := cache.get(("x", 0, tile))) is not None]
    assert cache.n_bytes == sum(chunk.nbytes for chunk in kept)


def test_a_circuit_that_rests_is_one_clear_line() -> None:
    wiring = Wiring.from_edges(np.array([[0, 1], [1, 0]]), 2)
    resting = np.full((100, 2), 50.0, dtype="f4") + np.linspace(0, 1e-3, 100, dtype="f4")[:, None]
    with pytest.raises(StillError, match="no voltage moves by more than"):
        lobula.fit(resting, wiring, dt=0.01, method="ridge")
    moving = resting.copy()
    moving[:, 1] += np.sin(np.arange(100, dtype="f4"))
    Recording.from_arrays(moving, wiring, 0.01)["train"].check_moves()
