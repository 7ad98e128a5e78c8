"""How much runs of the same config differ, and what is believed of each config."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from lobula.exploration.judge import classify, value_of
from lobula.exploration.outcomes import LOWER_QUANTILE, distinct, failure_value
from lobula.exploration.records import FAILED, RunRecord, RunState, Snapshot
from lobula.exploration.statistics import Verdict, pooled_rate, verdict

UNKNOWN_RELIABILITY = 0.5
"""Share of the spread between single runs that is taken for the configs' own, as long as no config has two runs."""
_STRENGTH = 2.0
"""Runs that the pooled failure rate counts for beside a config's own."""


@dataclass(frozen=True)
class NoiseFloor:
    """How much runs differ that try the same thing.

    Attributes:
        sd: pooled standard deviation of runs of a config, seeds and all; None until a config has two runs.
        paired_sd: what is left of it when what a pair of seeds does to all configs is taken out; None until there are
            two configs with two pairs in common.
        n_configs: configs with two runs or more.
        n_runs: their runs.
    """

    sd: float | None
    paired_sd: float | None
    n_configs: int
    n_runs: int

    @property
    def correlation(self) -> float | None:
        """Correlation of two configs over pairs: the share of the variance that pairing removes."""
        if self.sd is None or self.paired_sd is None or self.sd == 0.0:
            return None
        return max(0.0, 1.0 - (self.paired_sd / self.sd) ** 2)


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (None for a single run) and coefficient of variation [%] of a metric."""

    mean: float
    sd: float | None
    cv: float | None


@dataclass(frozen=True)
class VarianceRow:
    """A line of the variance table.

    Attributes:
        config: id.
        nodes: node ids that tried it.
        n_runs: observed runs, failed ones included.
        metrics: spread by metric, failed runs counted at the bound of "failed".
        verdict: robust, fragile or undetermined, with bounds.
    """

    config: str
    nodes: tuple[int, ...]
    n_runs: int
    metrics: Mapping[str, Spread]
    verdict: Verdict


@dataclass(frozen=True)
class Posterior:
    """What is believed of a config.

    Attributes:
        n: scored runs.
        n_failed: runs that failed by the config's own fault.
        raw: mean of the scored runs, higher is better; NaN without any.
        mean: mean that is believed, drawn towards the others by what luck could have done.
        low: lower end of its 95 % interval.
        high: upper end.
        failure_rate: believed chance that a run fails.
        value: what the study's goal makes of it: expected value of a run, or its lower quantile.
    """

    n: int
    n_failed: int
    raw: float
    mean: float
    low: float
    high: float
    failure_rate: float
    value: float


def noise_floor(snapshot: Snapshot) -> NoiseFloor:
    """Noise from replicates, over all configs that have any. Failed runs are counted by the failure rate, not here."""
    table = _values(snapshot, {node.config for node in snapshot.nodes})
    kept = {config: found for config, found in table.items() if len(found) > 1}
    n_runs = sum(len(found) for found in kept.values())
    if not kept:
        return NoiseFloor(None, None, 0, 0)
    sums = sum(float(np.var(list(found.values()))) * len(found) for found in kept.values())
    return NoiseFloor(math.sqrt(sums / (n_runs - len(kept))), _paired_sd(kept), len(kept), n_runs)


def failure_rate(snapshot: Snapshot) -> float:
    """Chance that a run of any config fails by itself, pooled over configs that also have a scored run.

    A config that fails always is no collapse by chance; those are left out.
    """
    counts = [_counts(snapshot, config) for config in {node.config for node in snapshot.nodes}]
    return pooled_rate([(failed, failed + scored) for scored, failed in counts if scored])


def variance_rows(snapshot: Snapshot, max_failure: float = 0.1) -> list[VarianceRow]:
    """The variance table, one line per config with an observation, most runs first.

    A run holds if its class is "converged"; the verdict is about the chance that one does not.
    """
    objective = snapshot.study.objective
    names = [name for name in (objective.metric, objective.second, *objective.report) if name]
    rows = []
    for node in distinct(snapshot.nodes):
        runs = [run for run in snapshot.runs_of(node.config) if classify(objective, run) is not None]
        if not runs:
            continue
        held = sum(classify(objective, run) == "converged" for run in runs)
        nodes = tuple(other.id for other in snapshot.nodes if other.config == node.config)
        spreads = {name: found for name in names if (found := _spread(runs, name, objective.failed)) is not None}
        rows.append(VarianceRow(node.config, nodes, len(runs), spreads, verdict(held, len(runs), max_failure)))
    return sorted(rows, key=lambda row: (-row.n_runs, row.nodes[0]))


def posteriors(snapshot: Snapshot, configs: Sequence[str] | None = None) -> dict[str, Posterior]:
    r"""What is believed of configs: a normal model with common noise, in closed form (empirical Bayes).

    .. math::
        y_{ij} \sim N(\theta_i, s^2), \quad \theta_i \sim N(\mu, t^2), \quad
        E[\theta_i] = \mu + (1 - B_i) (\bar y_i - \mu), \quad
        B_i = \frac{k - 3}{k - 1} \frac{s^2 / n_i}{s^2 / n_i + t^2}

    s is the noise floor, t the spread of the means of the k configs beyond what noise explains. The factor and the
    variance allow for t being estimated; with three configs or fewer nothing is shrunk. Failures are apart: a rate for
    each config, drawn towards the pooled one.

    Args:
        snapshot: what the study knows.
        configs: ids; None: all.

    Returns:
        By config, those with a scored run only.

    Reference:
        Morris (1983), J. Am. Stat. Assoc. 78:47.
    """
    configs = list(dict.fromkeys(configs if configs is not None else [node.config for node in snapshot.nodes]))
    table = {config: list(found.values()) for config, found in _values(snapshot, configs).items()}
    scored = {config: values for config, values in table.items() if values}
    if not scored:
        return {}
    means = {config: float(np.mean(values)) for config, values in scored.items()}
    noise, between = _variances(snapshot, scored, means)
    weights = {config: 1.0 / max(between + noise / len(values), 1e-300) for config, values in scored.items()}
    centre = sum(weights[config] * means[config] for config in scored) / sum(weights.values())
    pooled, low = failure_rate(snapshot), failure_value(snapshot)
    found = {}
    for config, values in scored.items():
        own = noise / len(values)
        k = len(scored)
        shrink = (k - 3) / (k - 1) * own / (own + between) if k > 3 and own > 0 else 0.0
        off = means[config] - centre
        mean = centre + (1.0 - shrink) * off
        variance = own * (1.0 - shrink * (k - 1) / k) + (2.0 / (k - 3) * (shrink * off) ** 2 if k > 3 else 0.0)
        n_failed = _counts(snapshot, config)[1]
        rate = (n_failed + _STRENGTH * pooled) / (n_failed + len(values) + _STRENGTH)
        value = _goal(snapshot, low, mean, math.sqrt(noise), rate)
        half = 1.96 * math.sqrt(variance)
        found[config] = Posterior(len(values), n_failed, means[config], mean, mean - half, mean + half, rate, value)
    return found


def _goal(snapshot: Snapshot, low: float, mean: float, noise: float, rate: float) -> float:
    """Mean, or lower quantile, of a run that fails with a given chance and is normal else."""
    if snapshot.study.objective.goal == "mean":
        return (1.0 - rate) * mean + rate * low
    if rate >= LOWER_QUANTILE:
        return low
    return max(low, mean + noise * float(ndtri((LOWER_QUANTILE - rate) / (1.0 - rate))))


def _variances(
    snapshot: Snapshot, scored: Mapping[str, Sequence[float]], means: Mapping[str, float]
) -> tuple[float, float]:
    """Variance of runs of a config, and of the configs' true means."""
    total = float(np.var(list(means.values()), ddof=1)) if len(means) > 1 else 0.0
    floor = noise_floor(snapshot).sd
    if floor is None:
        return (1.0 - UNKNOWN_RELIABILITY) * total, UNKNOWN_RELIABILITY * total
    of_means = float(np.mean([floor**2 / len(values) for values in scored.values()]))
    return floor**2, max(total - of_means, total / max(1, len(means) - 1))  # at 0 a run would count like a hundred


