"""A signal network that can be stepped: drift and Euler step of its whole state, in single precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from lobula.connectome import Connectome, Equation
from lobula.errors import ConfigError, ShapeError
from lobula.kernels import get_activation, torch_csr
from lobula.kernels.activations import Activation
from lobula.regression.edge_messages import GroupMessages
from lobula.simulation.signal.models import SIGNAL_MODELS, Per, SignalModel

DENSE_FILL = 0.1
"""Share of pairs from which on a dense product is faster than a sparse one."""


@dataclass(frozen=True, eq=False)
class SignalDynamics:
    """Messages of a signal network. Truth.

    Attributes:
        connectome: a circuit with an equation.
    """

    connectome: Connectome
    activation_scale: ClassVar[float] = 1.0
    messages: ClassVar[bool] = True

    @property
    def by_receiver(self) -> bool:
        """Whether messages depend on the receiver's type, too."""
        return self.model.by_receiver

    @property
    def equation(self) -> Equation:
        """The network's equation.

        Raises:
            ConfigError: if the circuit is none.
        """
        return equation_of(self.connectome)

    @property
    def model(self) -> SignalModel:
        """Member of the family."""
        return SIGNAL_MODELS[self.equation.model]

    @property
    def activation(self) -> str:
        """Name of psi; of the first cell type, where every type has its own."""
        return self.equation.message_functions[0]

    @property
    def is_shared(self) -> bool:
        """Whether there is one message function for all neurons."""
        return len(set(self.equation.message_functions)) == 1 and not {"w", "t"} & set(self.equation.names)

    @property
    def update_form(self) -> Literal["linear", "tanh"]:
        """What a neuron does by itself, as `update.form` names it."""
        return "tanh" if "s" in self.equation.names else "linear"

    def psi(self) -> Activation:
        """Message function of (..., N) arguments; elementwise, of any shape, where all cell types share it."""
        return by_type(self.equation.message_functions, self.connectome.cell_type)

    def message_function(self) -> Activation | GroupMessages:
        """Messages from voltages (..., N); of voltages (T, N) one per type of the receiver, where they depend on it."""
        if not self.by_receiver:
            return self._messages_to({})
        rows = (dict(zip(self.equation.names, row, strict=True)) for row in self.equation.table.astype(np.float32))
        return GroupMessages(self.connectome.cell_type, [self._messages_to(row) for row in rows])

    def _messages_to(self, receiver: Per) -> Activation:
        psi, own, model = self.psi(), per_neuron(self.equation, self.connectome.cell_type), self.model
        return lambda voltage: model.message(psi, voltage, own, receiver).astype(voltage.dtype, copy=False)

    def rest_in_gauge(self, connectome: Connectome) -> np.ndarray:
        """(N,) resting potentials when messages are counted from 0 at v = 0: tau du/dt there, without a stimulus."""
        circuit = SignalCircuit(connectome)
        at_zero = circuit.full_state(np.zeros(connectome.n_neurons, dtype=np.float32))
        drift = circuit.drift(at_zero, np.zeros(0, dtype=np.float32))
        return connectome.tau * drift[: connectome.n_neurons]


def equation_of(connectome: Connectome) -> Equation:
    """The equation of a signal network.

    Raises:
        ConfigError: if the circuit is none.
    """
    if connectome.equation is None:
        raise ConfigError("connectome: a graded circuit, expected a signal network; see lobula.signal_network")
    return connectome.equation


def by_type(functions: tuple[str, ...], cell_type: np.ndarray) -> Activation:
    """One message function for (..., N) voltages out of one per cell type."""
    if len(set(functions)) == 1:
        return get_activation(functions[0])
    kinds = np.array(functions)[cell_type]
    parts = [(get_activation(name), np.flatnonzero(kinds == name)) for name in dict.fromkeys(functions)]

    def psi(voltage: np.ndarray) -> np.ndarray:
        messages = np.empty_like(voltage)
        for function, neurons in parts:
            messages[..., neurons] = function(voltage[..., neurons])
        return messages

    return psi


def weight_rows(connectome: Connectome, receivers: np.ndarray | None = None) -> torch.Tensor:
    """Rows of W[post, pre], or all of them, float32; sparse where few of all pairs are connected."""
    matrix = connectome.wiring.csr(connectome.weight.astype(np.float32))
    if receivers is not None:
        matrix = matrix[receivers]
    if connectome.n_edges < DENSE_FILL * connectome.n_neurons**2:
        return torch_csr(matrix)
    return torch.from_numpy(matrix.toarray())


def per_neuron(equation: Equation, cell_type: np.ndarray) -> Per:
    """Parameters by name, each (N,) float32."""
    table = equation.table.astype(np.float32)
    return {name: table[cell_type, k] for k, name in enumerate(equation.names)}


