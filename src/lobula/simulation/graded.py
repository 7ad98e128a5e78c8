"""The graded circuit ODE in single precision: drift, Euler step, steady state."""

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from lobula.connectome.base import Connectome
from lobula.data.streams import Streams
from lobula.errors import ConfigError, DivergedError, ShapeError
from lobula.kernels import csr_tensor, get_activation
from lobula.kernels.activations import Activation

logger = logging.getLogger(__name__)

TauFloor = Literal["none", "dt"]
VariantName = Literal["standard", "tanh", "gain", "no_messages"]
VARIANTS = ("standard", "tanh", "gain", "no_messages")
TANH_COUPLING = 0.5  # s of the variant "tanh"; below 1 the single neuron keeps one fixed point
GAIN_RANGE = (0.5, 2.0)  # of the variant "gain", log-uniform per cell type
GREY = 0.5  # luminance of the adapting screen
STEADY_STEPS = 2_000
STEADY_TOLERANCE = 1e-6  # largest change per step [a.u.]; single precision cannot do much better


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What the ODE does beside the connectome's numbers. Truth.

    Attributes:
        activation: name of the message function g.
        activation_scale: voltage unit s of the message function [a.u.]: messages are s g(v / s).
        variant: name it was made under.
        tanh_coupling: s of the extra term s tanh(v); 0 for none.
        gain: (N,) float64 factor on v inside g, or None.
        messages: False cuts every connection.
        tau_floor: "dt" replaces tau by max(tau, dt), as flyvis does; "none" leaves it.
    """

    activation: str = "relu"
    activation_scale: float = 1.0
    variant: str = "standard"
    tanh_coupling: float = 0.0
    gain: np.ndarray | None = None
    messages: bool = True
    tau_floor: str = "none"
    by_receiver: ClassVar[bool] = False

    def message_function(self) -> Activation:
        """Messages s g(gain v / s) from voltages (..., N); elementwise, of any shape, where there is no gain."""
        activation = get_activation(self.activation)
        scale, gain = np.float32(self.activation_scale), self.gain
        if scale == 1 and gain is None:
            return activation
        factor = (1.0 if gain is None else gain) / scale
        return lambda voltage: activation((voltage * factor).astype(voltage.dtype)) * voltage.dtype.type(scale)

    @property
    def is_shared(self) -> bool:
        """Whether there is one message function for all neurons."""
        return self.gain is None and self.messages

    @property
    def update_form(self) -> Literal["linear", "tanh"]:
        """What a neuron does by itself, as `update.form` names it."""
        return "tanh" if self.tanh_coupling else "linear"

    @property
    def message_at_rest(self) -> float:
        """The message at v = 0 [a.u.]: 0 for relu, tanh, saturating and squared."""
        return self.activation_scale * float(get_activation(self.activation)(np.zeros(1))[0])

    def rest_in_gauge(self, connectome: Connectome) -> np.ndarray:
        """(N,) resting potentials when messages are counted from g(0) = 0: V_i + g(0) sum_j W_ij."""
        offset, wiring = self.message_at_rest, connectome.wiring
        if not offset:
            return connectome.v_rest
        return connectome.v_rest + offset * np.bincount(wiring.post, connectome.weight, connectome.n_neurons)


def make_dynamics(
    connectome: Connectome,
    activation: str = "relu",
    variant: str = "standard",
    tau_floor: str = "none",
    seed: int = 0,
    activation_scale: float = 1.0,
) -> Dynamics:
    """The dynamics of a named variant.

    Args:
        connectome: the circuit; its cell types share a gain.
        activation: name of the message function, see `ACTIVATIONS`.
        variant: "standard", "tanh" (adds 0.5 tanh(v)), "gain" (g(gain v), one gain per cell type, log-uniform in
            [0.5, 2]) or "no_messages".
        tau_floor: "none" or "dt".
        seed: root seed; decides the gains.
        activation_scale: voltage unit s [a.u.] of messages s g(v / s); below 1 a bounded function saturates earlier.

    Raises:
        ConfigError: if a name is not known, or the scale is not a positive number.
    """
    get_activation(activation)
    if variant not in VARIANTS:
        raise ConfigError(f"simulation.variant: got {variant!r}, expected one of {', '.join(VARIANTS)}")
    if tau_floor not in ("none", "dt"):
        raise ConfigError(f"simulation.tau_floor: got {tau_floor!r}, expected 'none' or 'dt'")
    if not (np.isfinite(activation_scale) and activation_scale > 0):
        raise ConfigError(f"simulation.activation_scale: got {activation_scale!r}, expected a number > 0 [a.u.]")
    gain = None
    if variant == "gain":
        low, high = np.log(GAIN_RANGE)
        per_type = np.exp(Streams(seed).generator("gain").uniform(low, high, len(connectome.cell_type_names)))
        gain = per_type[connectome.cell_type]
    coupling = TANH_COUPLING if variant == "tanh" else 0.0
    return Dynamics(activation, activation_scale, variant, coupling, gain, variant != "no_messages", tau_floor)


class GradedCircuit:
    r"""One circuit, ready to be stepped in float32.

    .. math:: \tau_i \dot v_i = -v_i + V_i + s \tanh v_i + \sum_j W_{ij}\, s_g\, g(\gamma_j v_j / s_g) + I_i

    Explicit Euler with process noise per step (no square root of dt):
    :math:`v \leftarrow v + dt\, \dot v + \sigma \xi`.

    Args:
        connectome: weights, time constants [s] and rests [a.u.].
        dt: step [s].
        dynamics: message function and variant.

    Raises:
        ConfigError: if dt is not positive, or the circuit is a signal network.
    """

    one_thread = False

    def __init__(self, connectome: Connectome, dt: float = 0.02, dynamics: Dynamics | None = None) -> None:
        if not np.isfinite(dt) or dt <= 0:
            raise ConfigError(f"simulation.dt: got {dt!r}, expected seconds > 0")
        if connectome.equation is not None:
            raise ConfigError("connectome: a signal network, expected a graded circuit; see lobula.integrate")
        self.dynamics = dynamics if dynamics is not None else Dynamics()
        self.dt = float(dt)
        self.n_neurons = self.n_states = connectome.n_neurons
        wiring = connectome.wiring
        tau = np.maximum(connectome.tau, dt) if self.dynamics.tau_floor == "dt" else connectome.tau
        self._rate = (1.0 / tau).astype(np.float32)
        self._rest = connectome.v_rest.astype(np.float32)
        self._weight = csr_tensor(wiring, connectome.weight) if self.dynamics.messages else None
        self._message = self.dynamics.message_function()
        self._driven = wiring.driven
        self._driven_column = wiring.stimulus_column[self._driven] if wiring.stimulus_column is not None else None
        self._n_columns = wiring.n_columns

    def check_stimulus(self, stimulus: np.ndarray) -> np.ndarray:
        """The stimulus as float32, (T, H) or (T, N).

        Raises:
            ShapeError: if its shape is neither.
        """
        stimulus = np.asarray(stimulus, dtype=np.float32)
        widths = [width for width in (self._n_columns, self.n_neurons) if width]
        if stimulus.ndim != 2 or stimulus.shape[1] not in widths:
            expected = " or ".join(f"(T, {width})" for width in widths)
            raise ShapeError(f"stimulus: got shape {stimulus.shape}, expected {expected}: time first")
        return stimulus

    def drift(self, voltage: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Noise-free right-hand side.

        Args:
            voltage: (N,) float32 [a.u.], or (G, N) for G trials.
            frame: (H,) or (N,) float32 stimulus [a.u.], or (G, H) or (G, N).

        Returns:
            float32 dv/dt [a.u./s], of the shape of ``voltage``.
        """
        total = self._rest - voltage
        if self._weight is not None:
            columns = torch.from_numpy(np.ascontiguousarray(self._message(voltage).T))
            total += (self._weight @ columns).numpy().T
        if self.dynamics.tanh_coupling:
            total += np.float32(self.dynamics.tanh_coupling) * np.tanh(voltage)
        if self._driven_column is not None and frame.shape[-1] == self._n_columns:
            total[..., self._driven] += frame[..., self._driven_column]
        else:
            total += frame
        total *= self._rate
        return total

    def step(self, voltage: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """(N,) float32 state one Euler step later, without noise."""
        return self.advance(voltage, self.drift(voltage, frame))

    def advance(self, voltage: np.ndarray, drift: np.ndarray) -> np.ndarray:
        """float32 state one step later from a drift that is known already, each (N,) or (G, N)."""
        return voltage + np.float32(self.dt) * drift

    def steady_state(self, grey: float = GREY) -> np.ndarray:
        """State that the noise-free circuit settles into under a uniform screen.

        Args:
            grey: luminance of the screen.

        Returns:
            (N,) float32 [a.u.]; for a circuit that does not settle, the state after 2,000 steps from rest.

        Raises:
            DivergedError: if the circuit leaves the finite numbers.
        """
        voltage = self._rest.copy()
        frame = np.full(self._n_columns or self.n_neurons, grey if self._n_columns else 0.0, dtype=np.float32)
        change = np.inf
        with np.errstate(over="ignore", invalid="ignore"):  # reported below
            for _ in range(STEADY_STEPS):
                following = self.step(voltage, frame)
                change = float(np.abs(following - voltage).max(initial=0.0))
                voltage = following
                if change < STEADY_TOLERANCE or not np.isfinite(change):
                    break
            else:
                logger.info("no steady state within %d steps, still %.2g per step", STEADY_STEPS, change)
        check_bounded(voltage[None], 0, self.dt)
        return voltage


def check_bounded(voltage: np.ndarray, first_frame: int, dt: float) -> None:
    """Raise if a block of states left the finite numbers.

    Args:
        voltage: (t, N) states.
        first_frame: frame number of the first row.
        dt: step [s], for the message.

    Raises:
        DivergedError: naming the first frame and neuron.
    """
    if voltage.size == 0 or (np.isfinite(voltage.min()) and np.isfinite(voltage.max())):
        return
    frame, neuron = np.argwhere(~np.isfinite(voltage))[0]
    raise DivergedError(
        f"voltage: {voltage[frame, neuron]} at frame {first_frame + frame}, neuron {neuron}, expected finite numbers; "
        f"the circuit blew up: lower dt (now {dt} s), the weights or the process noise, or set simulation.tau_floor=dt"
    )
