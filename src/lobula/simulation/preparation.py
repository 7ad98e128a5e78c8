"""What is simulated: a circuit that can be stepped, where it starts, and what drives it; one class per source."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

import numpy as np

from lobula.config import ExperimentConfig
from lobula.connectome import Connectome, optic_lobe
from lobula.data.streams import Streams
from lobula.simulation.circuit import Circuit
from lobula.simulation.graded import Dynamics, GradedCircuit, make_dynamics
from lobula.simulation.side_by_side import one_thread
from lobula.simulation.signal import SignalCircuit, SignalDynamics, signal_network
from lobula.stimuli import Movie, make_drive, make_stimulus

SPLITS = ("train", "validation", "test")


class Preparation(Protocol):
    """A circuit, ready to be recorded from.

    Attributes:
        connectome: the circuit's numbers.
        dynamics: what its equation is beside them.
        circuit: what is stepped.
        has_stimulus: whether there is an external input.
        n_plastic: numbers of a state, after the voltages, that are worth keeping for every frame; 0 or N.
    """

    @property
    def connectome(self) -> Connectome: ...
    @property
    def dynamics(self) -> Dynamics | SignalDynamics: ...
    @property
    def circuit(self) -> Circuit: ...
    @property
    def has_stimulus(self) -> bool: ...
    @property
    def n_plastic(self) -> int: ...

    def stimulus(self, split: str) -> Movie: ...

    def start(self, split: str, first_frames: Sequence[int]) -> np.ndarray:
        """(G, S) float32 states at some frames of a split at which trials begin."""
        ...


class GradedPreparation:
    """The fly's visual circuit, from the steady state under a grey screen.

    Args:
        config: sections connectome, stimulus and simulation are used.
    """

    has_stimulus = True
    n_plastic = 0

    def __init__(self, config: ExperimentConfig) -> None:
        settings = config.simulation
        self.connectome = optic_lobe(config.connectome.extent, config.connectome.parameters)
        self.dynamics = make_dynamics(
            self.connectome,
            settings.activation,
            settings.variant,
            settings.tau_floor,
            settings.seed,
            settings.activation_scale,
        )
        self.circuit = GradedCircuit(self.connectome, settings.dt, self.dynamics)
        self._config = config

    @cached_property
    def _grey(self) -> np.ndarray:
        return self.circuit.steady_state(self._config.stimulus.grey)

    def stimulus(self, split: str) -> Movie:
        """The movie of a split."""
        settings = self._config.simulation
        return make_stimulus(self._config.stimulus, self.connectome.columns, settings.dt, settings.seed, split)

    def start(self, split: str, first_frames: Sequence[int]) -> np.ndarray:
        """(G, N) float32, the steady state under grey in every trial."""
        return np.tile(self._grey, (len(first_frames), 1))


class SignalPreparation:
    """A signal network, from random states whose first frames are discarded.

    Args:
        config: sections signal, drive, stimulus and simulation are used.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        settings, drive = config.signal, config.drive
        n_driven = (drive.n_driven or settings.n_neurons) if drive.kind == "visual" else 0
        self.connectome = signal_network(
            n_neurons=settings.n_neurons,
            connectivity=settings.connectivity,
            fill=settings.fill,
            parameters=settings.parameters,
            model=settings.model,
            activation=settings.activation,
            message_functions=settings.message_functions,
            drift_period=settings.drift_period,
            connectivity_file=settings.connectivity_file,
            rank=settings.rank,
            dale_law=settings.dale_law,
            dale_factor=settings.dale_factor,
            n_driven=n_driven,
            seed=config.simulation.seed,
        )
        self.circuit = SignalCircuit(self.connectome, config.simulation.dt)
        self.dynamics = self.circuit.dynamics
        self.has_stimulus = drive.kind != "none"
        self.n_plastic = self.circuit.n_plastic if settings.record_plasticity else 0
        self._config = config
        self._streams = Streams(config.simulation.seed)

    def stimulus(self, split: str) -> Movie:
        """The external input of a split."""
        return make_drive(self._config, self.connectome.columns, self.connectome.n_neurons, split)

    def start(self, split: str, first_frames: Sequence[int]) -> np.ndarray:
        """(G, S) float32: a random state for every trial, and the burn-in with process noise, without a stimulus."""
        settings, simulation, n = self._config.signal, self._config.simulation, self.circuit.n_neurons
        drawn = [self._streams.generator("state", split, frame) for frame in first_frames]
        voltage = settings.u0_scale * np.stack([one.standard_normal(n) for one in drawn])
        frame_numbers = np.asarray(first_frames) + self._offset(split) - settings.burn_in
        state = self.circuit.full_state(voltage.astype(np.float32), frame_numbers)
        kicks = [self._streams.generator("burn-in", split, frame) for frame in first_frames]
        nothing, sigma = np.zeros((len(state), 0), dtype=np.float32), np.float32(simulation.process_noise)
        with one_thread(), np.errstate(over="ignore", invalid="ignore"):  # the first block reports it
            for _ in range(settings.burn_in):
                state = self.circuit.step(state, nothing)
                if sigma > 0:
                    state[:, :n] += sigma * np.stack([one.standard_normal(n, dtype=np.float32) for one in kicks])
        return state

    def _offset(self, split: str) -> int:
        """Number of a split's first frame on the clock that parameters drift by: splits follow each other in time."""
        simulation = self._config.simulation
        lengths = (simulation.n_frames, simulation.n_frames_validation, simulation.n_frames_test)
        return sum(lengths[: SPLITS.index(split)])


PREPARATIONS: Mapping[str, Callable[[ExperimentConfig], Preparation]] = MappingProxyType(
    {"optic_lobe": GradedPreparation, "signal": SignalPreparation}
)


def prepare(config: ExperimentConfig) -> Preparation:
    """The circuit that a config describes, ready to be recorded from."""
    return PREPARATIONS[config.connectome.source](config)
