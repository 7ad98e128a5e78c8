"""Random frames from a recording of any length, on the device that trains.

Frames are drawn from a pool of decoded chunks. If all chunks fit the budget the pool is the whole split; else it
slides over a shuffled ring of chunks, one chunk at a time, while a thread decodes the next and copies it to a spare
place. What step s draws depends on the seed and s alone, so a resumed training sees the frames that the uninterrupted
one would have seen.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lobula.data.split import Split, TargetKind
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring
from lobula.errors import ShapeError

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
        later_voltage: (K, B, N) recorded voltage of the K frames that follow, where more than one is unrolled.
        later_external: (K - 1, B, N) external input of all of them but the last.
        noise: (K, B, N) standard normal, where the regime asks for noise.
    """

    voltage: Tensor
    external: Tensor
    target: Tensor
    first: Tensor
    later_voltage: Tensor | None = None
    later_external: Tensor | None = None
    noise: Tensor | None = None

    def path(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Voltage (K + 1, B, N), external input (K, B, N) and noise (K, B, N) along the unrolled frames.

        Raises:
            ShapeError: if the frames that follow were not asked for.
        """
        if self.later_voltage is None or self.later_external is None:
            raise ShapeError("batch: holds single frames, expected those that follow too; make the pool with unrolled")
        voltage = torch.cat([self.voltage[None], self.later_voltage])
        return voltage, torch.cat([self.external[None], self.later_external]), self.noise


@dataclass(frozen=True)
class Window:
    """Which frames a batch takes.

    Attributes:
        n_frames: frames that are unrolled after each frame of the batch; 0 for single frames with their target.
        aligned: frames start at multiples of ``n_frames``.
        consecutive: the frames of a batch follow each other.
        noise: whether the batch brings noise.
    """

    n_frames: int = 0
    aligned: bool = False
    consecutive: bool = False
    noise: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether every frame that has a target can be drawn."""
        return self.n_frames <= 1 and not self.consecutive

    def starts(self, first: int, last: int, batch_size: int, split: Split) -> np.ndarray:
        """Frames in [first, last) from which the whole window lies in the split, and in one trial."""
        frames = np.arange(first, last)
        reach = max(self.n_frames, 1) + (batch_size - 1 if self.consecutive else 0)
        fits = frames + reach < split.n_frames
        if split.trials is not None:
            fits &= frames % split.trials.n_frames + reach < split.trials.n_frames
        if self.aligned:
            fits &= frames % max(self.n_frames, 1) == 0
        return frames[fits] - first


def pool_bytes(device: torch.device) -> int:
    """Memory for decoded chunks on a device: a part of what is free on a GPU, 1 GiB elsewhere."""
    if device.type != "cuda":
        return POOL_BYTES
    torch.cuda.empty_cache()  # what torch keeps of steps before is free, too
    return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0])


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
        window: which frames; default single ones.

    Raises:
        ShapeError: if the split is too short for the window.
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
        window: Window = Window(),
    ) -> None:
        self.window = window
        self.split, self.target, self.streams, self.batch_size = split, target, streams, batch_size
        self.part, self.device = part, device
        n = split.n_targets(target)
        self.starts = np.arange(0, n, CHUNK_FRAMES)
        self.stops = np.minimum(self.starts + CHUNK_FRAMES, n)
        reach = max(window.n_frames, 1) + (batch_size if window.consecutive else 0)
        self.n_slots = _n_slots(split, wiring, target, pool_bytes, reach, device, len(self.starts))
        self._has_all = self.n_slots == len(self.starts)
        self._chunks: dict[int, tuple[int, Future[Any]]] = {}
        self._slots = _Slots(split, wiring, target, self.n_slots + (not self._has_all), device, reach)
        spans = zip(self.starts, self.stops, strict=True)
        self._valid = None if window.is_plain else [window.starts(int(a), int(b), batch_size, split) for a, b in spans]
        if self._valid is not None and min((len(v) for v in self._valid[:-1]), default=sum(map(len, self._valid))) == 0:
            raise ShapeError(
                f"training.time_step: {reach} frames in a row do not fit, got {split.n_frames} frames"
                + (f" in trials of {split.trials.n_frames}" if split.trials is not None else "")
                + "; lower training.time_step or training.batch_size, or record longer"
            )
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
        if self._valid is not None:
            lengths = np.array([len(self._valid[c]) for c in chunks])
        n_drawn = 1 if self.window.consecutive else self.batch_size
        flat = rng.integers(0, lengths.sum(), n_drawn)
        which = np.searchsorted(np.cumsum(lengths), flat, side="right")
        inside = flat - (np.cumsum(lengths) - lengths)[which]
        if self._valid is not None:
            inside = np.array([self._valid[c][k] for c, k in zip(chunks[which], inside, strict=True)])
        slots = np.array([self._chunks[c][0] for c in chunks])[which]
        if self.window.consecutive:
            slots, inside = np.repeat(slots, self.batch_size), inside + np.arange(self.batch_size)
        noise = self.streams.torch_generator("sampling", "noise", step) if self.window.noise else None
        return self._slots.batch(slots, inside, self.part, self.window.n_frames, noise)

    def close(self) -> None:
        """Stops the reading thread, and waits for what it copies."""
        self._reader.shutdown(wait=True, cancel_futures=True)
        if self._slots.side is not None:
            self._slots.side.synchronize()


