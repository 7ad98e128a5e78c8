"""How long a circuit that runs by itself stays with the recording."""

import numpy as np
import pandas as pd


def horizon_scores(start: np.ndarray, true: np.ndarray, predicted: np.ndarray, dt: float) -> pd.DataFrame:
    """Agreement at every step of a rollout, beside a forecast that nothing changes.

    Args:
        start: (R, N) recorded voltage that the rollouts begin from [a.u.].
        true: (R, S, N) recorded voltage after each step [a.u.].
        predicted: (R, S, N) voltage of the rollouts [a.u.].
        dt: time between frames [s].

    Returns:
        S rows: step, time_s, rmse and persistence_rmse [a.u.], skill (1 - mean square error over that of persistence)
        and pearson (over rollouts and neurons, of deviations from each neuron's mean).
    """
    start, true, predicted = (np.asarray(x, dtype=np.float64) for x in (start, true, predicted))
    error = ((predicted - true) ** 2).mean((0, 2))
    still = ((start[:, None] - true) ** 2).mean((0, 2))
    mean = true.mean((0, 1))
    a, b = true - mean, predicted - mean
    a, b = a - a.mean((0, 2), keepdims=True), b - b.mean((0, 2), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        pearson = (a * b).sum((0, 2)) / np.sqrt((a**2).sum((0, 2)) * (b**2).sum((0, 2)))
        skill = np.where(still > 0, 1 - error / still, np.nan)
    step = np.arange(1, true.shape[1] + 1)
    columns = {"step": step, "time_s": step * dt, "rmse": np.sqrt(error), "persistence_rmse": np.sqrt(still)}
    return pd.DataFrame({**columns, "skill": skill, "pearson": pearson})


LOST = 0.5
"""Error over the spread of the recording at which a rollout counts as lost (Vlachas et al. 2020)."""


def valid_time(true: np.ndarray, predicted: np.ndarray, dt: float) -> tuple[float, float]:
    """Median over rollouts of the time until the error over all neurons passes half of their spread.

    Args:
        true: (R, S, N) recorded voltage [a.u.].
        predicted: (R, S, N) voltage of the rollouts [a.u.].
        dt: time between frames [s].

    Returns:
        The time [s], and the share of rollouts that last to the end: with half of them or more it is a lower bound.
    """
    true, predicted = np.asarray(true, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    spread = np.sqrt(((true - true.mean((0, 1))) ** 2).mean())
    lost = np.sqrt(((predicted - true) ** 2).mean(2)) > LOST * spread
    ever = lost.any(1)
    steps = np.where(ever, lost.argmax(1), true.shape[1])
    return float(np.median(steps) * dt), float(1.0 - ever.mean())