def _values(snapshot: Snapshot, configs: Sequence[str] | set[str]) -> dict[str, dict[int, float]]:
    """Values of scored panel runs by config and pair, higher is better."""
    found: dict[str, dict[int, float]] = {config: {} for config in configs}
    for run in snapshot.runs:
        value = value_of(snapshot.study.objective, run)
        if run.config in found and value is not None and not run.pair.holdout:
            found[run.config][run.pair.index] = value
    return found


def _counts(snapshot: Snapshot, config: str) -> tuple[int, int]:
    """Scored and failed runs of a config."""
    runs = snapshot.runs_of(config)
    return sum(run.state is RunState.SCORED for run in runs), sum(run.state in FAILED for run in runs)


def _spread(runs: Sequence[RunRecord], name: str, failed: float) -> Spread | None:
    values = [failed if run.state in FAILED else run.metrics.get(name) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = float(np.mean(known))
    sd = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return Spread(mean, sd, 100.0 * sd / abs(mean) if sd is not None and mean != 0.0 else None)


def _paired_sd(table: Mapping[str, Mapping[int, float]]) -> float | None:
    """Residual standard deviation of value = config + pair, by least squares; None without a residual degree."""
    configs, pairs = sorted(table), sorted({j for found in table.values() for j in found})
    cells = [(configs.index(config), pairs.index(j), value) for config in configs for j, value in table[config].items()]
    design = np.zeros((len(cells), len(configs) + len(pairs)))
    for row, (i, j, _) in enumerate(cells):
        design[row, i] = design[row, len(configs) + j] = 1.0
    y = np.array([value for _, _, value in cells])
    fit, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    free = len(cells) - int(rank)
    return math.sqrt(float(np.sum((y - design @ fit) ** 2)) / free) if free > 0 else None