def _is_stored(split: Split, target: TargetKind) -> bool:
    """Whether targets are kept beside the voltage; else they are differences of frames that follow each other."""
    return target == "drift" or split.trials is not None


def _n_slots(
    split: Split, wiring: Wiring, target: TargetKind, n_bytes: int, reach: int, device: torch.device, n_chunks: int
) -> int:
    """Chunks that a pool holds: all, or as many as fit, which on a GPU leaves room for the one that comes next."""
    if n_chunks < 2:
        return 1
    if device.type != "cuda":  # what a CPU draws depends on it
        return int(np.clip(n_bytes // (2 * CHUNK_FRAMES * wiring.n_neurons * 4), 2, n_chunks))
    row = split.stimulus(0, 1)
    width = wiring.n_neurons * (1 + _is_stored(split, target)) + (0 if row is None else row.shape[-1] + 1)
    n = n_bytes // (4 * width * (CHUNK_FRAMES + reach))
    return n_chunks if n >= n_chunks else max(2, n - 1)


class _Slots:
    """Places for decoded chunks on a device, and batches from the frames in them."""

    def __init__(
        self, split: Split, wiring: Wiring, target: TargetKind, n: int, device: torch.device, reach: int = 1
    ) -> None:
        self.split, self.target, self.n, self.device, self.reach = split, target, n, device, reach
        self.rows, n_neurons = min(CHUNK_FRAMES, split.n_targets(target)) + reach, wiring.n_neurons
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
                more = self.reach if not self.stored or self.reach > 1 else 0
                last = stop + (more if name == "voltage" or self.reach > 1 else 0)
                frames = self.split.window(name, start, min(last, self.split.n_frames))
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

    def batch(
        self,
        slots: np.ndarray,
        inside: np.ndarray,
        part: slice,
        n_later: int = 0,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """A part of a batch, given by the (B,) place of every frame and its (B,) row there, with the frames after."""
        rows = self._sent(torch.from_numpy(slots * self.rows + inside))
        own = rows[part]
        voltage = self._frames("voltage", own)
        target = self._frames("target", own) if self.stored else (self._frames("voltage", own + 1) - voltage) / self.dt
        batch = Batch(voltage, self._external(own), target, self._frames("voltage", rows[:1]))
        if n_later == 0:
            return batch
        later = torch.stack([self._frames("voltage", own + k + 1) for k in range(n_later)])
        external = [self._external(own + k) for k in range(1, n_later)]
        noise = None
        if generator is not None:
            whole = torch.randn(n_later, len(rows), voltage.shape[1], generator=generator)
            noise = self._sent(whole[:, part].contiguous())
        inputs = torch.stack(external) if external else voltage.new_zeros(0, *voltage.shape)
        return replace(batch, later_voltage=later, later_external=inputs, noise=noise)

    def _sent(self, values: Tensor) -> Tensor:
        """The same on the device, which the host does not wait for."""
        return values if self.side is None else values.pin_memory().to(self.device, non_blocking=True)

    def _external(self, rows: Tensor) -> Tensor:
        if "stimulus" in self.places:
            return self._frames("stimulus", rows).index_select(1, self.column)
        return torch.zeros(len(rows), self.places["voltage"].shape[-1], device=self.device)

    def _frames(self, name: str, rows: Tensor) -> Tensor:
        return self.places[name].flatten(0, 1).index_select(0, rows)
