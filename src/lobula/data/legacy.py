"""Stores of earlier programs, read without loading them: which layout it is, and its fields by name.

=======  ==========================================================================================================
layout   what is there
=======  ==========================================================================================================
v3       a directory with one zarr array per field: ``voltage.zarr`` (T, N), ``stimulus.zarr``, ..., ``pos.zarr`` (N, 2)
v2       a directory with ``metadata.zarr`` (N, 4 or 5) and ``timeseries.zarr`` (T, N, 4)
v1       a zarr array (T, N, 9)
npy      a NumPy file (T, N, 9)
=======  ==========================================================================================================

Zarr arrays may be of format 2 or 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from lobula.data.state import DYNAMIC_FIELDS, PACKED_POS, PACKED_SCALARS, PACKED_WIDTH, STATIC_FIELDS
from lobula.errors import MissingInputError, ShapeError, StoreError

Layout = Literal["v3", "v2", "v1", "npy"]
V2_DYNAMIC = ("voltage", "stimulus", "calcium", "fluorescence")
V2_STATIC: dict[int, dict[str, int | slice]] = {5: {"index": 0, "pos": slice(1, 3), "group_type": 3, "neuron_type": 4}}
V2_STATIC[4] = {"pos": slice(0, 2), "group_type": 2, "neuron_type": 3}
SPLIT_FOLDERS = {"train": "x_list_train", "validation": "x_list_validation", "test": "x_list_test"}
WHOLE_FOLDER = "x_list_0"


def detect_layout(path: str | Path) -> Layout | None:
    """Which of the old layouts is at a path; None if it is none of them."""
    path = Path(path)
    if path.is_file():
        return "npy" if path.suffix == ".npy" else None
    if (path / "voltage.zarr").is_dir():
        return "v3"
    if (path / "metadata.zarr").is_dir() and (path / "timeseries.zarr").is_dir():
        return "v2"
    return "v1" if _is_array(path) else None


def find_stores(path: str | Path) -> dict[str, Path]:
    """The old stores at a path, by split; a single one that is not split has the key "".

    Args:
        path: a store (its suffix may be left out), or a dataset folder with ``x_list_train`` and ``x_list_test``, or
            with ``x_list_0``.

    Returns:
        Empty if there is no old store.
    """
    path = Path(path)
    single = next((store for store in _spelled(path) if detect_layout(store)), None)
    if single is None:
        single = next((store for store in _spelled(path / WHOLE_FOLDER) if detect_layout(store)), None)
    if single is not None:
        return {"": single}
    found = {}
    for split, name in SPLIT_FOLDERS.items():
        store = next((store for store in _spelled(path / name) if detect_layout(store)), None)
        if store is not None:
            found[split] = store
    return found if "train" in found else {}


@dataclass(frozen=True, eq=False)
class _Column:
    """A dynamic field: an array, and which of its last axis's columns; None where the field has an array of its own."""

    array: Any
    column: int | None

    def read(self, start: int, stop: int) -> np.ndarray:
        """(t, N) float32."""
        values = self.array[start:stop] if self.column is None else self.array[start:stop, :, self.column]
        return np.array(values, dtype=np.float32).reshape(stop - start, -1)


