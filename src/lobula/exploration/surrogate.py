"""Stand-ins for real runs, to try policies and proposers on: fitted to past runs, or made up."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from lobula.config.space import Dimension
from lobula.errors import ConfigError
from lobula.exploration.outcomes import LOWER_QUANTILE
from lobula.exploration.records import FAILED, RunState, Snapshot
from lobula.exploration.statistics import REFERENCE_CORRELATION, REFERENCE_SD
from lobula.exploration.study import Objective
from lobula.exploration.variance import noise_floor

Values = Mapping[str, Any]
FEWEST_RUNS = 5
_WIDTH, _PRIOR = 0.25, 2.0
"""Width of the neighbourhood that noise and failures are averaged over, per root of a dimension of the unit cube, and
runs that the average over all counts for beside it."""


@dataclass(frozen=True)
class Surrogate:
    """What runs of a config give: a normal metric with its own spread, or a failure with its own chance.

    Attributes:
        mean: expected metric of a run that ends well, by the fields that differ from the base.
        sd: its standard deviation over pairs of seeds.
        failure: chance that a run fails.
        correlation: of two configs on the same pair of seeds.
    """

    mean: Callable[[Values], float]
    sd: Callable[[Values], float]
    failure: Callable[[Values], float]
    correlation: float = REFERENCE_CORRELATION

    def draw(self, values: Values, of_pair: float, rng: np.random.Generator) -> float | None:
        """The metric of a run, or None if it fails.

        Args:
            values: fields that differ from the base.
            of_pair: what the pair of seeds does to every config, a standard normal number.
            rng: of this run.
        """
        chance, own = rng.random(), rng.standard_normal()
        if chance < self.failure(values):
            return None
        noise = math.sqrt(self.correlation) * of_pair + math.sqrt(1.0 - self.correlation) * own
        return self.mean(values) + self.sd(values) * noise

    def true_value(self, objective: Objective, values: Values) -> float:
        """What the objective's goal makes of a config with infinitely many runs, higher is better.

        A failed run counts at the objective's bound of "failed".
        """
        sign = 1.0 if objective.direction == "higher" else -1.0
        mean, failed, rate = sign * self.mean(values), sign * objective.failed, self.failure(values)
        if objective.goal == "mean":
            return (1.0 - rate) * mean + rate * failed
        if rate >= LOWER_QUANTILE:
            return failed
        return mean + self.sd(values) * float(ndtri((LOWER_QUANTILE - rate) / (1.0 - rate)))


def encode(dimensions: Sequence[Dimension], values: Values) -> np.ndarray:
    """Values as a point of the unit cube: ranges on their own scale, choices one axis each; (n_axes,)."""
    point: list[float] = []
    for dimension in dimensions:
        value = values.get(dimension.path, dimension.default)
        if dimension.kind == "choice":
            point += [float(value == choice) for choice in dimension.choices]
            continue
        low, high, at = (float(number or 0.0) for number in (dimension.low, dimension.high, value))
        if dimension.scale == "log" and low > 0:
            low, high, at = math.log(low), math.log(high), math.log(max(at, low))
        point.append((at - low) / (high - low))
    return np.array(point)


def fit_surrogate(snapshot: Snapshot, kind: Literal["gp", "forest"] = "gp", seed: int = 0) -> Surrogate:
    """Fits past runs of a study: the mean by a Gaussian process or a random forest, noise and failures locally.

    Noise is what runs of a config differ by, where there are any with two runs, else what the fit leaves over.

    Raises:
        ConfigError: if fewer than five runs were scored.
    """
    dimensions, metric = snapshot.study.dimensions(), snapshot.study.objective.metric
    values = {node.config: node.values for node in snapshot.nodes}
    runs = [run for run in snapshot.runs if run.config in values and (run.state in FAILED or metric in run.metrics)]
    scored = [run for run in runs if run.state is RunState.SCORED]
    if len(scored) < FEWEST_RUNS:
        raise ConfigError(
            f"surrogate: got {len(scored)} scored runs, expected {FEWEST_RUNS} or more, or a synthetic one"
        )
    points = {config: encode(dimensions, own) for config, own in values.items()}
    x, y = np.array([points[run.config] for run in scored]), np.array([run.metrics[metric] for run in scored])
    model = _model(kind, x.shape[1], seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few runs leave some length scales open
        model.fit(x, y)
    floor = noise_floor(snapshot)
    own = _deviations([run.config for run in scored], y) if floor.sd is not None else y - model.predict(x)
    noise = _local(x, own**2, float(np.mean(own**2)))
    failed = np.array([float(run.state in FAILED) for run in runs])
    failure = _local(np.array([points[run.config] for run in runs]), failed, float(failed.mean()))
    correlation = floor.correlation
    return Surrogate(
        mean=lambda at: float(model.predict(encode(dimensions, at)[None])[0]),
        sd=lambda at: math.sqrt(noise(encode(dimensions, at))),
        failure=lambda at: failure(encode(dimensions, at)),
        correlation=REFERENCE_CORRELATION if correlation is None else correlation,
    )


def synthetic(
    dimensions: Sequence[Dimension],
    seed: int = 0,
    best: float = 0.95,
    drop: float = 0.5,
    sd: float = REFERENCE_SD,
    failure: float = 0.02,
    correlation: float = REFERENCE_CORRELATION,
) -> Surrogate:
    """A made-up landscape: one smooth hill, noisier and more often failing the farther a config is from its top.

    Args:
        dimensions: of the search.
        seed: of the place of the top.
        best: metric there.
        drop: what is lost far away from it.
        sd: noise at the top; twice that far away.
        failure: chance of a failure at the top; five times that far away.
        correlation: of two configs on the same pair of seeds.
    """
    n_axes = len(encode(dimensions, {}))
    top = np.random.default_rng(seed).uniform(0.2, 0.8, n_axes)

    def far(values: Values) -> float:
        return 1.0 - math.exp(-2.0 * float(np.mean((encode(dimensions, values) - top) ** 2)) / 0.08)

    return Surrogate(
        mean=lambda at: best - drop * far(at),
        sd=lambda at: sd * (1.0 + far(at)),
        failure=lambda at: min(1.0, failure * (1.0 + 4.0 * far(at))),
        correlation=correlation,
    )


def _model(kind: str, n_axes: int, seed: int) -> Any:
    if kind == "forest":
        return RandomForestRegressor(n_estimators=200, min_samples_leaf=2, random_state=seed)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Matern(np.ones(n_axes), (0.05, 20.0), nu=2.5) + WhiteKernel(0.1)
    return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=seed)


def _deviations(configs: Sequence[str], y: np.ndarray) -> np.ndarray:
    """Deviations from the config's mean, widened by what that mean was fitted on; 0 runs for those with one."""
    found = np.full(len(y), np.nan)
    for config in set(configs):
        own = np.array([name == config for name in configs])
        n = int(own.sum())
        if n > 1:
            found[own] = (y[own] - y[own].mean()) * math.sqrt(n / (n - 1))
    return np.where(np.isnan(found), math.sqrt(float(np.nanmean(found**2))), found)


def _local(points: np.ndarray, values: np.ndarray, overall: float) -> Callable[[np.ndarray], float]:
    """Average of values near a point, drawn towards the average over all."""
    width = _WIDTH * math.sqrt(points.shape[1])

    def at(point: np.ndarray) -> float:
        weights = np.exp(-np.sum((points - point) ** 2, axis=1) / (2.0 * width**2))
        return float((weights @ values + _PRIOR * overall) / (weights.sum() + _PRIOR))

    return at
