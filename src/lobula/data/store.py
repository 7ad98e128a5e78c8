"""The recording store: one zarr v3 array per field, appended to in whole chunks of frames.

Layout of ``recording.zarr``::

    attributes            lobula {kind, version}, dt [s], fields, splits, chunk_frames, digest, and what the writer adds
    wiring/               edge_index (or connected, one bit per pair), stimulus_column, neuron_ids
    static/               per-neuron arrays that an experimenter knows, for example u, v
    columns               (H, 2) positions of the stimulus columns
    annotations/          what else an experimenter may know: cell_type, n_synapses, sign (`Annotations`); optional
    train|validation|test attributes n_frames_planned, n_frames_written;
                          arrays voltage (T, N), stimulus (T, H) and, if asked for, drift (T, N);
                          visited (2 K, N), lowest and highest voltage of every chunk;
                          with attribute trial_frames: after (K, N), the voltage one step after each trial

A frame exists once `n_frames_written` says so: the chunks of all fields are written first, then the number is
changed in one atomic step. A killed writer therefore leaves whole chunks and some files that nobody reads.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import zarr

from lobula.data.annotations import Annotations
from lobula.data.atomic import disk_full_as_error
from lobula.data.layout import AFTER, VISITED, check_layout, field_width
from lobula.data.wiring import Wiring
from lobula.data.zarr_format import (
    CHUNK_FRAMES,
    array_directory,
    atomic_store,
    chunk_file,
    commit_attributes,
    create_dynamic,
    create_static,
    open_store,
    read_chunk,
)
from lobula.errors import LobulaError, ShapeError, StoreError

logger = logging.getLogger(__name__)


class RecordingWriter:
    """Appends frames to a recording store, crash-safe.

    Make one with `create`, `resume` or `create_or_resume`. Frames may come in blocks of any size; they are held
    back until they fill a chunk (or the split), so blocks of `chunk_frames` are written without a copy.

    Attributes:
        path: the store's directory.
        attributes: what the store's root says (dt, fields, digest, seeds, ...).
    """

    def __init__(self, path: Path) -> None:
        """Open an existing store for appending; use `resume`, which also mends it."""
        self.path = path
        reading = open_store(path, "recording")
        self.attributes: dict = dict(reading.attrs)
        check_layout(path, reading)
        self._root = zarr.open_group(path, mode="r+", zarr_format=3, use_consolidated=False)
        self._fields: tuple[str, ...] = tuple(self.attributes["fields"])
        self._chunk: int = self.attributes["chunk_frames"]
        counts = {split: dict(self._root[split].attrs) for split in self.attributes["splits"]}
        self._planned = {split: int(count["n_frames_planned"]) for split, count in counts.items()}
        self._written = {split: int(count["n_frames_written"]) for split, count in counts.items()}
        self._has_trials = {split: "trial_frames" in count for split, count in counts.items()}
        self._has_range = {split: VISITED in self._root[split] for split in self._planned}
        self._held: dict[str, list[dict[str, np.ndarray]]] = {split: [] for split in self._planned}

    @classmethod
    def create(
        cls,
        path: str | Path,
        wiring: Wiring,
        dt: float,
        n_frames: Mapping[str, int],
        fields: tuple[str, ...] = ("voltage", "stimulus"),
        *,
        static: Mapping[str, np.ndarray] | None = None,
        columns: np.ndarray | None = None,
        annotations: Annotations | None = None,
        attributes: Mapping[str, object] | None = None,
        digest: str = "",
        chunk_frames: int = CHUNK_FRAMES,
        in_trials: tuple[str, ...] = (),
    ) -> "RecordingWriter":
        """Make an empty store; one of ours at the same path is replaced.

        Args:
            path: directory of the store.
            wiring: the circuit's wiring.
            dt: time between frames [s].
            n_frames: frames planned per split, for example ``{"train": 64_000, "test": 2_000}``.
            fields: dynamic fields; "stimulus" has one value per column of the wiring, or per neuron if it has none.
            static: per-neuron (N, ...) arrays that an experimenter knows.
            columns: (H, 2) positions of the stimulus columns.
            annotations: cell types, synapse counts and signs, as far as they are known.
            attributes: anything else to keep that JSON can hold (seeds, recipe name).
            digest: digest of everything that decides the content; `create_or_resume` compares it.
            chunk_frames: frames per chunk.
            in_trials: splits whose chunks are trials of their own; `end_trial` must precede each.

        Raises:
            StoreError: if `path` holds something that lobula did not write.
            DiskFullError: if there is no room.
        """
        path = Path(path)
        with atomic_store(path, "recording") as root:
            wiring.save(root.create_group("wiring"))
            group = root.create_group("static")
            for name, values in (static or {}).items():
                create_static(group, name, values)
            if columns is not None:
                create_static(root, "columns", np.asarray(columns))
            (annotations or Annotations()).save(root)
            for split, planned in n_frames.items():
                group = root.create_group(split, attributes={"n_frames_planned": int(planned), "n_frames_written": 0})
                for field in fields:
                    create_dynamic(group, field, int(planned), field_width(field, wiring), chunk_frames)
                create_dynamic(group, VISITED, 2 * -(-int(planned) // chunk_frames), wiring.n_neurons, 2)
                if split in in_trials:
                    group.attrs["trial_frames"] = int(chunk_frames)
                    create_dynamic(group, AFTER, -(-int(planned) // chunk_frames), wiring.n_neurons, 1)
            own = {"dt": float(dt), "dt_unit": "s", "fields": list(fields), "splits": list(n_frames)}
            own |= {"chunk_frames": int(chunk_frames), "digest": digest}
            root.attrs.update({**(attributes or {}), **own})
        return cls(path)

    @classmethod
    def resume(cls, path: str | Path) -> "RecordingWriter":
        """Open a store that a killed writer left, cut back to its last whole chunk.

        Raises:
            MissingInputError: if there is no store.
            StoreError: if it is foreign, or its layout is damaged.
        """
        writer = cls(Path(path))
        for split in writer._planned:
            writer._mend(split)
        return writer

    @classmethod
    def create_or_resume(cls, path: str | Path, *args, digest: str, **kwargs) -> "RecordingWriter":
        """`resume` if `path` holds a sound store with this digest, else `create` (same arguments)."""
        try:
            writer = cls.resume(path)
        except LobulaError as reason:
            logger.debug("starting a new recording: %s", reason)
        else:
            if writer.attributes.get("digest") == digest:
                return writer
            logger.info("%s was made with other settings; writing it again", path)
        return cls.create(path, *args, digest=digest, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def n_frames_planned(self, split: str) -> int:
        """Frames that the split will have."""
        return self._planned[self._known(split)]

    def n_frames_written(self, split: str) -> int:
        """Frames that a reader can see."""
        return self._written[self._known(split)]

    def is_finished(self, split: str | None = None) -> bool:
        """Whether one split, or every split, has all its frames."""
        splits = self._planned if split is None else [self._known(split)]
        return all(self._written[name] == self._planned[name] for name in splits)

    def last_frame(self, split: str, field: str = "voltage") -> np.ndarray | None:
        """(N,) float32 last stored frame of a field, the state to go on from; None before the first chunk."""
        n_written = self.n_frames_written(split)
        return None if n_written == 0 else np.asarray(self._array(split, field)[n_written - 1])

    def append(self, split: str, **fields: np.ndarray) -> None:
        """Append frames to a split.

        Args:
            split: one of the splits of the store.
            fields: one (t, width) array per field of the store, all with the same t.

        Raises:
            ShapeError: if a field is missing, unknown or misshapen, or the split would get too long.
            DiskFullError: if the disk is full; the chunks written before are kept.
        """
        n_new = self._checked_length(self._known(split), fields)
        if n_new == 0:
            return
        self._held[split].append({name: np.asarray(fields[name], dtype=np.float32) for name in self._fields})
        while block := self._next_chunk(split):
            self._write_chunk(split, block)

    def end_trial(self, split: str, trial: int, after: np.ndarray) -> None:
        """Store the (N,) voltage one step after a trial's last frame, before the frames of that trial are appended."""
        if not self._has_trials[self._known(split)]:
            raise StoreError(f"{self.path}: {split} has no trials; name it in `in_trials` when creating the store")
        with disk_full_as_error(self.path, f"trial {trial} of {split} is lost"):
            self._array(split, AFTER)[trial] = after

    def close(self) -> None:
        """Drop frames that do not fill a chunk; everything else is on disk already."""
        for split, held in self._held.items():
            if n_held := sum(len(part[self._fields[0]]) for part in held):
                logger.warning("%s: %d frames of %s do not fill a chunk and are dropped", self.path, n_held, split)
            held.clear()

    def _array(self, split: str, field: str) -> zarr.Array:
        with zarr.config.set({"array.write_empty_chunks": True}):  # what is opened forgets how it was created
            return self._root[f"{split}/{field}"]

    def _known(self, split: str) -> str:
        if split not in self._planned:
            raise StoreError(f"{self.path}: no split {split!r}, expected one of {', '.join(self._planned)}")
        return split

    def _n_held(self, split: str) -> int:
        return sum(len(part[self._fields[0]]) for part in self._held[split])

    def _checked_length(self, split: str, fields: Mapping[str, np.ndarray]) -> int:
        if set(fields) != set(self._fields):
            raise ShapeError(f"append: got fields {sorted(fields)}, expected {sorted(self._fields)}")
        n_new = len(fields[self._fields[0]])
        for name, values in fields.items():
            expected = (n_new, self._array(split, name).shape[1])
            if np.shape(values) != expected:
                raise ShapeError(f"append: {name} has shape {np.shape(values)}, expected {expected}")
        total = self._written[split] + self._n_held(split) + n_new
        if total > self._planned[split]:
            raise ShapeError(f"append: {split} would have {total} frames, expected at most {self._planned[split]}")
        return n_new

    def _next_chunk(self, split: str) -> dict[str, np.ndarray] | None:
        """The frames of the next chunk, taken from those held back, or None if they do not fill it."""
        wanted = min(self._chunk, self._planned[split] - self._written[split])
        held = self._held[split]
        if wanted == 0 or self._n_held(split) < wanted:
            return None
        if len(held) == 1 and len(held[0][self._fields[0]]) == wanted:
            return held.pop()
        joined = {name: np.concatenate([part[name] for part in held]) for name in self._fields}
        rest = {name: values[wanted:].copy() for name, values in joined.items()}
        held[:] = [rest] if len(rest[self._fields[0]]) else []
        return {name: values[:wanted] for name, values in joined.items()}

    def _write_chunk(self, split: str, block: Mapping[str, np.ndarray]) -> None:
        start = self._written[split]
        stop = start + len(block[self._fields[0]])
        kept = ", ".join(f"{name} {count:,} frames" for name, count in self._written.items())
        with disk_full_as_error(self.path, f"kept so far: {kept}"):
            try:
                for name, values in block.items():
                    self._array(split, name)[start:stop] = values
                if self._has_range[split]:
                    row, voltage = 2 * (start // self._chunk), block["voltage"]
                    self._array(split, VISITED)[row : row + 2] = np.stack([voltage.min(0), voltage.max(0)])
                commit_attributes(self.path / split, n_frames_written=stop)
            except OSError:
                self._held[split].clear()
                self._discard_after(split, start)
                raise
        self._written[split] = stop

    def _mend(self, split: str) -> None:
        """Cut a split back to the frames whose chunks are all there, and remove what lies beyond them."""
        n_rows = -(-self._written[split] // self._chunk)
        sound = next((row for row in range(n_rows) if not self._row_exists(split, row)), n_rows)
        while sound and not self._row_decodes(split, sound - 1):
            sound -= 1
        n_frames = min(sound * self._chunk, self._written[split])
        if n_frames < self._written[split]:
            logger.warning("%s: %s cut from %d to %d frames", self.path, split, self._written[split], n_frames)
            commit_attributes(self.path / split, n_frames_written=n_frames)
            self._written[split] = n_frames
        self._discard_after(split, n_frames)

    def _row_fields(self, split: str) -> tuple[str, ...]:
        """Arrays that have one row of chunk files per chunk of frames."""
        visited = (VISITED,) if self._has_range[split] else ()
        return (*self._fields, *visited, *((AFTER,) if self._has_trials[split] else ()))

    def _row_exists(self, split: str, row: int) -> bool:
        arrays = [self._array(split, field) for field in self._row_fields(split)]
        return all(chunk_file(array, row, tile).is_file() for array in arrays for tile in range(array.cdata_shape[1]))

    def _row_decodes(self, split: str, row: int) -> bool:
        try:
            for field in self._row_fields(split):
                array = self._array(split, field)
                for tile in range(array.cdata_shape[1]):
                    read_chunk(array, row, tile)
        except StoreError as reason:
            logger.warning("%s", reason)
            return False
        return True

    def _discard_after(self, split: str, n_frames: int) -> None:
        first = -(-n_frames // self._chunk)
        for field in self._fields:
            directory = array_directory(self._array(split, field)) / "c"
            for row in directory.iterdir() if directory.is_dir() else ():
                if row.name.isdigit() and int(row.name) >= first:
                    shutil.rmtree(row, ignore_errors=True)
