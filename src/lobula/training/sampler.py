"""Random frames from a recording of any length, on the device that trains.

Frames are drawn from a pool of decoded chunks. If all chunks fit the budget the pool is the whole split; else it
slides over a shuffled ring of chunks, one chunk at a time, while a thread decodes the next and copies it to a spare
place. What step s draws depends on the seed and s alone, so a resumed training sees the frames that the uninterrupted
one would have seen.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lobula.data.split import Split, TargetKind
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring

logger = logging.getLogger(__name__)

POOL_BYTES = 1 << 30
GPU_SHARE = 0.6
"""Share of a GPU's free memory that the pool may take; the rest is for the networks."""
CHUNK_FRAMES = 1000
STEPS_PER_CHUNK = 50
CPU = torch.device("cpu")


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


def pool_bytes(device: torch.device) -> int:
    """Memory for decoded chunks on a device: a part of what is free on a GPU, 1 GiB elsewhere."""
    return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else POOL_BYTES


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
        device: where the chunks are kept and the batches are put together.
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
        device: torch.device = CPU,
    ) -> None:
        self.split, self.target, self.streams, self.batch_size = split, target, streams, batch_size
        self.part, self.device = part, device
        n = split.n_targets(target)
        self.starts = np.arange(0, n, CHUNK_FRAMES)
        self.stops = np.minimum(self.starts + CHUNK_FRAMES, n)
        n_fields = 1 if device.type == "cuda" and not _is_stored(split, target) else 2
        per_chunk = n_fields * CHUNK_FRAMES * wiring.n_neurons * 4
        self.n_slots = int(np.clip(pool_bytes // per_chunk, 2, len(self.starts))) if len(self.starts) > 1 else 1
        self._has_all = self.n_slots == len(self.starts)
        self._chunks: dict[int, tuple[int, Future[Any]]] = {}
        self._slots = _Slots(split, wiring, target, self.n_slots + (not self._has_all), device)
        self._free = list(range(self._slots.n))
        self._held: tuple[int, np.ndarray] | None = None
        self._reader = ThreadPoolExecutor(1)
        if device.type == "cuda":
            logger.info("%s holds %d of %d chunks of the training frames", device, self.n_slots, len(self.starts))

    def _ring(self, period: int) -> list[int]:
        n = len(self.starts)
        if self._has_all:
            return list(range(n))
        positions = [period + k for k in range(self.n_slots)]
        return [int(self._order(p // n)[p % n]) for p in positions]

    def _order(self, lap: int) -> np.ndarray:
        return self.streams.generator("sampling", "chunks", lap).permutation(len(self.starts))

    def _hold(self, period: int) -> np.ndarray:
        """Chunks of the pool in a period, all of them loaded; the one that comes next begins to load."""
        if self._held is not None and self._held[0] == period:
            return self._held[1]
        now = self._ring(period)
        ahead = now if self._has_all else [*now, self._ring(period + 1)[-1]]
        for c in [c for c in self._chunks if c not in ahead]:
            self._free.append(self._chunks.pop(c)[0])
        used = self._slots.mark()
        for c in ahead:
            if c not in self._chunks:
                slot = self._free.pop()
                span = int(self.starts[c]), int(self.stops[c])
                self._chunks[c] = slot, self._reader.submit(self._slots.load, slot, *span, used)
        for c in now:
            self._slots.await_copy(self._chunks[c][1].result())
        self._held = period, np.array(now)
        return self._held[1]

    def batch(self, step: int) -> Batch:
        """The frames of one step."""
        chunks = self._hold(step // STEPS_PER_CHUNK)
        rng = self.streams.generator("sampling", "frames", step)
        lengths = (self.stops - self.starts)[chunks]
        flat = rng.integers(0, lengths.sum(), self.batch_size)
        which = np.searchsorted(np.cumsum(lengths), flat, side="right")
        inside = flat - (np.cumsum(lengths) - lengths)[which]
        slots = np.array([self._chunks[c][0] for c in chunks])[which]
        return self._slots.batch(slots, inside, self.part)

    def close(self) -> None:
        """Stops the reading thread."""
        self._reader.shutdown(wait=True, cancel_futures=True)


def _is_stored(split: Split, target: TargetKind) -> bool:
    """Whether targets are kept beside the voltage; else they are differences of frames that follow each other."""
    return target == "drift" or split.trials is not None


class _Slots:
    """Places for decoded chunks on a device, and batches from the frames in them."""

    def __init__(self, split: Split, wiring: Wiring, target: TargetKind, n: int, device: torch.device) -> None:
        self.split, self.target, self.n, self.device = split, target, n, device
        self.rows, n_neurons = min(CHUNK_FRAMES, split.n_targets(target)) + 1, wiring.n_neurons
        self.places = {"voltage": torch.empty(n, self.rows, n_neurons, device=device)}
        self.stored = _is_stored(split, target)
        if self.stored:
            self.places["target"] = torch.empty(n, self.rows, n_neurons, device=device)
        self.dt = torch.tensor(split.dt, dtype=torch.float32, device=device)
        if (row := split.stimulus(0, 1)) is not None:
            wiring.spread(row)  # raises if it is neither per column nor per neuron
            width, column = row.shape[-1], np.arange(n_neurons)
            if wiring.stimulus_column is not None and width == wiring.n_columns:
                column = np.where(wiring.stimulus_column < 0, width, wiring.stimulus_column)
            self.column = torch.as_tensor(column, device=device)
            self.places["stimulus"] = torch.zeros(n, self.rows, width + 1, device=device)  # the last column stays 0
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def mark(self) -> torch.cuda.Event | None:
        """The moment after all steps so far, on a GPU: from then on places that were given up may be filled."""
        return None if self.side is None else torch.cuda.current_stream(self.device).record_event()

    def await_copy(self, copied: torch.cuda.Event | None) -> None:
        """Lets the steps that follow wait for a copy; the host goes on."""
        if copied is not None:
            torch.cuda.current_stream(self.device).wait_event(copied)

    def load(self, slot: int, start: int, stop: int, used: torch.cuda.Event | None) -> torch.cuda.Event | None:
        """Reads frames into a place; on a GPU through pinned memory and beside the steps, once ``used`` has passed."""
        for name, place in self.places.items():
            if name == "target":
                frames = self.split.target(self.target, start, stop)
            else:
                frames = self.split.window(name, start, stop + (name == "voltage" and not self.stored))
            here = place[slot, : len(frames), : frames.shape[1]]
            if self.side is None or used is None:
                here.numpy()[...] = frames
                continue
            pinned = torch.empty(frames.shape, dtype=torch.float32, pin_memory=True)
            pinned.numpy()[...] = frames
            with torch.cuda.stream(self.side):
                self.side.wait_event(used)
                here.copy_(pinned, non_blocking=True)
        return None if self.side is None else self.side.record_event()

    def batch(self, slots: np.ndarray, inside: np.ndarray, part: slice) -> Batch:
        """A part of a batch, given by the (B,) place of every frame and its (B,) row there."""
        rows = torch.from_numpy(slots * self.rows + inside)
        if self.side is not None:
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        own = rows[part]
        voltage = self._frames("voltage", own)
        external = torch.zeros_like(voltage)
        if "stimulus" in self.places:
            external = self._frames("stimulus", own).index_select(1, self.column)
        target = self._frames("target", own) if self.stored else (self._frames("voltage", own + 1) - voltage) / self.dt
        return Batch(voltage, external, target, self._frames("voltage", rows[:1]))

    def _frames(self, name: str, rows: Tensor) -> Tensor:
        return self.places[name].flatten(0, 1).index_select(0, rows)
