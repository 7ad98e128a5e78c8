"""Reading the circuit back from a fitted model."""

from lobula.recovery.run import recover_circuit, recover_gnn

__all__ = ["recover_circuit", "recover_gnn"]
