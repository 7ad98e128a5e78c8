"""Circuits that change over a recording: what a ceiling may know of the change, and how well it was found."""

from typing import Any

import numpy as np

from lobula.data.estimates import Estimates
from lobula.data.varying import Drift, Plasticity
from lobula.metrics import compare
from lobula.regression.varying import Change
from lobula.simulation.signal import SIGNAL_MODELS
from lobula.simulation.truth import Truth


def true_change(truth: Truth) -> Change | None:
    """Time constant and strength of every neuron's plasticity, or the period of the drift; None if nothing changes."""
    circuit = truth.connectome
    equation = circuit.equation
    if equation is None:
        return None
    model = SIGNAL_MODELS[equation.model]
    if model.plastic:
        return Change(
            "plasticity", known=(equation.column("tau")[circuit.cell_type], equation.column("alpha")[circuit.cell_type])
        )
    return Change("drift", period=equation.drift_period) if model.drifting else None


def changing_scores(estimates: Estimates, truth: Truth) -> dict[str, Any]:
    """How well the change was found; nothing where the circuit does not change, or the estimates know no change.

    Returns:
        plasticity: median and largest relative error of tau and alpha over the neurons. Or drift: relative error of the
        period, and tau_half, the time constant half a period after the first frame, as `metrics.compare`.
    """
    change, varying, circuit = true_change(truth), estimates.varying, truth.connectome
    if change is None or varying is None or varying.kind != change.kind or circuit.equation is None:
        return {}
    if isinstance(varying, Plasticity) and change.known is not None:
        pairs = {"tau": (change.known[0], varying.tau), "alpha": (change.known[1], varying.alpha)}
        return {"plasticity": {name: relative_errors(*pair) for name, pair in pairs.items()}}
    if not isinstance(varying, Drift) or change.period is None:
        return {}
    later = circuit.equation.tau[(circuit.cell_type + 1) % circuit.equation.n_types]
    period = relative_errors(np.array([change.period]), varying.period)["largest_relative_error"]
    return {
        "drift": {"period_relative_error": period, "tau_half": compare(later, estimates.neurons["tau_half"].to_numpy())}
    }


def relative_errors(true: np.ndarray, learned: np.ndarray) -> dict[str, float]:
    """Median and largest of the relative errors."""
    error = np.abs(learned / true - 1.0)
    return {"median_relative_error": float(np.median(error)), "largest_relative_error": float(error.max())}
