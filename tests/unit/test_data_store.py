"""The recording store: whole chunks or nothing, whatever happens to the writer or to its files."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

from lobula.data.layout import recording_bytes
from lobula.data.recording import Recording
from lobula.data.store import RecordingWriter
from lobula.data.wiring import Wiring
from lobula.data.zarr_format import atomic_store, open_store, tile_width
from lobula.errors import DiskFullError, MissingInputError, NonFiniteError, ShapeError, StoreError

CHUNK = 10
PLANNED = {"train": 35, "test": 20}


@pytest.fixture
def frames(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """35 frames of five neurons and three columns."""
    return {"voltage": rng.standard_normal((35, 5)).astype("f4"), "stimulus": rng.random((35, 3)).astype("f4")}


def new_writer(path: Path, wiring: Wiring, digest: str = "a") -> RecordingWriter:
    return RecordingWriter.create(path, wiring, 0.02, PLANNED, digest=digest, chunk_frames=CHUNK)


def part(frames: dict[str, np.ndarray], start: int, stop: int) -> dict[str, np.ndarray]:
    return {name: values[start:stop] for name, values in frames.items()}


@pytest.mark.parametrize("size", [1, 3, 10, 25, 35])
def test_block_size_of_the_writer_is_invisible(tmp_path: Path, small_wiring: Wiring, frames: dict, size: int) -> None:
    with new_writer(tmp_path / "r.zarr", small_wiring) as writer:
        for start in range(0, 35, size):
            writer.append("train", **part(frames, start, start + size))
        assert writer.is_finished("train")
        assert not writer.is_finished()
    stored = Recording.open(tmp_path / "r.zarr")["train"]
    assert np.array_equal(stored.voltage(), frames["voltage"])
    assert np.array_equal(stored.stimulus(), frames["stimulus"])


def test_reader_sees_whole_chunks_only(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    writer = new_writer(tmp_path / "r.zarr", small_wiring)
    writer.append("train", **part(frames, 0, 25))
    assert (writer.n_frames_written("train"), Recording.open(tmp_path / "r.zarr")["train"].n_frames) == (20, 20)
    assert np.array_equal(writer.last_frame("train"), frames["voltage"][19])
    assert writer.last_frame("test") is None


def test_resume_goes_on_after_the_last_whole_chunk(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    path = tmp_path / "r.zarr"
    new_writer(path, small_wiring).append("train", **part(frames, 0, 25))
    (path / "train/voltage/c/2").mkdir()
    (path / "train/voltage/c/2/0").write_bytes(b"half a chunk")  # written, but not counted yet
    resumed = RecordingWriter.create_or_resume(path, small_wiring, 0.02, PLANNED, digest="a", chunk_frames=CHUNK)
    assert resumed.n_frames_written("train") == 20
    assert not (path / "train/voltage/c/2").exists()
    resumed.append("train", **part(frames, 20, 35))
    assert np.array_equal(Recording.open(path)["train"].voltage(), frames["voltage"])


def test_other_digest_or_damage_starts_again(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    path = tmp_path / "r.zarr"
    new_writer(path, small_wiring).append("train", **part(frames, 0, 20))
    settings = (path, small_wiring, 0.02, PLANNED)
    assert RecordingWriter.create_or_resume(*settings, digest="a").n_frames_written("train") == 20
    assert RecordingWriter.create_or_resume(*settings, digest="b").n_frames_written("train") == 0
    shutil.rmtree(path / "train/stimulus")
    assert RecordingWriter.create_or_resume(*settings, digest="b").n_frames_written("train") == 0


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_resume_cuts_back_to_sound_chunks(tmp_path: Path, small_wiring: Wiring, frames: dict, damage: str) -> None:
    path = tmp_path / "r.zarr"
    new_writer(path, small_wiring).append("train", **frames)
    hurt(path / "train/voltage/c/3/0", damage)
    assert RecordingWriter.resume(path).n_frames_written("train") == 30


def hurt(chunk: Path, damage: str) -> None:
    content = bytearray(chunk.read_bytes())
    if damage == "missing":
        chunk.unlink()
    elif damage == "cut":
        chunk.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)


@pytest.mark.parametrize(("damage", "message"), [("missing", "is missing"), ("cut", "damaged"), ("flipped", "damaged")])
def test_reader_names_the_chunk(tmp_path: Path, small_wiring: Wiring, frames: dict, damage: str, message: str) -> None:
    path = tmp_path / "r.zarr"
    new_writer(path, small_wiring).append("train", **frames)
    hurt(path / "train/voltage/c/1/0", damage)
    split = Recording.open(path)["train"]
    assert np.array_equal(split.voltage(0, 10), frames["voltage"][:10])
    with pytest.raises(StoreError, match=message) as caught:
        split.voltage(5, 15)
    assert "c/1/0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_chunks_of_nothing_but_zeros_are_there(tmp_path, small_wiring):
    n_frames, split = {"train": 8}, {"voltage": np.ones((8, 5)), "stimulus": np.zeros((8, 3))}
    with RecordingWriter.create(tmp_path / "r.zarr", small_wiring, 0.02, n_frames, chunk_frames=4) as writer:
        writer.append("train", **split)
    assert RecordingWriter.resume(tmp_path / "r.zarr").is_finished()
    np.testing.assert_array_equal(Recording.open(tmp_path / "r.zarr")["train"].stimulus(), np.zeros((8, 3)))


@pytest.mark.parametrize("entry", ["train/voltage", "train", "wiring", "wiring/edge_index", "wiring/neuron_ids"])
def test_missing_part_is_named(tmp_path: Path, small_wiring: Wiring, entry: str) -> None:
    new_writer(tmp_path / "r.zarr", small_wiring)
    shutil.rmtree(tmp_path / "r.zarr" / entry)
    with pytest.raises(StoreError, match=r"truncated or damaged|no wiring|damaged"):
        Recording.open(tmp_path / "r.zarr")


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_damaged_static_array_is_named(tmp_path: Path, small_wiring: Wiring, damage: str) -> None:
    RecordingWriter.create(tmp_path / "r.zarr", small_wiring, 0.02, PLANNED, static={"u": np.zeros(5)})
    assert Recording.open(tmp_path / "r.zarr").static["u"].tolist() == [0.0] * 5
    hurt(tmp_path / "r.zarr/static/u/c/0", damage)
    with pytest.raises(StoreError, match=r"u/c/0: (missing|damaged)"):
        Recording.open(tmp_path / "r.zarr")


def test_foreign_directories_are_refused_and_kept(tmp_path: Path, small_wiring: Wiring) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/todo.txt").write_text("mine")
    zarr.create_group(tmp_path / "foreign.zarr")
    for name in ("notes", "foreign.zarr"):
        with pytest.raises(StoreError, match=r"not a zarr v3 group|foreign"):
            Recording.open(tmp_path / name)
        with pytest.raises(StoreError, match="not a lobula store"):
            new_writer(tmp_path / name, small_wiring)
    assert (tmp_path / "notes/todo.txt").read_text() == "mine"


def test_missing_other_kind_and_newer_version(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such recording store"):
        Recording.open(tmp_path / "absent.zarr")
    with atomic_store(tmp_path / "truth.zarr", "truth"):
        pass
    with pytest.raises(StoreError, match="a lobula truth store, expected a recording"):
        open_store(tmp_path / "truth.zarr", "recording")
    zarr.open_group(tmp_path / "truth.zarr").attrs["lobula"] = {"kind": "truth", "version": 99}
    with pytest.raises(StoreError, match="store version 99"):
        open_store(tmp_path / "truth.zarr", "truth")


def test_full_disk_keeps_what_was_written(
    tmp_path: Path, small_wiring: Wiring, frames: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.zarr"
    writer = new_writer(path, small_wiring)
    writer.append("train", **part(frames, 0, 20))

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", no_space)
        with pytest.raises(DiskFullError, match="disk is full; kept so far: train 20 frames, test 0 frames"):
            writer.append("train", **part(frames, 20, 30))
        with pytest.raises(DiskFullError, match="nothing of this"), atomic_store(tmp_path / "e.zarr", "estimates"):
            no_space()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["r.zarr"]
    writer.append("train", **part(frames, 20, 35))  # room again: the same writer goes on
    assert np.array_equal(Recording.open(path)["train"].voltage(), frames["voltage"])


def test_failed_rewrite_keeps_the_old_store(tmp_path: Path) -> None:
    with atomic_store(tmp_path / "e.zarr", "estimates") as group:
        group.attrs["generation"] = 1
    with pytest.raises(ZeroDivisionError), atomic_store(tmp_path / "e.zarr", "estimates"):
        _ = 1 / 0
    assert open_store(tmp_path / "e.zarr", "estimates").attrs["generation"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["e.zarr"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"voltage": np.zeros((3, 5))}, "got fields"),
        ({"voltage": np.zeros((3, 4)), "stimulus": np.zeros((3, 3))}, r"expected \(3, 5\)"),
        ({"voltage": np.zeros((3, 5)), "stimulus": np.zeros((2, 3))}, r"expected \(3, 3\)"),
        ({"voltage": np.zeros((36, 5)), "stimulus": np.zeros((36, 3))}, "at most 35"),
    ],
)
def test_misshapen_appends_are_refused(tmp_path: Path, small_wiring: Wiring, fields: dict, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        new_writer(tmp_path / "r.zarr", small_wiring).append("train", **fields)


KILLED_WRITER = """
import sys, time
import numpy as np
from lobula.data.store import RecordingWriter
from lobula.data.wiring import Wiring

