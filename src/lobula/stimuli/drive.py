"""What drives a signal network: nothing, sinusoids, pulses, a file, or what an eye sees."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from lobula.config import ExperimentConfig
from lobula.config.signal import DriveConfig
from lobula.data.streams import Streams
from lobula.errors import ConfigError, NonFiniteError, ShapeError, StoreError
from lobula.stimuli.base import Scope, Stimulus
from lobula.stimuli.registry import make_stimulus

OSCILLATION_CLIP = 1_000  # frames that are made together
PULSE_RANGE = (0.5, 1.0)  # of the amplitude; the sign is random


class Movie(Protocol):
    """External input with random access; of zero columns if there is none."""

    def frames(self, start: int, stop: int) -> np.ndarray: ...


class NoInput:
    """No external input: frames of zero columns."""

    def frames(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, 0) float32."""
        return np.zeros((stop - start, 0), dtype=np.float32)


class Oscillation:
    r"""A sinusoid for every driven neuron, :math:`e_i = A_i \cos(2 \pi f t)`, amplitudes uniform in [-A, A].

    Args:
        config: amplitude and frequency.
        n_neurons: N.
        dt: time between frames [s].
        scope: where the amplitudes come from; they are the same in every split.
    """

    clip_frames = OSCILLATION_CLIP

    def __init__(self, config: DriveConfig, n_neurons: int, dt: float, scope: Scope) -> None:
        self.n_columns = n_neurons
        generator = scope.streams.generator("stimulus", "amplitude")
        amplitude = config.amplitude * generator.uniform(-1, 1, n_neurons)
        self._amplitude = np.where(driven_neurons(config, n_neurons, scope.streams), amplitude, 0.0)
        self._turns = config.frequency * dt

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, N) float32; nothing is random."""
        frames = index * self.clip_frames + np.arange(self.clip_frames)
        return (np.cos(2 * np.pi * self._turns * frames)[:, None] * self._amplitude).astype(np.float32)


class Pulses:
    """One pulse in every stretch of frames, at a random time, of random size, to neurons of its own.

    Args:
        config: amplitude, interval and length of a pulse, and to how many neurons each goes.
        n_neurons: N.
        dt: time between frames [s]; not used.
        scope: not used, a clip has randomness of its own.

    Raises:
        ConfigError: if pulses are longer than their interval.
    """

    def __init__(self, config: DriveConfig, n_neurons: int, dt: float, scope: Scope) -> None:
        if config.pulse_frames > config.pulse_interval:
            raise ConfigError(
                f"drive.pulse_frames: got {config.pulse_frames}, expected at most drive.pulse_interval, "
                f"{config.pulse_interval}"
            )
        self.n_columns, self.clip_frames = n_neurons, config.pulse_interval
        self._config, self._n_driven = config, checked_driven(config, n_neurons)

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, N) float32, one pulse."""
        config, n = self._config, self.n_columns
        first = int(generator.integers(config.pulse_interval - config.pulse_frames + 1))
        driven = generator.choice(n, self._n_driven, replace=False)
        height = config.amplitude * generator.uniform(*PULSE_RANGE, self._n_driven)
        movie = np.zeros((self.clip_frames, n), dtype=np.float32)
        movie[first : first + config.pulse_frames, driven] = height * generator.choice((-1, 1), self._n_driven)
        return movie


class FromFile:
    """The rows of an array (T, N), from the start again where they end.

    Args:
        config: path of the .npy file.
        n_neurons: N.
        dt: time between frames [s]; not used.
        scope: not used, every split sees the same.

    Raises:
        StoreError: if the file cannot be read.
        ShapeError: if it is no array (T, N).
        NonFiniteError: if it holds NaN or infinity.
    """

    def __init__(self, config: DriveConfig, n_neurons: int, dt: float, scope: Scope) -> None:
        try:
            rows = np.load(str(config.path), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as cause:
            raise StoreError(f"drive.path: {config.path} is no readable .npy file ({cause})") from cause
        if rows.ndim != 2 or rows.shape[1] != n_neurons or len(rows) == 0:
            raise ShapeError(f"drive.path: got {config.path} of shape {rows.shape}, expected (T, {n_neurons})")
        if not np.isfinite(rows).all():
            raise NonFiniteError(f"drive.path: {config.path} holds NaN or infinity, expected finite numbers")
        self._rows, self.n_columns, self.clip_frames = rows, n_neurons, len(rows)

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(T, N) float32, the whole array."""
        return np.asarray(self._rows, dtype=np.float32)


def checked_driven(config: DriveConfig, n_neurons: int) -> int:
    """How many neurons are driven.

    Raises:
        ConfigError: if there are not so many.
    """
    n_driven = n_neurons if config.n_driven is None else config.n_driven
    if n_driven > n_neurons:
        raise ConfigError(f"drive.n_driven: got {n_driven}, expected at most the number of neurons, {n_neurons}")
    return n_driven


def driven_neurons(config: DriveConfig, n_neurons: int, streams: Streams) -> np.ndarray:
    """(N,) bool, the neurons that are driven, drawn by the seed."""
    n_driven = checked_driven(config, n_neurons)
    return streams.generator("stimulus", "driven").permutation(n_neurons) < n_driven


DRIVES: Mapping[str, Callable] = MappingProxyType({"oscillatory": Oscillation, "triggered": Pulses, "file": FromFile})
"""Kinds of external input per neuron; a new one is one class and one line here."""


def make_drive(config: ExperimentConfig, columns: np.ndarray, n_neurons: int, split: str) -> Movie:
    """The external input of a split of a signal network.

    Args:
        config: sections drive, stimulus and simulation are used.
        columns: (H, 2) axial coordinates of the eye's columns, of kind visual.
        n_neurons: N.
        split: name of the split.

    Returns:
        Frames (t, N), per column (t, H) of kind visual, or (t, 0) of kind none.

    Raises:
        LobulaError: if a setting is not valid, or a file cannot be read.
    """
    settings = config.simulation
    if config.drive.kind == "none":
        return NoInput()
    if config.drive.kind == "visual":
        return make_stimulus(config.stimulus, columns, settings.dt, settings.seed, split)
    scope = Scope(Streams(settings.seed), split)
    return Stimulus(DRIVES[config.drive.kind](config.drive, n_neurons, settings.dt, scope), scope)
