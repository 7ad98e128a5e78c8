"""Integration of a circuit whose parameters are known, in memory."""

import numpy as np

from lobula.connectome.base import Connectome
from lobula.data.streams import Streams
from lobula.errors import ConfigError, NonFiniteError, ShapeError
from lobula.simulation.circuit import Circuit
from lobula.simulation.graded import GREY, GradedCircuit, check_bounded, make_dynamics
from lobula.simulation.signal import SignalCircuit

GRADED_DT, SIGNAL_DT = 0.02, 0.01
U0_SCALE = 5.0


def integrate(
    connectome: Connectome,
    stimulus: np.ndarray | int,
    v0: np.ndarray | None = None,
    dt: float | None = None,
    tau_floor: str = "none",
    process_noise: float = 0.0,
    seed: int = 0,
    activation: str = "relu",
    variant: str = "standard",
    activation_scale: float = 1.0,
) -> np.ndarray:
    r"""Explicit Euler, one step per stimulus frame.

    .. math:: v(t+1) = v(t) + dt\,\dot v(v(t), I(t)) + \sigma\,\xi(t), \qquad \xi \sim N(0, 1)

    Args:
        connectome: the circuit.
        stimulus: (T, H) luminance per column, or (T, N) input per neuron [a.u.]; of a signal network that has none, the
            number of frames T.
        v0: (N,) initial state [a.u.]; default is the steady state under grey 0.5, of a signal network 5 N(0, 1).
        dt: step [s]; default .02, of a signal network .01.
        tau_floor: "none", or "dt" for max(tau, dt) as flyvis does.
        process_noise: sigma per step [a.u.].
        seed: root seed of the noise, of the gains of the variant "gain", and of a signal network's initial state.
        activation: message function: relu, softplus, tanh, sigmoid, saturating or squared.
        variant: "standard", "tanh", "gain" or "no_messages".
        activation_scale: voltage scale s of the message function [a.u.]: messages are s g(v / s). This one and the
            two above are for graded circuits; a signal network has an equation.

    Returns:
        (T, N) float32 membrane potential after every step [a.u.].

    Raises:
        ConfigError: if a setting is not valid.
        ShapeError: if the stimulus or v0 has the wrong shape.
        NonFiniteError: if the stimulus or v0 holds NaN or infinity.
        DivergedError: if the circuit leaves the finite numbers.
    """
    if not np.isfinite(process_noise) or process_noise < 0:
        raise ConfigError(f"process_noise: got {process_noise!r}, expected a number >= 0")
    circuit: Circuit
    if connectome.equation is None:
        dynamics = make_dynamics(connectome, activation, variant, tau_floor, seed, activation_scale)
        circuit = graded = GradedCircuit(connectome, GRADED_DT if dt is None else dt, dynamics)
        frames = graded.check_stimulus(np.asarray(stimulus))
        state = graded.steady_state() if v0 is None else _checked_state(v0, graded.n_neurons)
    else:
        if (activation, variant, tau_floor, activation_scale) != ("relu", "standard", "none", 1.0):
            raise ConfigError("integrate: got settings of a graded circuit, expected none; the network has an equation")
        circuit = signal = SignalCircuit(connectome, SIGNAL_DT if dt is None else dt)
        frames = signal.check_stimulus(np.zeros((int(stimulus), 0)) if np.ndim(stimulus) == 0 else np.asarray(stimulus))
        state = signal.full_state(
            _random_state(connectome, seed) if v0 is None else _checked_state(v0, signal.n_neurons)
        )
    if not np.isfinite(frames).all():
        raise NonFiniteError("stimulus: got NaN or infinity, expected finite numbers")
    return _euler(circuit, state, frames, process_noise, Streams(seed).generator("noise", "integrate"))


def _euler(
    circuit: Circuit, state: np.ndarray, stimulus: np.ndarray, process_noise: float, generator: np.random.Generator
) -> np.ndarray:
    """(T, N) float32 voltage after every step from a state (S,)."""
    n, sigma = circuit.n_neurons, np.float32(process_noise)
    result = np.empty((len(stimulus), n), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        for t, frame in enumerate(stimulus):
            state = circuit.step(state, frame)
            if sigma > 0:
                state[:n] += sigma * generator.standard_normal(n, dtype=np.float32)
            result[t] = state[:n]
    check_bounded(result, 0, circuit.dt)
    return result


def _random_state(connectome: Connectome, seed: int) -> np.ndarray:
    """(N,) float32, 5 N(0, 1)."""
    generator = Streams(seed).generator("state", "integrate")
    return (U0_SCALE * generator.standard_normal(connectome.n_neurons)).astype(np.float32)


def steady_state(
    connectome: Connectome,
    grey: float = GREY,
    dt: float = 0.02,
    tau_floor: str = "none",
    activation: str = "relu",
    variant: str = "standard",
    seed: int = 0,
) -> np.ndarray:
    """(N,) float32 state that the noise-free circuit settles into under a uniform screen of this luminance."""
    dynamics = make_dynamics(connectome, activation, variant, tau_floor, seed)
    return GradedCircuit(connectome, dt, dynamics).steady_state(grey)


def _checked_state(v0: np.ndarray, n_neurons: int) -> np.ndarray:
    voltage = np.array(v0, dtype=np.float32)
    if voltage.shape != (n_neurons,):
        raise ShapeError(f"v0: got shape {voltage.shape}, expected ({n_neurons},), one value per neuron")
    if not np.isfinite(voltage).all():
        raise NonFiniteError("v0: got NaN or infinity, expected finite numbers")
    return voltage