wiring = Wiring.from_edges(np.array([[0], [1]]), 50)
writer = RecordingWriter.create_or_resume(
    sys.argv[1], wiring, 0.02, {"train": 200}, fields=("voltage",), digest="a", chunk_frames=10)
for start in range(writer.n_frames_written("train"), 200, 10):
    writer.append("train", voltage=np.random.default_rng(start).standard_normal((10, 50)))
    time.sleep(float(sys.argv[2]))
"""


def test_killed_writer_resumes_to_the_same_recording(tmp_path: Path) -> None:
    path = tmp_path / "killed.zarr"
    command = [sys.executable, "-c", KILLED_WRITER, str(path)]
    process = subprocess.Popen([*command, "0.05"])
    counter = path / "train/zarr.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (counter.exists() and '"n_frames_written": 3' in counter.read_text()):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < Recording.open(path)["train"].n_frames < 200
    subprocess.run([*command, "0"], check=True)
    whole = [np.random.default_rng(start).standard_normal((10, 50)) for start in range(0, 200, 10)]
    assert np.array_equal(Recording.open(path)["train"].voltage(), np.concatenate(whole).astype("f4"))


def test_the_store_knows_the_range_that_was_visited(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    path, voltage = tmp_path / "r.zarr", frames["voltage"]
    new_writer(path, small_wiring).append("train", **part(frames, 0, 25))
    (path / "train/visited/c/1/0").unlink()  # as if it were lost: the chunk is written again
    RecordingWriter.resume(path).append("train", **part(frames, 10, 35))
    (path / "train/voltage/c/2/0").unlink()  # not looked at
    low, high = Recording.open(path)["train"].visited_range
    assert np.array_equal(low, voltage.min(0))
    assert np.array_equal(high, voltage.max(0))


def test_a_range_that_is_not_finite_names_the_frame(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    frames["voltage"][17, 3] = np.nan
    new_writer(tmp_path / "r.zarr", small_wiring).append("train", **frames)
    with pytest.raises(NonFiniteError, match="train/voltage: nan at frame 17, neuron 3"):
        _ = Recording.open(tmp_path / "r.zarr")["train"].visited_range


def test_a_store_without_the_visited_range_is_read(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    path, voltage = tmp_path / "r.zarr", frames["voltage"]
    new_writer(path, small_wiring).append("train", **part(frames, 0, 20))
    for split in PLANNED:
        shutil.rmtree(path / split / "visited")
    RecordingWriter.resume(path).append("train", **part(frames, 20, 35))
    low, high = Recording.open(path)["train"].visited_range
    assert np.array_equal(low, voltage.min(0))
    assert np.array_equal(high, voltage.max(0))


@pytest.mark.parametrize("width", [1, 217, 4_194, 4_195, 13_741, 45_669])
def test_chunks_stay_small_and_even(width: int) -> None:
    tile = tile_width(width)
    n_tiles = -(-width // tile)
    assert tile * 2_000 * 4 <= 32 * 2**20
    assert n_tiles * tile - width < n_tiles  # no sliver at the end


def test_size_is_an_upper_bound(tmp_path: Path, small_wiring: Wiring, frames: dict) -> None:
    new_writer(tmp_path / "r.zarr", small_wiring).append("train", **frames)
    assert recording_bytes(35, 5, 3) == frames["voltage"].nbytes + frames["stimulus"].nbytes
