"""Simulation of circuits whose truth is known."""

from lobula.kernels.activations import ACTIVATIONS, get_activation
from lobula.simulation.graded import Dynamics, GradedCircuit, make_dynamics
from lobula.simulation.integrate import integrate, steady_state
from lobula.simulation.run import simulate
from lobula.simulation.signal import SIGNAL_MODELS, SignalCircuit, SignalDynamics, signal_network
from lobula.simulation.truth import Truth

__all__ = [
    "ACTIVATIONS",
    "SIGNAL_MODELS",
    "Dynamics",
    "GradedCircuit",
    "SignalCircuit",
    "SignalDynamics",
    "Truth",
    "get_activation",
    "integrate",
    "make_dynamics",
    "signal_network",
    "simulate",
    "steady_state",
]
