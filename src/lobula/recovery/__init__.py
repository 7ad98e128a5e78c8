"""Reading the circuit back from a fitted model."""

from lobula.recovery.run import recover_circuit, recover_gnn, recover_spline

__all__ = ["recover_circuit", "recover_gnn", "recover_spline"]
