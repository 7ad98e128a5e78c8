"""Reading the circuit back from a fitted model."""

from lobula.recovery.run import prior_note, recover_circuit, recover_gnn, recover_spline

__all__ = ["prior_note", "recover_circuit", "recover_gnn", "recover_spline"]
