"""Models of the dynamics that are trained by gradient descent."""

from lobula.models import registry
from lobula.models.base import AbstractDynamicsModel, Scales
from lobula.models.circuit_gnn import CircuitGNN
from lobula.models.graph_network import GraphNetwork, SourceNetwork
from lobula.models.known_ode import KnownODE, KnownODEWithTanh
from lobula.models.messages import learned_messages, message_function, pair_messages
from lobula.models.pair_gnn import PairGNN
from lobula.models.signal_gnn import LowRankSignalGNN, SignalGNN
from lobula.models.weights import shape_weights

__all__ = [
    "AbstractDynamicsModel",
    "CircuitGNN",
    "GraphNetwork",
    "KnownODE",
    "KnownODEWithTanh",
    "LowRankSignalGNN",
    "PairGNN",
    "Scales",
    "SignalGNN",
    "SourceNetwork",
    "learned_messages",
    "message_function",
    "pair_messages",
    "registry",
    "shape_weights",
]