class SignalCircuit:
    r"""One signal network, ready to be stepped in float32.

    .. math:: \dot u_i = \phi_i(u_i) + g_i\, p_i \sum_j W_{ij}\, \psi_{ij}(u_j) + e_i, \qquad
            \dot p_i = (1 - p_i) / \tau_i - \alpha_i\, p_i\, |u_i|

    A state is (S,): voltages u (N,); then, of plastic models, p (N,); then, of drifting models, the frame's number.
    Explicit Euler, like `GradedCircuit`.

    Args:
        connectome: a circuit with an equation.
        dt: step [s].

    Raises:
        ConfigError: if dt is not positive, or the circuit is no signal network.
    """

    one_thread = True  # a product of this size gains nothing from a second thread

    def __init__(self, connectome: Connectome, dt: float = 0.01) -> None:
        if not np.isfinite(dt) or dt <= 0:
            raise ConfigError(f"simulation.dt: got {dt!r}, expected seconds > 0")
        self.dt = float(dt)
        self.dynamics = SignalDynamics(connectome)
        self.n_neurons = connectome.n_neurons
        self._equation, self._model, self._psi = self.dynamics.equation, self.dynamics.model, self.dynamics.psi()
        self._own = per_neuron(self._equation, connectome.cell_type)
        self.n_plastic = self.n_neurons if self._model.plastic else 0
        self.n_states = self.n_neurons + self.n_plastic + self._model.drifting
        if self._model.drifting:
            self._next = per_neuron(self._equation, (connectome.cell_type + 1) % self._equation.n_types)
        self._parts = self._matrices(connectome)
        self._driven = connectome.wiring.driven
        self._column = connectome.wiring.stimulus_column
        self._n_columns = connectome.n_columns

    def _matrices(self, connectome: Connectome) -> list[tuple[np.ndarray | slice, Mapping, torch.Tensor]]:
        """Receivers that get the same messages, the parameters of their type, and their rows of the matrix W."""
        if not self._model.by_receiver:
            return [(slice(None), {}, weight_rows(connectome))]
        parts: list[tuple[np.ndarray | slice, Mapping, torch.Tensor]] = []
        for kind, row in enumerate(self._equation.table.astype(np.float32)):
            receivers = np.flatnonzero(connectome.cell_type == kind)
            receiver = dict(zip(self._equation.names, row, strict=True))
            parts.append((receivers, receiver, weight_rows(connectome, receivers)))
        return parts

    def check_stimulus(self, stimulus: np.ndarray) -> np.ndarray:
        """The stimulus as float32, (T, H), (T, N), or (T, 0) for none.

        Raises:
            ShapeError: if its shape is none of them.
        """
        stimulus = np.asarray(stimulus, dtype=np.float32)
        widths = {0, self.n_neurons} | ({self._n_columns} if self._n_columns else set())
        if stimulus.ndim != 2 or stimulus.shape[1] not in widths:
            expected = " or ".join(f"(T, {width})" for width in sorted(widths))
            raise ShapeError(f"stimulus: got shape {stimulus.shape}, expected {expected}: time first")
        return stimulus

    def full_state(self, voltage: np.ndarray, first_frame: int | np.ndarray = 0) -> np.ndarray:
        """States (..., S) of voltages (..., N), with p = 1, at some frame, one or (...)."""
        state = np.ones((*voltage.shape[:-1], self.n_states), dtype=np.float32)
        state[..., : self.n_neurons] = voltage
        if self._model.drifting:
            state[..., -1] = first_frame
        return state

    def drift(self, state: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Noise-free right-hand side of the whole state.

        Args:
            state: (S,) float32, or (G, S) for G trials.
            frame: (H,), (N,) or (0,) float32 stimulus [a.u.], or one per trial.

        Returns:
            float32 rate of change [1/s], of the shape of ``state``; the first N are dv/dt [a.u./s].
        """
        n = self.n_neurons
        u, own = state[..., :n], self._parameters(state)
        strength = own["g"]
        rate = np.empty_like(state)
        if self.n_plastic:
            p = state[..., n : 2 * n]
            strength = strength * p
            rate[..., n : 2 * n] = (1 - p) / own["tau"] - own["alpha"] * p * np.abs(u)
        if self._model.drifting:
            rate[..., -1] = 0.0  # `advance` counts frames, exactly
        du = rate[..., :n]
        du[...] = self._model.intrinsic(u, own)
        for receivers, receiver, weight in self._parts:
            message = self._model.message(self._psi, u, own, receiver)
            columns = torch.from_numpy(np.ascontiguousarray(message.T))
            du[..., receivers] += strength[..., receivers] * (weight @ columns).numpy().T
        self._add_input(du, frame)
        return rate

    def _parameters(self, state: np.ndarray) -> Per:
        """Parameters by name, (N,), or (..., N) where they drift."""
        if not self._model.drifting:
            return self._own
        turns = state[..., -1:].astype(np.float64) * (self.dt / self._equation.drift_period)
        share = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)
        return {name: value + share * (self._next[name] - value) for name, value in self._own.items()}

    def _add_input(self, du: np.ndarray, frame: np.ndarray) -> None:
        if frame.shape[-1] == 0:
            return
        if self._column is not None and frame.shape[-1] == self._n_columns:
            du[..., self._driven] += frame[..., self._column[self._driven]]
        else:
            du += frame

    def step(self, state: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """float32 state one Euler step later, without noise."""
        return self.advance(state, self.drift(state, frame))

    def advance(self, state: np.ndarray, drift: np.ndarray) -> np.ndarray:
        """float32 state one step later from a drift that is known already."""
        after = state + np.float32(self.dt) * drift
        if self._model.drifting:
            after[..., -1] += 1
        return after
