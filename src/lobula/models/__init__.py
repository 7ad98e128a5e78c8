"""Models of the dynamics that are trained by gradient descent."""

from lobula.models import registry
from lobula.models.base import AbstractDynamicsModel
from lobula.models.circuit_gnn import CircuitGNN, Scales
from lobula.models.messages import message_function

__all__ = ["AbstractDynamicsModel", "CircuitGNN", "Scales", "message_function", "registry"]
