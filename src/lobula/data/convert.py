"""From a store of an earlier program to a recording of ours, chunk by chunk; interrupted, it goes on where it was."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lobula.data.fields import check_finite
from lobula.data.legacy import LegacyStore, find_stores, open_array
from lobula.data.recording import boundaries
from lobula.data.run_dir import combined_digest, listing_digest
from lobula.data.store import RecordingWriter
from lobula.data.wiring import Wiring
from lobula.data.zarr_format import CHUNK_FRAMES
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError

logger = logging.getLogger(__name__)

BLOCK_BYTES = 128 * 2**20  # of one field
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd and without pattern: 2^64 over the golden ratio
VERSION = 1  # raise it when the same source gives another recording


@dataclass(frozen=True, eq=False)
class Part:
    """The frames that become one split.

    Attributes:
        store: where they are.
        start: first frame.
        stop: one past the last.
        drift: zarr array (T, N) or (T, N, 1) with dv/dt of the store's frames, or None.
    """

    store: LegacyStore
    start: int
    stop: int
    drift: Any = None


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset in an old layout, and how it is cut.

    Attributes:
        folders: where the files that belong to the stores may be: in them or beside them.
        parts: by split.
    """

    folders: tuple[Path, ...]
    parts: dict[str, Part]

    @classmethod
    def open(cls, path: str | Path, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> "Source":
        """Find the stores and cut them.

        A single store is cut in time by `shares`. Of a dataset with a test store of its own, the training store gives
        training and validation frames in their proportion.

        Args:
            path: a store, or a folder with ``x_list_0``, or with ``x_list_train`` and ``x_list_test``.
            shares: of train, validation and test.

        Raises:
            MissingInputError: if there is no old store.
            ShapeError: if stores do not fit together, or a split gets fewer than two frames.
            ConfigError: if the shares are not valid.
        """
        found = find_stores(path)
        if not found:
            what = "no old store here" if Path(path).exists() else "does not exist"
            raise MissingInputError(
                f"{path}: {what}, expected voltage.zarr, or metadata.zarr and timeseries.zarr, or an array (T, N, 9), "
                "in it, in x_list_0, or in x_list_train and x_list_test; check the path"
            )
        stores = {split: LegacyStore(store) for split, store in found.items()}
        first = next(iter(stores.values()))
        for store in stores.values():
            if store.n_neurons != first.n_neurons:
                raise ShapeError(
                    f"{store.path}: {store.n_neurons} neurons, expected {first.n_neurons} as in {first.path}"
                )
        parts = _cut(stores, shares)
        drifts = {id(store): _drift(store) for store in stores.values()}
        if all(drift is not None for drift in drifts.values()):
            parts = {split: replace(part, drift=drifts[id(part.store)]) for split, part in parts.items()}
        return cls((first.path, first.path.parent), parts)

    @property
    def first(self) -> LegacyStore:
        """The store whose static fields hold."""
        return next(iter(self.parts.values())).store

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        return self.first.n_neurons

    @property
    def fields(self) -> tuple[str, ...]:
        """Dynamic fields that every part has."""
        every = [set(part.store.fields) for part in self.parts.values()]
        return tuple(name for name in self.first.fields if all(name in others for others in every))

    @property
    def has_drift(self) -> bool:
        """Whether dv/dt is there (``y_list_*`` beside the stores)."""
        return all(part.drift is not None for part in self.parts.values())

    @property
    def n_frames(self) -> dict[str, int]:
        """Frames by split."""
        return {split: part.stop - part.start for split, part in self.parts.items()}

    def blocks(self, split: str, field: str, size: int, start: int = 0) -> Iterator[np.ndarray]:
        """(t, N) float32 frames of a split from `start` on, `size` at a time, checked to be finite."""
        part = self.parts[split]
        for low in range(part.start + start, part.stop, size):
            high = min(low + size, part.stop)
            if field == "drift":
                block = np.array(part.drift[low:high], dtype=np.float32).reshape(high - low, -1)
            else:
                block = part.store.window(field, low, high)
            check_finite(block, f"{part.store.path}/{field}", low, 0)
            yield block

    def stimulus_columns(self, size: int, advance: Callable[[int], None] = lambda n: None) -> tuple[np.ndarray, int]:
        """Which neurons always receive the same stimulus.

        Args:
            size: frames read at a time.
            advance: is told how many frames were read.

        Returns:
            (N,) column of every neuron, -1 for those that never receive any, and the number of columns.
        """
        traces = np.zeros(self.n_neurons, dtype=np.uint64)
        driven = np.zeros(self.n_neurons, dtype=bool)
        for split in self.parts:
            for block in self.blocks(split, "stimulus", size):
                driven |= (block != 0).any(axis=0)
                for frame in (block + np.float32(0)).view(np.uint32):  # + 0 makes -0 the same as 0
                    traces = (traces ^ frame) * _HASH_FACTOR
                    traces ^= traces >> np.uint64(29)
                advance(len(block))
        columns = np.full(self.n_neurons, -1, dtype=np.int64)
        _, first, inverse = np.unique(traces[driven], return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))  # columns in the order of their first neurons
        columns[driven] = rank[inverse.reshape(-1)]
        return columns, len(first)

    def digest(self) -> str:
        """Digest of the stores and the cut."""
        cut = [f"{split} {part.start} {part.stop} {part.store.path.resolve()}" for split, part in self.parts.items()]
        listings = [listing_digest(part.store.path) for part in self.parts.values()]
        return combined_digest(*cut, *listings, f"drift {self.has_drift}")


