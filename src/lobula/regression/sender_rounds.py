"""Rounds of `sender_curves`: from one function for all senders to one for each, for all receivers or for some."""

from dataclasses import replace

import numpy as np

from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.regression.curve import Curve
from lobula.regression.sender_curves import Products, SenderCurves, Solved, gauss_newton, solved

FLOORS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""lambda / n_frames of the rounds: without noise, unbounded weights would make up for wrong functions."""
SHARES = (1.0, 0.4, 0.15, 0.05)
"""Of a step, tried in turn until the residual falls."""
MOST_COLUMNS = 8_000
"""Basis functions of all senders together: their products take half a gigabyte."""
LEAST_KNOTS = 5
FINE = 4_001


def deviation_knots(curve: Curve, low: float, high: float, n_knots: int, n_neurons: int) -> np.ndarray:
    """(K,) voltages for deviations from a curve: half of the way follows the voltage, half the curve.

    Args:
        curve: the common function.
        low: lowest voltage [a.u.].
        high: highest voltage [a.u.].
        n_knots: knots that are wanted.
        n_neurons: neurons; many of them get fewer knots.
    """
    grid = np.linspace(low, high, FINE)
    climb = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(curve(grid))))])
    way = (grid - low) / (high - low) + climb / max(float(climb[-1]), 1e-12)
    n_knots = max(LEAST_KNOTS, min(n_knots, MOST_COLUMNS // n_neurons - 1))
    return np.interp(np.linspace(way[0], way[-1], n_knots), way, grid)


def improve_senders(
    data: Products,
    curves: SenderCurves,
    targets: np.ndarray,
    loops: bool,
    floors: tuple[float, ...] = FLOORS,
    steps: KeptSteps = NOT_KEPT,
) -> tuple[SenderCurves, Solved]:
    """One Gauss-Newton step per floor, shortened where it does not help, and all equations solved for the result.

    Args:
        data: products of the bases.
        curves: where to start.
        targets: (N,) bool, equations that count.
        loops: whether neurons are inputs of themselves.
        floors: lambda / n_frames of each step.
        steps: keeps and shows rounds, whose score is the mean log residual variance.
    """

    def one_round(curves: SenderCurves, floor: float) -> np.ndarray:
        at = solved(data, curves, floor, loops)
        score = float(np.log(at.variance[targets]).mean())
        step = gauss_newton(data, curves, at, targets)
        for share in SHARES:
            moved = replace(curves, values=curves.values + share * step)
            found = solved(data, moved, floor, loops, with_residual=False)
            if np.log(found.variance[targets]).mean() < score:
                return np.append(moved.values, score)
        return np.append(curves.values, score)

    for round_, floor in enumerate(floors):
        *values, score = steps.once(one_round, curves, floor)
        curves = replace(curves, values=np.array(values).reshape(curves.values.shape))
        steps.on_round(round_, float(score))
    return curves, solved(data, curves, floors[-1], loops, with_residual=False)
