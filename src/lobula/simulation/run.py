"""The stage `simulate`: a config in, a recording and its truth out."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lobula.ahead import ahead
from lobula.config import ExperimentConfig
from lobula.config.applicable import RECORDING_SECTIONS
from lobula.data import RecordingWriter, Streams, combined_digest, listing_digest
from lobula.data.zarr_format import CHUNK_FRAMES
from lobula.errors import ConfigError
from lobula.simulation.graded import check_bounded
from lobula.simulation.preparation import SPLITS, Preparation, prepare
from lobula.simulation.side_by_side import Trial, group_size, one_thread, run_trials
from lobula.simulation.signal import describe
from lobula.simulation.truth import TruthWriter

logger = logging.getLogger(__name__)

RECORDING = "recording.zarr"
TRUTH = "truth.zarr"
SECTIONS = RECORDING_SECTIONS
NOISE_FRAMES = 100  # drawn at a time
VERSION = 2  # raise it when the same config gives other numbers
BLOCK_BYTES = 128 * 2**20  # of one field; a few such blocks are in memory at a time


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """One chunk of a split, as the simulator knows it.

    Attributes:
        chunk: number of the chunk.
        start: its first frame.
        voltage: (t, N) float32 true voltage before each step [a.u.].
        stimulus: (t, H) or (t, N) float32 input that acts during each step; (t, 0) if there is none.
        drift: (t, N) float32 noise-free dv/dt [a.u./s], or None.
        noise: (t, N) float32 measurement noise [a.u.], or None.
        after: (N,) float32 recorded voltage one step after the last frame of a trial [a.u.]; None where frames go on.
        hidden: (t, S - N) float32 rest of the state before each step, or None if there is no more to it.
    """

    chunk: int
    start: int
    voltage: np.ndarray
    stimulus: np.ndarray
    drift: np.ndarray | None
    noise: np.ndarray | None
    after: np.ndarray | None = None
    hidden: np.ndarray | None = None

    @property
    def last_state(self) -> np.ndarray:
        """(S,) float32 true state at the last frame."""
        return self.voltage[-1] if self.hidden is None else np.concatenate([self.voltage[-1], self.hidden[-1]])


def simulate(
    config: ExperimentConfig,
    run_dir: str | Path,
    resume: bool = True,
    chunk_frames: int | None = None,
    progress: bool = True,
) -> Path:
    """Simulate the circuit of a config; go on where a killed run with the same config stopped.

    Every split starts at the grey steady state (a signal network: from a random state, after its burn-in) and has its
    own scenes and noise; with `simulation.trial_frames` so does every trial of the training split, as far as start and
    noise go: the scenes go on. ``voltage[t]`` is the state before step t, ``stimulus[t]`` acts during step t. A resumed
    recording equals an uninterrupted one to the bit.

    Args:
        config: sections connectome, signal, drive, stimulus and simulation are used.
        run_dir: recording.zarr and truth.zarr are written here.
        resume: False discards what is there.
        chunk_frames: frames per chunk; default 2,000, fewer for circuits larger than the published one; the length
            of a trial where there are trials.
        progress: show a progress bar if there is a terminal.

    Returns:
        Path of the recording.

    Raises:
        ConfigError: if a setting is not valid, or the config names an existing recording.
        StoreError: if the run directory holds something foreign under these names.
        DiskFullError: if there is no room; what was written is kept.
        DivergedError: if the circuit leaves the finite numbers.
    """
    if config.simulation.recording is not None:
        raise ConfigError("simulation.recording: an existing recording is named, expected null; nothing to simulate")
    preparation = prepare(config)
    if chunk_frames is None or config.simulation.trial_frames is not None:
        chunk_frames = config.simulation.trial_frames or default_chunk_frames(preparation.circuit.n_neurons)
    simulator = Simulator(config, preparation, chunk_frames)
    if preparation.connectome.equation is not None:
        logger.info("%s", describe(preparation.connectome))
    writer, truth = _open_stores(simulator, Path(run_dir), resume)
    total = sum(writer.n_frames_planned(split) for split in simulator.n_frames)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with writer, Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("simulate", total=total)
        for split in simulator.n_frames:
            n_written = writer.n_frames_written(split)
            bar.advance(task, n_written)
            if n_written:
                logger.info("%s: going on at frame %d of %d", split, n_written, simulator.n_frames[split])
            last = truth.state(split, (n_written - 1) // chunk_frames) if n_written else None
            _write_behind(
                simulator.blocks(split, n_written, last), split, writer, truth, lambda n: bar.advance(task, n)
            )
    return Path(run_dir) / RECORDING


def default_chunk_frames(n_neurons: int) -> int:
    """Frames per chunk: 2,000, or fewer where a block of voltages would not fit 128 MB."""
    fitting = BLOCK_BYTES // (4 * max(n_neurons, 1))
    return CHUNK_FRAMES if fitting >= CHUNK_FRAMES else max(100, fitting // 100 * 100)


class Simulator:
    """Makes the frames of any chunk from its own random streams and the last frame before it.

    Args:
        config: section simulation is used.
        preparation: the circuit, its start and its stimulus.
        chunk_frames: frames per chunk.
    """

    def __init__(self, config: ExperimentConfig, preparation: Preparation, chunk_frames: int) -> None:
        settings = config.simulation
        self.config = config
        self.preparation = preparation
        self.connectome, self.circuit = preparation.connectome, preparation.circuit
        self.chunk_frames = chunk_frames
        lengths = (settings.n_frames, settings.n_frames_validation, settings.n_frames_test)
        self.n_frames = dict(zip(SPLITS, lengths, strict=True))
        self._streams = Streams(settings.seed)

    @property
    def fields(self) -> tuple[str, ...]:
        """Dynamic fields of the recording."""
        fields = ("voltage", "stimulus") if self.preparation.has_stimulus else ("voltage",)
        return (*fields, "drift") if self.config.simulation.record_drift else fields

    @property
    def digest(self) -> str:
        """Digest of everything that decides the recording, the circuit's numbers and the stimulus's files included."""
        values = hashlib.sha256()
        for array in (self.connectome.weight, self.connectome.tau, self.connectome.v_rest):
            values.update(np.ascontiguousarray(array).tobytes())
        settings = self.config.digest(*SECTIONS, exclude=("simulation.recording",))
        version = f"version {VERSION}, chunks of {self.chunk_frames}"
        parts = [settings, values.hexdigest(), version, listing_digest(self.config.stimulus.path)]
        if self.config.drive.path is not None:
            parts.append(listing_digest(self.config.drive.path))
        return combined_digest(*parts)

    @property
    def in_trials(self) -> tuple[str, ...]:
        """Splits that consist of trials."""
        return ("train",) if self.config.simulation.trial_frames is not None else ()

    def blocks(self, split: str, start: int = 0, last: np.ndarray | None = None) -> Iterator[FrameBlock]:
        """The chunks of a split from frame `start` on.

        Args:
            split: name of the split.
            start: first frame to make, at the beginning of a chunk.
            last: (S,) true state at frame start - 1; None at the beginning.

        Yields:
            Blocks of `chunk_frames` frames; the last may be shorter.

        Raises:
            DivergedError: if the circuit leaves the finite numbers.
        """
        if split in self.in_trials:
            yield from self._trials(split, start)
            return
        movie, n_frames = self.preparation.stimulus(split), self.n_frames[split]
        if last is None:
            arriving = self.preparation.start(split, (0,))[0]
        else:
            arriving = self.circuit.step(last, movie.frames(start - 1, start)[0])
        starts = range(start, n_frames, self.chunk_frames)
        chunks = (movie.frames(first, min(first + self.chunk_frames, n_frames)) for first in starts)
        for first, frames in zip(starts, ahead(chunks), strict=True):
            threads = one_thread() if self.circuit.one_thread else nullcontext()
            with threads, np.errstate(over="ignore", invalid="ignore"):  # `_block` reports it
                block, arriving = self._block(split, first, frames, arriving)
            yield block

    def _block(self, split: str, first: int, frames: np.ndarray, arriving: np.ndarray) -> tuple[FrameBlock, np.ndarray]:
        """One chunk, and the state that arrives at the next one before that chunk's noise is added.

        The noise on the way into frame t belongs to the chunk of t. So a chunk needs one state and its own streams.
        """
        settings, circuit, n = self.config.simulation, self.circuit, self.circuit.n_neurons
        chunk, shape, rest = first // self.chunk_frames, (len(frames), n), circuit.n_states - n
        voltage = np.empty(shape, dtype=np.float32)
        hidden = np.empty((len(frames), rest), dtype=np.float32) if rest else None
        drift = np.empty(shape, dtype=np.float32) if settings.record_drift else None
        noisy = len(frames) - (first == 0) if settings.process_noise > 0 else 0
        kicks = self._kicks(self._streams.generator("noise", split, chunk), noisy)
        for t, frame in enumerate(frames):
            if t >= len(frames) - noisy:
                arriving[:n] += next(kicks)
            voltage[t] = arriving[:n]
            if hidden is not None:
                hidden[t] = arriving[n:]
            rate = circuit.drift(arriving, frame)
            if drift is not None:
                drift[t] = rate[:n]
            arriving = circuit.advance(arriving, rate)
        check_bounded(voltage, first, settings.dt)
        noise = self._measurement_noise(split, chunk, len(frames))
        return FrameBlock(chunk, first, voltage, frames, drift, noise, hidden=hidden), arriving

    def _trials(self, split: str, start: int) -> Iterator[FrameBlock]:
        """The chunks of a split that consists of trials, a group of them at a time.

        A group is simulated as a whole even where its first trials are there already: products of other widths round
        otherwise, and a resumed recording equals an uninterrupted one to the bit.
        """
        movie, settings, length = self.preparation.stimulus(split), self.config.simulation, self.chunk_frames
        n_trials, size = -(-self.n_frames[split] // length), group_size(length, self.circuit.n_neurons)
        groups = [range(k, min(k + size, n_trials)) for k in range(start // length // size * size, n_trials, size)]
        movies = (np.stack([movie.frames(k * length, (k + 1) * length) for k in group]) for group in groups)
        for group, frames in zip(groups, ahead(movies), strict=True):
            generators = [self._streams.torch_generator("noise", split, trial) for trial in group]
            begin = self.preparation.start(split, [trial * length for trial in group])
            with np.errstate(over="ignore", invalid="ignore"):  # reported below
                trials = run_trials(
                    self.circuit, begin, frames, settings.process_noise, generators, settings.record_drift
                )
            for k, trial in enumerate(group):
                done, first = trials.pop(0), trial * length
                if first < start:
                    continue
                check_bounded(done.voltage, first, settings.dt)
                yield self._trial_block(split, trial, done, frames[k])

    def _trial_block(self, split: str, trial: int, done: Trial, frames: np.ndarray) -> FrameBlock:
        """The frames of a trial that the split has room for."""
        first = trial * self.chunk_frames
        n = min(self.chunk_frames, self.n_frames[split] - first)
        after = done.after if n == self.chunk_frames else done.voltage[n]
        noise, drift = self._measurement_noise(split, trial, n + 1), done.drift
        if noise is not None:
            after, noise = after + noise[n], noise[:n]
        drift = None if drift is None else drift[:n]
        hidden = None if done.hidden is None else done.hidden[:n]
        return FrameBlock(trial, first, done.voltage[:n], frames[:n], drift, noise, after, hidden)

    def _measurement_noise(self, split: str, chunk: int, n_frames: int) -> np.ndarray | None:
        """(n_frames, N) float32 noise on the recorded voltage [a.u.], or None."""
        sigma = self.config.simulation.measurement_noise
        if sigma <= 0:
            return None
        generator = self._streams.generator("measurement_noise", split, chunk)
        return np.float32(sigma) * generator.standard_normal((n_frames, self.circuit.n_neurons), dtype=np.float32)

    def _kicks(self, generator: np.random.Generator, n_frames: int) -> Iterator[np.ndarray]:
        """Process noise (N,) of ``n_frames`` frames; drawn some frames at a time while earlier ones are used."""
        sigma, n = np.float32(self.config.simulation.process_noise), self.circuit.n_neurons
        sizes = (min(NOISE_FRAMES, n_frames - k) for k in range(0, n_frames, NOISE_FRAMES))
        for piece in ahead(sigma * generator.standard_normal((size, n), dtype=np.float32) for size in sizes):
            yield from piece


def _open_stores(simulator: Simulator, root: Path, resume: bool) -> tuple[RecordingWriter, TruthWriter]:
    """Both stores, continued if both are sound and of this config, else both new."""
    connectome, config, digest = simulator.connectome, simulator.config, simulator.digest
    attributes = {
        "seeds": {"simulation": config.simulation.seed},
        "recipe": config.name,
        "stimulus": config.stimulus.kind if config.connectome.source == "optic_lobe" else config.drive.kind,
    }
    arguments = (root / RECORDING, connectome.wiring, config.simulation.dt, simulator.n_frames, simulator.fields)
    options: dict[str, Any] = {
        "static": {"u": connectome.u, "v": connectome.v} if connectome.equation is None else {},
        "columns": connectome.column_positions if connectome.n_columns else None,
        "annotations": connectome.annotations,
        "attributes": attributes,
        "digest": digest,
        "chunk_frames": simulator.chunk_frames,
        "in_trials": simulator.in_trials,
    }
    truth = TruthWriter.resume(root / TRUTH, digest) if resume else None
    if truth is not None:
        return RecordingWriter.create_or_resume(*arguments, **options), truth
    writer = RecordingWriter.create(*arguments, **options)
    truth = TruthWriter.create(
        root / TRUTH,
        connectome,
        simulator.preparation.dynamics,
        simulator.n_frames,
        simulator.chunk_frames,
        digest,
        config.simulation.measurement_noise > 0,
        simulator.circuit.n_states,
        simulator.preparation.n_plastic > 0,
    )
    return writer, truth


def _write_behind(
    blocks: Iterator[FrameBlock],
    split: str,
    writer: RecordingWriter,
    truth: TruthWriter,
    done: Callable[[int], None],
) -> None:
    """Write one block while the next is computed; never more than one is waiting."""
    waiting: Future | None = None
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="lobula-write") as pool:
        for block in blocks:
            if waiting is not None:
                done(waiting.result())
            waiting = pool.submit(_write, block, split, writer, truth)
        if waiting is not None:
            done(waiting.result())


def _write(block: FrameBlock, split: str, writer: RecordingWriter, truth: TruthWriter) -> int:
    """Truth first: once the recording shows a chunk, its last true state is there to go on from."""
    truth.write(split, block.chunk, block.start, block.last_state, block.noise, block.hidden)
    fields = {"voltage": block.voltage if block.noise is None else block.voltage + block.noise}
    if block.stimulus.shape[1]:
        fields["stimulus"] = block.stimulus
    if block.drift is not None:
        fields["drift"] = block.drift
    if block.after is not None:
        writer.end_trial(split, block.chunk, block.after)
    writer.append(split, **fields)
    return len(block.voltage)
