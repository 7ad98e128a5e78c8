"""Integration of a circuit whose parameters are known, in memory."""

import numpy as np

from lobula.connectome.base import Connectome
from lobula.data.streams import Streams
from lobula.errors import ConfigError, NonFiniteError, ShapeError
from lobula.simulation.graded import GREY, GradedCircuit, check_bounded, make_dynamics


def integrate(
    connectome: Connectome,
    stimulus: np.ndarray,
    v0: np.ndarray | None = None,
    dt: float = 0.02,
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
        stimulus: (T, H) luminance per column, or (T, N) input per neuron [a.u.].
        v0: (N,) initial state [a.u.]; default is the steady state under grey 0.5.
        dt: step [s].
        tau_floor: "none", or "dt" for max(tau, dt) as flyvis does.
        process_noise: sigma per step [a.u.].
        seed: root seed of the noise and of the gains of the variant "gain".
        activation: message function: relu, softplus, tanh, sigmoid, saturating or squared.
        variant: "standard", "tanh", "gain" or "no_messages".
        activation_scale: voltage scale s of the message function [a.u.]: messages are s g(v / s).

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
    dynamics = make_dynamics(connectome, activation, variant, tau_floor, seed, activation_scale)
    circuit = GradedCircuit(connectome, dt, dynamics)
    stimulus = circuit.check_stimulus(stimulus)
    if not np.isfinite(stimulus).all():
        raise NonFiniteError("stimulus: got NaN or infinity, expected finite numbers")
    voltage = circuit.steady_state() if v0 is None else _checked_state(v0, circuit.n_neurons)
    generator = Streams(seed).generator("noise", "integrate")
    sigma = np.float32(process_noise)
    result = np.empty((len(stimulus), circuit.n_neurons), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below
        for t, frame in enumerate(stimulus):
            voltage = circuit.step(voltage, frame)
            if sigma > 0:
                voltage += sigma * generator.standard_normal(circuit.n_neurons, dtype=np.float32)
            result[t] = voltage
    check_bounded(result, 0, dt)
    return result


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
