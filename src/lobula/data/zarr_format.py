"""How lobula lays a store out in zarr v3: kinds, versions, codecs, chunks, and what makes each step crash-safe."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from lobula.data.atomic import disk_full_as_error
from lobula.errors import MissingInputError, StoreError

FORMAT_VERSION = 1
CHUNK_FRAMES = 2_000
CHUNK_BYTES = 32 * 2**20  # an uncompressed chunk stays below this: a few of them in flight are still a small memory
FIELD_UNITS = {
    "voltage": "a.u.",
    "stimulus": "a.u.",
    "drift": "a.u./s",
    "calcium": "a.u.",
    "fluorescence": "a.u.",
    "noise": "a.u.",
}


def compressors() -> tuple[BloscCodec, Crc32cCodec]:
    """Fast byte-level compression with a checksum, so that a damaged chunk is noticed instead of read."""
    return BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle", typesize=4), Crc32cCodec()


def tile_width(width: int, chunk_frames: int = CHUNK_FRAMES) -> int:
    """Columns of one chunk, so that (chunk_frames, tile) float32 fits `CHUNK_BYTES` and the tiles are even."""
    fitting = max(1, CHUNK_BYTES // (4 * chunk_frames))
    n_tiles = max(1, -(-width // fitting))
    return max(1, -(-width // n_tiles))


def create_dynamic(group: zarr.Group, field: str, n_frames: int, width: int, chunk_frames: int) -> zarr.Array:
    """An empty (n_frames, width) float32 array, chunked in time and tiled over its columns."""
    return group.create_array(
        field,
        shape=(n_frames, width),
        dtype="float32",
        chunks=(chunk_frames, tile_width(width, chunk_frames)),
        compressors=compressors(),
        fill_value=0.0,
        attributes={"unit": FIELD_UNITS.get(field, "a.u.")},
        dimension_names=("time", "column" if field == "stimulus" else "neuron"),
        config={"write_empty_chunks": True},  # a chunk that is absent is lost, never "all zero"
    )


def create_static(group: zarr.Group, name: str, values: np.ndarray) -> zarr.Array:
    """A small array written once, in one chunk; read it with `read_static`."""
    values = np.ascontiguousarray(values)
    chunks = tuple(max(n, 1) for n in values.shape)
    config = {"write_empty_chunks": True}
    return group.create_array(name, data=values, chunks=chunks, compressors=Crc32cCodec(), config=config)


def is_store(path: Path) -> bool:
    """Whether a directory is a store that lobula wrote."""
    try:
        return "lobula" in json.loads((path / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def open_store(path: str | Path, kind: str) -> zarr.Group:
    """Open a store read-only and check that it is one of ours and of the kind wanted.

    Args:
        path: the store's directory.
        kind: "recording", "truth" or "estimates".

    Raises:
        MissingInputError: if there is nothing at `path`.
        StoreError: if it is no zarr group, not from lobula, of another kind or of a newer version.
    """
    path = Path(path)
    if not path.exists():
        raise MissingInputError(f"{path}: no such {kind} store; run the stage that writes it, or check the path")
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
        label = dict(group.attrs).get("lobula")
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise StoreError(
            f"{path}: not a zarr v3 group ({_first_line(cause)}), expected a lobula {kind} store; check the path"
        ) from cause
    if not isinstance(label, dict) or "kind" not in label:
        raise StoreError(f"{path}: a foreign zarr group, expected a lobula {kind} store; check the path")
    if label["kind"] != kind:
        raise StoreError(f"{path}: a lobula {label['kind']} store, expected a {kind} store; check the path")
    if label.get("version") != FORMAT_VERSION:
        raise StoreError(
            f"{path}: store version {label.get('version')}, expected {FORMAT_VERSION}; read it with the lobula "
            "that wrote it, or write it again"
        )
    return group


@contextmanager
def atomic_store(path: str | Path, kind: str) -> Iterator[zarr.Group]:
    """Write a store beside its place and move it there when it is whole.

    A store of ours that is already there is replaced; any other directory is refused.

    Args:
        path: final directory.
        kind: "recording", "truth" or "estimates".

    Yields:
        An empty zarr group; what is written into it appears at `path` when the block ends without an error.

    Raises:
        StoreError: if `path` holds something that lobula did not write.
        DiskFullError: if the disk fills up; what was at `path` before is kept.
    """
    path = Path(path)
    if path.exists() and not is_store(path) and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"{path}: exists and is not a lobula store, expected a free path; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with disk_full_as_error(path, f"nothing of this {kind} store is kept"):
            label = {"kind": kind, "version": FORMAT_VERSION}
            yield zarr.create_group(temporary, zarr_format=3, attributes={"lobula": label})
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def commit_attributes(directory: Path, **attributes: object) -> None:
    """Change the attributes of a zarr node in one atomic step (write beside it, then rename)."""
    target = directory / "zarr.json"
    document = json.loads(target.read_text())
    document["attributes"] = {**document.get("attributes", {}), **attributes}
    temporary = target.with_suffix(".json.partial")
    try:
        temporary.write_text(json.dumps(document, indent=2))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def array_directory(array: zarr.Array) -> Path:
    """Directory of an array in a local store."""
    return Path(array.store.root) / array.path


def chunk_file(array: zarr.Array, row: int, tile: int) -> Path:
    """File of one chunk of a two-axis array."""
    return array_directory(array) / "c" / str(row) / str(tile)


def read_static(array: zarr.Array) -> np.ndarray:
    """Read an array that `create_static` wrote.

    Raises:
        StoreError: if its file is missing or damaged.
    """
    file = array_directory(array).joinpath("c", *["0"] * array.ndim)
    if array.size and not file.is_file():
        raise StoreError(f"{file}: missing; the store was cut or copied in part, write it again")
    try:
        return np.asarray(array[...])
    except (OSError, ValueError, RuntimeError, KeyError) as cause:
        raise StoreError(f"{file}: damaged ({_first_line(cause)}); write the store again") from cause


def read_chunk(array: zarr.Array, row: int, tile: int) -> np.ndarray:
    """Decode one chunk.

    Returns:
        (t, w) values; shorter than the chunk at the end of the recording.

    Raises:
        StoreError: if the chunk's file is missing or damaged.
    """
    frames, width = array.chunks
    file = chunk_file(array, row, tile)
    if not file.is_file():
        raise StoreError(f"{file}: this chunk is missing; the store was cut or copied in part, write it again")
    try:
        window = array[row * frames : (row + 1) * frames, tile * width : (tile + 1) * width]
        return np.asarray(window)
    except (OSError, ValueError, RuntimeError, KeyError) as cause:
        raise StoreError(f"{file}: this chunk is damaged ({_first_line(cause)}); write the store again") from cause


def _first_line(cause: BaseException) -> str:
    text = str(cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__
