"""Simulation of circuits whose truth is known."""

from lobula.kernels.activations import ACTIVATIONS, get_activation
from lobula.simulation.graded import Dynamics, GradedCircuit, make_dynamics
from lobula.simulation.integrate import integrate, steady_state
from lobula.simulation.run import simulate
from lobula.simulation.truth import Truth

__all__ = [
    "ACTIVATIONS",
    "Dynamics",
    "GradedCircuit",
    "Truth",
    "get_activation",
    "integrate",
    "make_dynamics",
    "simulate",
    "steady_state",
]
