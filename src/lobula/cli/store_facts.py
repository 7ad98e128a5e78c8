"""What a store or an array file holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import zarr

from lobula.data.layout import AFTER, VISITED
from lobula.data.run_dir import MANIFEST
from lobula.data.zarr_format import read_chunk
from lobula.errors import MissingInputError, StoreError


@dataclass(frozen=True)
class ArrayFacts:
    """What an array holds.

    Attributes:
        name: path inside the store.
        shape: its shape; the first axis counts the frames that are there, not those planned.
        dims: what its axes are, if the store says.
        dtype: type of its items.
        unit: of its items, if the store says.
        low: smallest finite value, None if there is none or the items are no numbers.
        high: largest finite value.
        n_nan: values that are NaN.
        n_inf: values that are infinite.
        n_damaged: chunks that are missing or cannot be decoded.
    """

    name: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: str
    unit: str
    low: float | None
    high: float | None
    n_nan: int
    n_inf: int
    n_damaged: int


@dataclass(frozen=True)
class StoreFacts:
    """What a file or store holds.

    Attributes:
        path: where.
        kind: "recording", "truth", "estimates", "npz" or "npy".
        attributes: plain values that it carries (dt, seeds, ...).
        frames: by split, frames written and planned.
        arrays: its arrays.
    """

    path: str
    kind: str
    attributes: dict[str, Any]
    frames: dict[str, tuple[int, int]]
    arrays: list[ArrayFacts]


def describe(path: Path) -> StoreFacts:
    """Read all of a store, a chunk at a time.

    Raises:
        MissingInputError: if there is nothing.
        StoreError: if it is nothing that lobula or NumPy wrote.
    """
    if not path.exists():
        raise MissingInputError(f"{path}: no such file or store; check the path")
    if path.is_file():
        return _describe_file(path)
    if (path / MANIFEST).is_file():
        raise StoreError(f"{path}: a run directory, expected a store in it, for example {path / 'recording.zarr'}")
    try:
        root = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
        attributes = dict(root.attrs)
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise StoreError(f"{path}: neither a zarr v3 group nor .npz nor .npy; check the path") from cause
    frames = {}
    for split in attributes.get("splits", ()):
        counts = dict(root[split].attrs) if split in root else {}
        frames[split] = (int(counts.get("n_frames_written", 0)), int(counts.get("n_frames_planned", 0)))
    arrays = [_zarr_facts(array, _length(array, frames, attributes)) for array in _arrays(root)]
    return StoreFacts(str(path), _kind(path, attributes), _plain(attributes), frames, arrays)


def _kind(path: Path, attributes: dict[str, Any]) -> str:
    label, form = attributes.get("lobula"), str(attributes.get("format", ""))
    if isinstance(label, dict) and "kind" in label:
        return str(label["kind"])
    if form.startswith("lobula-"):
        return form.removeprefix("lobula-")
    raise StoreError(f"{path}: a foreign zarr group, expected a store that lobula wrote; check the path")


def _arrays(group: zarr.Group) -> Iterator[zarr.Array]:
    """All arrays of a group, those of its subgroups included, by name."""
    for _, array in sorted(group.arrays()):
        yield array
    for _, inner in sorted(group.groups()):
        yield from _arrays(inner)


def _length(array: zarr.Array, frames: dict[str, tuple[int, int]], attributes: dict[str, Any]) -> int | None:
    """Rows of an array of a split that are there, not those planned; None for other arrays."""
    split, _, name = array.path.partition("/")
    if split not in frames:
        return None
    written = frames[split][0]
    return written if name not in (AFTER, VISITED) else -(-written // attributes["chunk_frames"]) * array.chunks[0]


def _zarr_facts(array: zarr.Array, length: int | None) -> ArrayFacts:
    is_dynamic = length is not None  # its chunks are never absent; elsewhere zarr leaves a chunk of zeros out
    shape = array.shape if length is None else (length, *array.shape[1:])
    tally = _Tally()
    for corner, region in _chunks(shape, array.chunks):
        try:
            tally.add(read_chunk(array, *corner) if is_dynamic else np.asarray(array[region]))
        except (OSError, ValueError, RuntimeError, KeyError):
            tally.n_damaged += 1
    dims = tuple(str(name) for name in array.metadata.dimension_names or ())
    unit = str(dict(array.attrs).get("unit", ""))
    return tally.facts(array.path, shape, dims, str(array.dtype), unit)


def _chunks(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Number of every chunk of an array, and the part of the array that it holds."""
    for corner in np.ndindex(*(-(-length // size) for length, size in zip(shape, chunks, strict=True))):
        yield corner, tuple(slice(i * size, (i + 1) * size) for i, size in zip(corner, chunks, strict=True))


class _Tally:
    """Counts over the chunks of one array."""

    def __init__(self) -> None:
        self.low: float | None = None
        self.high: float | None = None
        self.n_nan = self.n_inf = self.n_damaged = 0

    def add(self, values: np.ndarray) -> None:
        """Count one chunk; items that are no numbers have no range."""
        if values.dtype.kind not in "biuf" or values.size == 0:
            return
        finite = np.isfinite(values)
        n_nan = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        self.n_nan += n_nan
        self.n_inf += values.size - int(finite.sum()) - n_nan
        if finite.any():
            low, high = float(values[finite].min()), float(values[finite].max())
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)

    def facts(self, name: str, shape: tuple[int, ...], dims: tuple[str, ...], dtype: str, unit: str) -> ArrayFacts:
        """The counts with what the array says of itself."""
        return ArrayFacts(name, shape, dims, dtype, unit, self.low, self.high, self.n_nan, self.n_inf, self.n_damaged)


def _describe_file(path: Path) -> StoreFacts:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [(name, file[name]) for name in file.files]
        kind = "npz"
    except (AttributeError, TypeError):  # .npy gives the array itself
        arrays, kind = [(path.stem, np.load(path, mmap_mode="r"))], "npy"
    except (OSError, ValueError, EOFError, BadZipFile) as cause:
        raise StoreError(f"{path}: no readable .npz or .npy file ({cause}); check the path") from cause
    facts = []
    for name, values in arrays:
        tally = _Tally()
        tally.add(values)
        facts.append(tally.facts(name, values.shape, (), str(values.dtype), ""))
    return StoreFacts(str(path), kind, {}, {}, facts)


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    hidden = ("lobula", "splits")
    return {name: value for name, value in attributes.items() if name not in hidden and len(str(value)) <= 200}
