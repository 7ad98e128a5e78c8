"""One split of a recording: consecutive frames that are read in windows, blocks or one by one."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from lobula.data.fields import ArrayField, FieldSource
from lobula.errors import ConfigError, MissingInputError, NonFiniteError, ShapeError, StillError

TargetKind = Literal["observed", "drift"]
STILL = 1e-4
"""Of the largest voltage: what moves less is a circuit that rests."""
BLOCK_FRAMES = 1_000  # half a chunk: twice the reads from the cache, half the memory


@dataclass(frozen=True, eq=False)
class Block:
    """A stretch of consecutive frames.

    Attributes:
        start: first frame.
        voltage: (t, N) float32 [a.u.].
        stimulus: (t, H) or (t, N) float32, or None.
        target: (t, N) float32 dv/dt [a.u./s], or None if none was asked for.
    """

    start: int
    voltage: np.ndarray
    stimulus: np.ndarray | None
    target: np.ndarray | None

    @property
    def stop(self) -> int:
        """One past the last frame."""
        return self.start + len(self.voltage)


@dataclass(frozen=True, eq=False)
class Trials:
    """A split that consists of trials of one length, recorded apart from each other.

    Attributes:
        n_frames: frames of a trial; the last may be shorter.
        after: (K, N) float32 voltage one step after the last frame of each trial [a.u.].
    """

    n_frames: int
    after: np.ndarray


class Split:
    """One split of a recording (train, validation or test): frames in order, without a gap, or trial after trial.

    Frame t is the state before step t; ``stimulus[t]`` acts during step t.
    """

    def __init__(
        self,
        name: str,
        fields: Mapping[str, FieldSource],
        n_frames: int,
        n_planned: int,
        dt: float,
        trials: Trials | None = None,
        visited: FieldSource | None = None,
    ) -> None:
        self.name = name
        self.trials = trials
        self.n_frames = n_frames
        self.n_frames_planned = n_planned
        self.dt = dt
        self._fields = dict(fields)
        self._visited = visited

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {self.n_frames} frames of {', '.join(self._fields)})"

    def __len__(self) -> int:
        return self.n_frames

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the dynamic fields."""
        return tuple(self._fields)

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        return self._fields["voltage"].width

    @property
    def has_drift(self) -> bool:
        """Whether the simulator's noise-free dv/dt was recorded."""
        return "drift" in self._fields

    @property
    def has_stimulus(self) -> bool:
        """Whether a stimulus was recorded."""
        return "stimulus" in self._fields

    @property
    def is_complete(self) -> bool:
        """Whether all planned frames are there."""
        return self.n_frames == self.n_frames_planned

    @property
    def chunk_frames(self) -> int:
        """Frames that are decoded together; a sampler that stays within them reads fast."""
        return self._fields["voltage"].chunk_frames

    def voltage(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - start, N) float32 membrane potential [a.u.]."""
        return self.window("voltage", start, stop)

    @cached_property
    def visited_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest voltage of every neuron over all frames, each (N,) float32 [a.u.].

        A store says so chunk by chunk; of arrays, and of stores without it, all frames are read once.
        """
        if self._visited is not None:
            with suppress(NonFiniteError):  # reading the frames names the bad one
                rows = self._visited.window(0, 2 * -(-self.n_frames // self.chunk_frames))
                return rows[::2].min(0), rows[1::2].max(0)
        low = high = self.voltage(0, 1)[0]
        for block in self.blocks(2 * BLOCK_FRAMES):
            low, high = np.minimum(low, block.voltage.min(0)), np.maximum(high, block.voltage.max(0))
        return low, high

    def check_moves(self) -> None:
        """One clear line for a circuit that rests: nothing can be told from it.

        Raises:
            StillError: if no voltage moves by more than `STILL` of the largest.
        """
        low, high = self.visited_range
        moved, largest = float((high - low).max()), float(max(np.abs(low).max(), np.abs(high).max()))
        if moved <= STILL * largest:
            raise StillError(
                f"{self.name}: no voltage moves by more than {moved:.2g} where voltages are up to {largest:.2g}, "
                f"expected {STILL * largest:.2g} at least: the circuit rests; use a stimulus, noise or other weights"
            )

    def stimulus(self, start: int = 0, stop: int | None = None) -> np.ndarray | None:
        """(stop - start, H) or (stop - start, N) float32 stimulus, or None if there is none; see `Wiring.spread`."""
        return self.window("stimulus", start, stop) if self.has_stimulus else None

    def drift(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - start, N) float32 the simulator's noise-free dv/dt [a.u./s].

        Raises:
            MissingInputError: if it was not recorded.
        """
        if not self.has_drift:
            raise MissingInputError(
                f"{self.name}: no drift in this recording; simulate with simulation.record_drift=true, or use "
                "training.target=observed"
            )
        return self.window("drift", start, stop)

    def n_targets(self, kind: str = "observed") -> int:
        """Frames that have a target: all for "drift", all but the last for "observed", all where there are trials."""
        _check_kind(kind)
        return self.n_frames if kind == "drift" or self.trials is not None else max(self.n_frames - 1, 0)

    def target(self, kind: str = "observed", start: int = 0, stop: int | None = None) -> np.ndarray:
        """What a one-step estimator fits.

        .. math:: y(t) = (v(t+1) - v(t)) / dt \\quad\\text{(observed)}, \\qquad y(t) = drift(t)

        Args:
            kind: "observed" (what an experimenter has) or "drift" (a simulator's exact dv/dt).
            start: first frame.
            stop: one past the last frame; default `n_targets(kind)`.

        Returns:
            (stop - start, N) float32 [a.u./s].
        """
        stop = self.n_targets(kind) if stop is None else stop
        if kind == "drift":
            return self.drift(start, stop)
        return self._observed(start, stop)[1]

    def _observed(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Voltage and observed target of the frames start..stop-1, from one read."""
        voltage = self.window("voltage", start, stop + 1 if self.trials is None else min(stop + 1, self.n_frames))
        target = np.empty((stop - start, voltage.shape[1]), dtype=np.float32)
        np.subtract(voltage[1:], voltage[:-1], out=target[: len(voltage) - 1])
        if self.trials is not None:
            length = self.trials.n_frames
            for trial in range(start // length, -(-stop // length)):
                end = min((trial + 1) * length, self.n_frames) - 1
                if end < stop:
                    target[end - start] = self.trials.after[trial] - voltage[end - start]
        target /= np.float32(self.dt)
        return voltage[: stop - start], target

    def frames(self, indices: np.ndarray, field: str = "voltage") -> np.ndarray:
        """Single frames, in any order, with every chunk touched once.

        Args:
            indices: (B,) frame numbers.
            field: dynamic field.

        Returns:
            (B, W) float32.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.ndim != 1 or (indices.size and (indices.min() < 0 or indices.max() >= self.n_frames)):
            raise ShapeError(
                f"{self.name}: frames out of range, expected one axis of numbers in 0..{self.n_frames - 1}"
            )
        return self._source(field).rows(indices)

    def with_drift(self, drift: np.ndarray) -> "Split":
        """The first frames with another dv/dt (T, N) [a.u./s] in place of the recorded one; without trials."""
        fields = self._fields | {"drift": ArrayField(drift, f"{self.name}/drift", 0, self.chunk_frames)}
        return Split(self.name, fields, len(drift), len(drift), self.dt, None, self._visited)

    def blocks(
        self, size: int = BLOCK_FRAMES, target: str | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[Block]:
        """Stream the split in time, `size` frames at a time; only a block and the cache are in memory.

        Args:
            size: frames per block; the last block may be shorter. Multiples of `chunk_frames` read fastest.
            target: also read this target; the stream then ends at the last frame that has one.
            start: first frame.
            stop: one past the last frame.
        """
        if size < 1:
            raise ShapeError(f"blocks: got size {size}, expected at least 1")
        last = self.n_frames if target is None else self.n_targets(target)
        stop = last if stop is None else min(stop, last)
        for low in range(start, stop, size):
            high = min(low + size, stop)
            if target == "observed":  # one read serves both
                voltage, observed = self._observed(low, high)
                yield Block(low, voltage, self.stimulus(low, high), observed)
            else:
                drift = self.drift(low, high) if target == "drift" else None
                yield Block(low, self.voltage(low, high), self.stimulus(low, high), drift)

    def _source(self, field: str) -> FieldSource:
        if field not in self._fields:
            raise MissingInputError(f"{self.name}: no field {field!r}, expected one of {', '.join(self._fields)}")
        return self._fields[field]

    def window(self, field: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - start, W) float32 frames of any dynamic field.

        Raises:
            ShapeError: if the frames are not within the split.
            NonFiniteError: if there is NaN or infinity in what is read.
        """
        stop = self.n_frames if stop is None else stop
        if not 0 <= start <= stop <= self.n_frames:
            raise ShapeError(f"{self.name}: got frames {start}:{stop}, expected a range within 0:{self.n_frames}")
        return self._source(field).window(start, stop)


def _check_kind(kind: str) -> None:
    if kind not in ("observed", "drift"):
        raise ConfigError(f"target: got {kind!r}, expected 'observed' or 'drift'")
