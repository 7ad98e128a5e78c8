"""Models of the dynamics that are trained by gradient descent."""

from lobula.models import registry
from lobula.models.base import AbstractDynamicsModel, Scales
from lobula.models.circuit_gnn import CircuitGNN
from lobula.models.known_ode import KnownODE, KnownODEWithTanh
from lobula.models.messages import message_function
from lobula.models.weights import shape_weights

__all__ = [
    "AbstractDynamicsModel",
    "CircuitGNN",
    "KnownODE",
    "KnownODEWithTanh",
    "Scales",
    "message_function",
    "registry",
    "shape_weights",
]