class LegacyStore:
    """A recording in one of the old layouts; frames are read when asked for, and only of the fields asked for.

    Args:
        path: the store.

    Attributes:
        path: the store.
        layout: "v3", "v2", "v1" or "npy".
        n_frames: number of frames T.
        n_neurons: number of neurons N.
        static: index (N,), pos (N, 2), group_type (N,), neuron_type (N,), as far as they are there.

    Raises:
        MissingInputError: if there is nothing.
        StoreError: if it is none of the old layouts, or cannot be read.
        ShapeError: if its arrays do not fit together.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise MissingInputError(f"{path}: no such store; check the path")
        layout = detect_layout(self.path)
        if layout is None:
            raise StoreError(
                f"{path}: none of the old layouts, expected a directory with voltage.zarr, or with metadata.zarr and "
                "timeseries.zarr, or a zarr array or .npy file (T, N, 9); check the path"
            )
        self.layout: Layout = layout
        if layout == "v3":
            self._dynamic, self.static = self._open_fields()
        elif layout == "v2":
            self._dynamic, self.static = self._open_two()
        else:
            self._dynamic, self.static = self._open_packed()
        self.n_frames, self.n_neurons = self._checked_shape()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the dynamic fields."""
        return tuple(self._dynamic)

    def window(self, field: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - start, N) float32 frames of a dynamic field, NaN and infinity as they are.

        Raises:
            MissingInputError: if the store does not hold the field.
            ShapeError: if the frames are not within the store.
            StoreError: if they cannot be decoded.
        """
        stop = self.n_frames if stop is None else stop
        if field not in self._dynamic:
            raise MissingInputError(f"{self.path}: holds {', '.join(self.fields)}, but no {field}")
        if not 0 <= start <= stop <= self.n_frames:
            raise ShapeError(f"{self.path}: got frames {start}:{stop}, expected a range within 0:{self.n_frames}")
        try:
            return self._dynamic[field].read(start, stop)
        except (OSError, ValueError, RuntimeError, KeyError) as cause:
            raise StoreError(
                f"{self.path}: {field}: frames {start}..{stop - 1} cannot be decoded ({cause}); copy the store again"
            ) from cause

    def _open_fields(self) -> tuple[dict[str, _Column], dict[str, np.ndarray]]:
        dynamic = {name: self.path / f"{name}.zarr" for name in DYNAMIC_FIELDS}
        static = {name: self.path / f"{name}.zarr" for name in STATIC_FIELDS}
        columns = {name: _Column(open_array(file), None) for name, file in dynamic.items() if file.is_dir()}
        return columns, {name: np.asarray(open_array(file)[...]) for name, file in static.items() if file.is_dir()}

    def _open_two(self) -> tuple[dict[str, _Column], dict[str, np.ndarray]]:
        metadata = np.asarray(open_array(self.path / "metadata.zarr")[...])
        if metadata.ndim != 2 or metadata.shape[1] not in V2_STATIC:
            raise ShapeError(f"{self.path}/metadata.zarr: got shape {metadata.shape}, expected (n_neurons, 4 or 5)")
        series = open_array(self.path / "timeseries.zarr")
        if len(series.shape) != 3 or series.shape[2] != len(V2_DYNAMIC):
            raise ShapeError(
                f"{self.path}/timeseries.zarr: got shape {series.shape}, expected (n_frames, n_neurons, 4)"
            )
        columns = {name: _Column(series, column) for column, name in enumerate(V2_DYNAMIC)}
        return columns, {name: metadata[:, column] for name, column in V2_STATIC[metadata.shape[1]].items()}

    def _open_packed(self) -> tuple[dict[str, _Column], dict[str, np.ndarray]]:
        array = _memory_map(self.path) if self.layout == "npy" else open_array(self.path)
        if len(array.shape) != 3 or array.shape[2] != PACKED_WIDTH or not array.shape[0]:
            raise ShapeError(f"{self.path}: got shape {array.shape}, expected (n_frames, n_neurons, {PACKED_WIDTH})")
        first = np.array(array[0])
        named: Mapping[str, int | slice] = {**PACKED_SCALARS, "pos": PACKED_POS}
        columns = {name: _Column(array, PACKED_SCALARS[name]) for name in DYNAMIC_FIELDS if name in PACKED_SCALARS}
        return columns, {name: first[:, named[name]] for name in STATIC_FIELDS}

    def _checked_shape(self) -> tuple[int, int]:
        shapes = {}
        for name, field in self._dynamic.items():
            shape = tuple(field.array.shape)
            fits = field.column is not None or len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
            shapes[name] = shape[:2] if fits else shape
        lengths = {name: len(values) for name, values in self.static.items()}
        flat = all(len(shape) == 2 for shape in shapes.values())
        if not flat or len(set(shapes.values())) != 1 or set(lengths.values()) - {next(iter(shapes.values()))[-1]}:
            raise ShapeError(
                f"{self.path}: fields do not fit together ({shapes | lengths}), expected (n_frames, n_neurons) and "
                "(n_neurons,); the store was cut or is still being written"
            )
        n_frames, n_neurons = next(iter(shapes.values()))
        if n_frames < 1 or n_neurons < 1:
            raise ShapeError(f"{self.path}: {n_frames} frames of {n_neurons} neurons, expected at least one of each")
        self.static = {name: _typed(name, values, self.path) for name, values in self.static.items()}
        return n_frames, n_neurons


def open_array(path: Path) -> zarr.Array:
    """A zarr array of format 2 or 3, read-only.

    Raises:
        StoreError: if there is none, or it is damaged.
    """
    try:
        return zarr.open_array(path, mode="r")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as cause:
        raise StoreError(f"{path}: no readable zarr array ({cause}); copy the store again") from cause


def _is_array(path: Path) -> bool:
    if (path / ".zarray").is_file():
        return True
    if not (path / "zarr.json").is_file():
        return False
    try:
        zarr.open_array(path, mode="r")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return False
    return True


def _spelled(path: Path) -> tuple[Path, ...]:
    suffixed = [path.with_name(f"{path.name}{suffix}") for suffix in (".zarr", ".npy")] if path.name else []
    return path, *suffixed


def _memory_map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as cause:
        raise StoreError(f"{path}: no readable .npy file ({cause}); check the path") from cause


def _typed(name: str, values: np.ndarray, path: Path) -> np.ndarray:
    """(N, 2) float32 positions, else (N,) int64."""
    if name == "pos":
        if values.ndim != 2 or values.shape[1] != 2:
            raise ShapeError(f"{path}: pos has shape {values.shape}, expected (n_neurons, 2)")
        return np.array(values, dtype=np.float32)
    values = values.reshape(len(values), -1)
    if values.shape[1] != 1 or not np.isfinite(values).all() or (values != np.round(values)).any():
        raise ShapeError(f"{path}: {name} of shape {values.shape} is not one whole number per neuron")
    return values[:, 0].astype(np.int64)
