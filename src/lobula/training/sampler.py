"""Random frames from a recording of any length, without holding it whole.

Frames are drawn from a pool of decoded chunks. If all chunks fit the budget the pool is the whole split; else it
slides over a shuffled ring of chunks, one chunk at a time, while a thread decodes the next. What step s draws depends
on the seed and s alone, so a resumed training sees the frames that the uninterrupted one would have seen.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lobula.data.split import Split, TargetKind
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring

POOL_BYTES = 1 << 30
CHUNK_FRAMES = 1000
STEPS_PER_CHUNK = 50


@dataclass(frozen=True)
class Batch:
    """Frames for one step.

    Attributes:
        voltage, external, target: (B, N) float32 voltage, external input and dv/dt.
        first: (1, N) voltage of the first frame of the whole batch, of which these frames may be a part.
    """

    voltage: Tensor
    external: Tensor
    target: Tensor
    first: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


@dataclass(frozen=True)
class _Chunk:
    voltage: np.ndarray
    stimulus: np.ndarray | None
    target: np.ndarray


class FramePool:
    """Draws random batches from a split.

    Args:
        split: where the frames are.
        wiring: maps the stimulus to neurons.
        target: "observed" or "drift".
        streams: random streams; "sampling" is used.
        batch_size: frames per step.
        pool_bytes: memory for decoded chunks.
        part: frames of each batch that are given out; default all.
    """

    def __init__(
        self,
        split: Split,
        wiring: Wiring,
        target: TargetKind,
        streams: Streams,
        batch_size: int,
        pool_bytes: int = POOL_BYTES,
        part: slice = slice(None),
    ) -> None:
        self.part = part
        self.split, self.wiring, self.target, self.streams, self.batch_size = split, wiring, target, streams, batch_size
        n = split.n_targets(target)
        self.starts = np.arange(0, n, CHUNK_FRAMES)
        self.stops = np.minimum(self.starts + CHUNK_FRAMES, n)
        per_chunk = 2 * CHUNK_FRAMES * wiring.n_neurons * 4
        self.n_slots = int(np.clip(pool_bytes // per_chunk, 2, len(self.starts))) if len(self.starts) > 1 else 1
        self._chunks: dict[int, Future[_Chunk]] = {}
        self._reader = ThreadPoolExecutor(1)

    def _ring(self, period: int) -> list[int]:
        n = len(self.starts)
        if self.n_slots == n:
            return list(range(n))
        positions = [period + k for k in range(self.n_slots)]
        return [int(self._order(p // n)[p % n]) for p in positions]

    def _order(self, lap: int) -> np.ndarray:
        return self.streams.generator("sampling", "chunks", lap).permutation(len(self.starts))

    def _read(self, chunk: int) -> _Chunk:
        start, stop = int(self.starts[chunk]), int(self.stops[chunk])
        split = self.split
        return _Chunk(split.voltage(start, stop), split.stimulus(start, stop), split.target(self.target, start, stop))

    def _hold(self, period: int) -> list[_Chunk]:
        now = self._ring(period)
        ahead = now if self.n_slots == len(self.starts) else [*now, self._ring(period + 1)[-1]]
        self._chunks = {c: x for c, x in self._chunks.items() if c in ahead}
        for c in ahead:
            if c not in self._chunks:
                self._chunks[c] = self._reader.submit(self._read, c)
        return [self._chunks[c].result() for c in now]

    def batch(self, step: int) -> Batch:
        """The frames of one step."""
        chunks = self._hold(step // STEPS_PER_CHUNK)
        rng = self.streams.generator("sampling", "frames", step)
        lengths = np.array([len(c.target) for c in chunks])
        flat = rng.integers(0, lengths.sum(), self.batch_size)
        flat = np.concatenate([flat[self.part], flat[:1]])
        which = np.searchsorted(np.cumsum(lengths), flat, side="right")
        inside = flat - (np.cumsum(lengths) - lengths)[which]
        voltage = np.stack([chunks[c].voltage[t] for c, t in zip(which, inside, strict=True)])
        target = np.stack([chunks[c].target[t] for c, t in zip(which, inside, strict=True)])
        if chunks[0].stimulus is None:
            external = np.zeros_like(voltage)
        else:
            rows = np.stack([chunks[c].stimulus[t] for c, t in zip(which, inside, strict=True)])
            external = self.wiring.spread(rows)
        v, e, y = (torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) for x in (voltage, external, target))
        return Batch(v[:-1], e[:-1], y[:-1], v[-1:])

    def close(self) -> None:
        """Stops the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)
