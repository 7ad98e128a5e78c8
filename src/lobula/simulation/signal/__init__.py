"""Signal networks: random circuits of a few cell types that sustain their own activity."""

from lobula.simulation.signal.circuit import SignalCircuit, SignalDynamics
from lobula.simulation.signal.models import SIGNAL_MODELS, SignalModel
from lobula.simulation.signal.network import describe, signal_network

__all__ = ["SIGNAL_MODELS", "SignalCircuit", "SignalDynamics", "SignalModel", "describe", "signal_network"]
