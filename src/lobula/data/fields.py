"""Where the values of one dynamic field come from: chunks of a zarr array, or an array in memory.

Both sources answer the same two calls, so nothing above them knows which one it has.
"""

from collections import OrderedDict
from threading import Lock
from typing import Protocol

import numpy as np
import zarr

from lobula.data.zarr_format import read_chunk
from lobula.errors import NonFiniteError


class FieldSource(Protocol):
    """A (T, W) float32 field that is read in windows of time."""

    @property
    def width(self) -> int:
        """Number of columns W."""
        ...

    @property
    def chunk_frames(self) -> int:
        """Frames that are decoded together; reading within one such stretch is cheap."""
        ...

    def window(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, W) float32 copy of the frames start..stop-1."""
        ...

    def rows(self, frames: np.ndarray) -> np.ndarray:
        """(B, W) float32 copy of the frames asked for, in their order."""
        ...


class ChunkCache:
    """The chunks decoded last, bounded in bytes; shared by all fields of a recording and safe between threads.

    Args:
        max_bytes: bound on the sum of the chunks kept. A chunk that is larger is decoded each time.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._chunks: OrderedDict[tuple[str, int, int], np.ndarray] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, int, int]) -> np.ndarray | None:
        """The chunk under `key`, or None."""
        with self._lock:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
            return chunk

    def put(self, key: tuple[str, int, int], chunk: np.ndarray) -> None:
        """Keep a chunk, and drop those used longest ago until the bound holds."""
        if chunk.nbytes > self.max_bytes:
            return
        with self._lock:
            replaced = self._chunks.pop(key, None)
            self.n_bytes += chunk.nbytes - (0 if replaced is None else replaced.nbytes)
            self._chunks[key] = chunk
            while self.n_bytes > self.max_bytes:
                self.n_bytes -= self._chunks.popitem(last=False)[1].nbytes


class ZarrField:
    """A field in a store; a chunk is decoded and checked once, then taken from the cache.

    Args:
        array: (T, W) float32, chunked in both axes.
        name: name for messages, for example "train/voltage".
        cache: shared cache of decoded chunks.
    """

    def __init__(self, array: zarr.Array, name: str, cache: ChunkCache) -> None:
        self._array = array
        self._name = name
        self._cache = cache

    @property
    def width(self) -> int:
        """Number of columns W."""
        return self._array.shape[1]

    @property
    def chunk_frames(self) -> int:
        """Frames per chunk."""
        return self._array.chunks[0]

    def window(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, W) float32 copy of the frames start..stop-1."""
        frames, width = self._array.chunks
        result = np.empty((stop - start, self.width), dtype=np.float32)
        for row in range(start // frames, -(-stop // frames)):
            low, high = max(start, row * frames), min(stop, (row + 1) * frames)
            for tile in range(self._array.cdata_shape[1]):
                chunk = self._chunk(row, tile)
                columns = slice(tile * width, tile * width + chunk.shape[1])
                result[low - start : high - start, columns] = chunk[low - row * frames : high - row * frames]
        return result

    def rows(self, frames: np.ndarray) -> np.ndarray:
        """(B, W) float32 copy of the frames asked for, in their order; every chunk is touched once."""
        per_chunk, width = self._array.chunks
        result = np.empty((len(frames), self.width), dtype=np.float32)
        for row in np.unique(frames // per_chunk):
            wanted = np.flatnonzero(frames // per_chunk == row)
            within = frames[wanted] - row * per_chunk
            for tile in range(self._array.cdata_shape[1]):
                chunk = self._chunk(int(row), tile)
                result[wanted, tile * width : tile * width + chunk.shape[1]] = chunk[within]
        return result

    def _chunk(self, row: int, tile: int) -> np.ndarray:
        key = (self._name, row, tile)
        chunk = self._cache.get(key)
        if chunk is None:
            chunk = read_chunk(self._array, row, tile)
            frames, width = self._array.chunks
            check_finite(chunk, self._name, row * frames, tile * width)
            self._cache.put(key, chunk)
        return chunk


class ArrayField:
    """A field in memory or in a memory map.

    Args:
        values: (T, W) numbers.
        name: name for messages, for example "train/voltage".
        first_frame: frame number of the first row in the array that the caller gave, for messages.
        chunk_frames: a stretch of frames that a sampler should treat as one piece.
    """

    def __init__(self, values: np.ndarray, name: str, first_frame: int, chunk_frames: int) -> None:
        self._values = values
        self._name = name
        self._first_frame = first_frame
        self._chunk_frames = chunk_frames

    @property
    def width(self) -> int:
        """Number of columns W."""
        return self._values.shape[1]

    @property
    def chunk_frames(self) -> int:
        """Frames that belong together for a sampler."""
        return self._chunk_frames

    def window(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, W) float32 copy of the frames start..stop-1."""
        block = np.array(self._values[start:stop], dtype=np.float32)
        check_finite(block, self._name, self._first_frame + start, 0)
        return block

    def rows(self, frames: np.ndarray) -> np.ndarray:
        """(B, W) float32 copy of the frames asked for, in their order."""
        block = np.array(self._values[frames], dtype=np.float32)
        if not _is_finite(block):
            worst = int(frames[np.flatnonzero(~np.isfinite(block).all(axis=1))[0]])
            self.window(worst, worst + 1)  # raises, with the right frame number
        return block


def check_finite(block: np.ndarray, name: str, first_frame: int, first_column: int) -> None:
    """Raise if a block holds NaN or infinity.

    Args:
        block: (t, w) values.
        name: "split/field".
        first_frame: frame number of the first row.
        first_column: column number of the first column.

    Raises:
        NonFiniteError: naming field, frame and neuron of the first bad value.
    """
    if _is_finite(block):
        return
    bad = np.argwhere(~np.isfinite(block))
    frame, column = bad[0]
    what = "column" if name.endswith("stimulus") else "neuron"
    raise NonFiniteError(
        f"{name}: {block[frame, column]} at frame {first_frame + frame}, {what} {first_column + column} "
        f"({len(bad)} such values nearby), expected finite numbers; repair or leave out these frames"
    )


def _is_finite(block: np.ndarray) -> bool:
    # min and max carry NaN and infinity along without a boolean copy of the block
    return block.size == 0 or bool(np.isfinite(block.min()) and np.isfinite(block.max()))
