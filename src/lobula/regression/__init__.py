"""The closed-form rungs: evidence ridge and the spline."""

from lobula.regression.curve import PiecewiseLinear
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import NeuronGrams, accumulate
from lobula.regression.held_out import circuit_predictor, held_out_error
from lobula.regression.prior import WeightPrior, solver_for
from lobula.regression.ridge import LinearCircuit, Solver, solve
from lobula.regression.spline import SplineFit, fit_spline

__all__ = [
    "LinearCircuit",
    "NeuronGrams",
    "PiecewiseLinear",
    "Solver",
    "SplineFit",
    "WeightPrior",
    "accumulate",
    "circuit_predictor",
    "fit_circuit",
    "fit_spline",
    "held_out_error",
    "solve",
    "solver_for",
]