@dataclass(frozen=True, eq=False)
class Conversion:
    """Everything that decides a converted recording.

    Attributes:
        source: the old dataset.
        wiring: the circuit's wiring, with stimulus columns if the stimulus is stored per column.
        dt: time between frames [s].
        fields: dynamic fields to write.
    """

    source: Source
    wiring: Wiring
    dt: float
    fields: tuple[str, ...]

    @property
    def chunk_frames(self) -> int:
        """Frames per chunk: 2,000, or fewer for circuits so large that a block would not fit."""
        return max(1, min(CHUNK_FRAMES, BLOCK_BYTES // (4 * self.source.n_neurons)))

    @property
    def digest(self) -> str:
        """Digest of everything that decides the recording."""
        arrays = hashlib.sha256(self.wiring.edge_index.tobytes())
        if self.wiring.stimulus_column is not None:
            arrays.update(self.wiring.stimulus_column.tobytes())
        settings = f"dt {self.dt!r} fields {self.fields} version {VERSION}"
        return combined_digest(self.source.digest(), arrays.hexdigest(), settings)


def plan_conversion(
    source: Source, edges: np.ndarray, dt: float, advance: Callable[[int], None] = lambda n: None
) -> Conversion:
    """Check everything and look through the stimulus; nothing is written yet.

    Args:
        source: the old dataset.
        edges: (2, E) row 0 presynaptic, row 1 postsynaptic.
        dt: time between frames [s]; the old layouts do not hold it.
        advance: is told how many frames of the stimulus were read.

    Raises:
        ConfigError: if dt is not valid.
        ShapeError: if the edges do not fit the neurons.
        MissingInputError: if there is no voltage.
    """
    if not np.isfinite(dt) or dt <= 0:
        raise ConfigError(f"dt: got {dt}, expected seconds > 0")
    if "voltage" not in source.fields:
        raise MissingInputError(f"{source.first.path}: no voltage, expected it; there is nothing to fit")
    wiring, fields = Wiring.from_edges(edges, source.n_neurons), ["voltage"]
    if "stimulus" in source.fields:
        size = max(1, min(CHUNK_FRAMES, BLOCK_BYTES // (4 * source.n_neurons)))
        columns, n_columns = source.stimulus_columns(size, advance)
        if n_columns == 0:
            logger.info("the stimulus is 0 everywhere and left out")
        else:
            fields.append("stimulus")
            if n_columns < source.n_neurons:
                wiring = Wiring.from_edges(edges, source.n_neurons, columns, n_columns=n_columns)
    return Conversion(source, wiring, float(dt), (*fields, "drift") if source.has_drift else tuple(fields))


def convert(
    plan: Conversion,
    out: Path,
    before: Callable[[str, int, int, np.ndarray, np.ndarray | None], None] | None = None,
    advance: Callable[[int], None] = lambda n: None,
    resume: bool = True,
) -> None:
    """Write the recording store.

    The recorded voltage is the sum of the fields voltage and noise, where there is noise.

    Args:
        plan: from `plan_conversion`.
        out: the store; one of ours is continued if it was begun by the same conversion, and replaced if not.
        before: called with split, chunk, first frame, voltage of the chunk without noise, and noise, before the chunk
            is written.
        advance: is told how many frames were written.
        resume: False starts again.

    Raises:
        NonFiniteError: if there is NaN or infinity.
        StoreError: if a chunk of the source is missing, or `out` is foreign.
        DiskFullError: if there is no room; what was written is kept.
    """
    source, wiring = plan.source, plan.wiring
    options: dict[str, Any] = {
        "static": _static(plan),
        "columns": _column_positions(plan),
        "attributes": _origin(source),
    }
    make = RecordingWriter.create_or_resume if resume else RecordingWriter.create
    with make(
        out,
        wiring,
        plan.dt,
        source.n_frames,
        plan.fields,
        digest=plan.digest,
        chunk_frames=plan.chunk_frames,
        **options,
    ) as writer:
        for split in source.parts:
            start = writer.n_frames_written(split)
            advance(start)
            for fields, noise in _frames(plan, split, start):
                if before is not None:
                    before(split, start // plan.chunk_frames, start, fields["voltage"], noise)
                if noise is not None:
                    fields["voltage"] = fields["voltage"] + noise
                writer.append(split, **fields)
                start += len(fields["voltage"])
                advance(len(fields["voltage"]))


def _frames(plan: Conversion, split: str, start: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray | None]]:
    """The chunks of a split from frame `start` on: fields as they are stored, and the measurement noise."""
    source, size = plan.source, plan.chunk_frames
    names = (*plan.fields, "noise") if "noise" in source.fields else plan.fields
    streams = [source.blocks(split, name, size, start) for name in names]
    for blocks in zip(*streams, strict=True):
        fields = dict(zip(names, blocks, strict=True))
        if not fields["voltage"].any():
            part = source.parts[split]
            first = part.start + start
            last = first + len(fields["voltage"]) - 1
            raise StoreError(
                f"{part.store.path}: voltage is 0 in all frames {first}..{last}, expected activity; the "
                "chunk is probably missing, copy the store again"
            )
        noise = fields.pop("noise", None)
        if "stimulus" in fields and plan.wiring.stimulus_column is not None:
            _, representative = np.unique(plan.wiring.stimulus_column[plan.wiring.driven], return_index=True)
            fields["stimulus"] = fields["stimulus"][:, plan.wiring.driven[representative]]
        yield fields, noise
        start += len(fields["voltage"])


def _static(plan: Conversion) -> dict[str, np.ndarray]:
    """What an experimenter knows of the neurons: positions. Cell types are an answer, they belong to the truth."""
    pos = plan.source.first.static.get("pos")
    return {} if pos is None else {"pos": pos}


def _column_positions(plan: Conversion) -> np.ndarray | None:
    pos, columns = plan.source.first.static.get("pos"), plan.wiring.stimulus_column
    if pos is None or columns is None:
        return None
    driven = plan.wiring.driven
    return pos[driven[np.unique(columns[driven], return_index=True)[1]]]


def _origin(source: Source) -> dict[str, object]:
    return {"converted_from": {"layout": source.first.layout, "name": source.folders[-1].resolve().name}}


def _cut(stores: Mapping[str, LegacyStore], shares: tuple[float, float, float]) -> dict[str, Part]:
    if "" in stores:
        store = stores[""]
        spans = boundaries(store.n_frames, shares)
        return {split: Part(store, low, high) for split, (low, high) in spans.items()}
    parts = {split: Part(store, 0, store.n_frames) for split, store in stores.items()}
    train = stores["train"]
    lacking = [split for split in ("validation", "test") if split not in stores]
    kept = [share if name == "train" or name in lacking else 0.0 for name, share in _named(shares)]
    cut = boundaries(train.n_frames, (kept[0] / sum(kept), kept[1] / sum(kept), kept[2] / sum(kept)))
    parts |= {split: Part(train, low, high) for split, (low, high) in cut.items()}
    return {split: parts[split] for split in ("train", "validation", "test") if split in parts}


def _named(shares: tuple[float, float, float]) -> list[tuple[str, float]]:
    if min(shares) < 0 or shares[0] <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"splits: got {shares}, expected three shares >= 0 (train > 0) that add up to 1")
    return list(zip(("train", "validation", "test"), shares, strict=True))


def _drift(store: LegacyStore) -> Any:
    """The array y_list_* beside a store x_list_*, if it is there and fits."""
    name = store.path.name.removesuffix(".zarr").removesuffix(".npy")
    path = store.path.with_name(f"{name.replace('x_list', 'y_list')}.zarr")
    if not name.startswith("x_list") or not path.is_dir():
        return None
    array = open_array(path)
    if array.shape[:2] != (store.n_frames, store.n_neurons) or array.shape[2:] not in ((), (1,)):
        raise ShapeError(
            f"{path}: got shape {array.shape}, expected ({store.n_frames}, {store.n_neurons}) as in {store.path}"
        )
    return array
