"""A figure over seeds, its course over seeds, and the difference of a figure between two groups of seeds."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from lobula.metrics.catalogue import Direction, worse_by

CONFIDENCE = 0.95
Seed = TypeVar("Seed", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        n: seeds that have it.
        mean: mean over them.
        sd: standard deviation, n - 1 in the denominator; None for one seed.
        cv: sd / |mean|; None where that has no meaning.
        median: median over them.
        worst: the worst of them, None where no direction is better.
    """

    n: int
    mean: float
    sd: float | None
    cv: float | None
    median: float
    worst: float | None


def spread(values: Sequence[float], better: Direction) -> Spread | None:
    """Mean, spread, median and worst of (S,) finite values; None if there are none."""
    if not values:
        return None
    x = np.asarray(values, dtype=np.float64)
    mean, sd = float(x.mean()), float(x.std(ddof=1)) if len(x) > 1 else None
    cv = sd / abs(mean) if sd is not None and mean != 0 else None
    middle = float(np.median(x))
    worst = None if better == "same" else float(max(values, key=lambda value: worse_by(better, 1.0, value)))
    return Spread(len(x), mean, sd, cv, middle, worst)


def curves_over_seeds(runs: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Median and range over runs of figures that each noted by step.

    Args:
        runs: one table per run, as in metrics.csv: iteration, phase and the figures; a figure may be missing.
        names: the figures.

    Returns:
        One row per figure and step at which any run has it, in that order: quantity, iteration, phase (of the first run
        that has the step), n (runs with a finite value), median, low, high.
    """
    columns = ["iteration", "phase", *names]
    rows = pd.concat([run.reindex(columns=columns) for run in runs], ignore_index=True)
    long = rows.melt(["iteration", "phase"], list(names), "quantity", "value")
    values = pd.to_numeric(long["value"], errors="coerce")
    long = long.assign(value=values)[np.isfinite(values)]
    long["quantity"] = pd.Categorical(long["quantity"], list(names))
    grouped = long.groupby(["quantity", "iteration"], observed=True)
    table = grouped["value"].agg(n="count", median="median", low="min", high="max")
    table.insert(0, "phase", grouped["phase"].first())
    return table.reset_index().astype({"quantity": str})


@dataclass(frozen=True)
class Difference:
    """Second group minus first.

    Attributes:
        first: mean of the first group.
        second: mean of the second group.
        mean: mean difference.
        low, high: 95 % interval of it; None where there are too few seeds.
        n: seeds of the first and of the second group that were used.
        method: how the interval was made, in words.
    """

    first: float
    second: float
    mean: float
    low: float | None
    high: float | None
    n: tuple[int, int]
    method: str

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high

    def judged(self, better: Direction) -> str:
        """ "better" or "worse" if the interval leaves out 0, else empty; empty, too, where no direction is better."""
        if not self.is_clear or better == "same":
            return ""
        return "worse" if worse_by(better, self.first, self.second) > 0 else "better"


def difference(first: Mapping[Seed, float], second: Mapping[Seed, float]) -> Difference | None:
    """Mean difference of a figure with its 95 % interval.

    Paired by seed (t interval of the differences) where the groups share two seeds or more; else Welch's t interval;
    none where a group has one seed only.

    Args:
        first: value by seed.
        second: value by seed.

    Returns:
        None if a group has no value.
    """
    if not first or not second:
        return None
    shared = [seed for seed in first if seed in second]
    if len(shared) >= 2:
        a, b = (np.array([group[seed] for seed in shared]) for group in (first, second))
        d = b - a
        half: float | None = _half_width(float(d.std(ddof=1)) / len(d) ** 0.5, len(d) - 1)
        method = "paired by seed, t interval"
    else:
        if shared and min(len(first), len(second)) == 1:  # the one seed that both have
            first, second = ({seed: group[seed] for seed in shared} for group in (first, second))
        a, b = np.array(list(first.values())), np.array(list(second.values()))
        half, method = _welch(a, b), "Welch's t interval, seeds not paired"
    if half is None:
        method = "no interval: one seed"
    mean = float(b.mean() - a.mean())
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Difference(float(a.mean()), float(b.mean()), mean, low, high, (len(a), len(b)), method)


def _welch(a: np.ndarray, b: np.ndarray) -> float | None:
    if min(len(a), len(b)) < 2:
        return None
    u, v = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if u + v == 0.0:
        return 0.0
    return _half_width((u + v) ** 0.5, (u + v) ** 2 / (u**2 / (len(a) - 1) + v**2 / (len(b) - 1)))


def _half_width(error: float, freedom: float) -> float:
    quantile: Any = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)
    return float(quantile) * error
