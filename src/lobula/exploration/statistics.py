"""Numbers of runs, differences and failure rates, without a study: what few runs can say, and what they cannot.

Conventions of all sample sizes here: two-sided test at 5 %, power 80 %, normal quantiles, rounded up to whole runs
per arm. With the spread of the reference recipe (connectivity R2 .944 with a coefficient of variation of 3.8 %, so
sd .0359) and a correlation of .7 between configs on the same pair of seeds, a difference of .02 needs 51 unpaired runs
per arm, or 16 pairs.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betaincinv, ndtri, stdtrit

from lobula.errors import ConfigError

REFERENCE_SD = 0.944 * 0.038
REFERENCE_CORRELATION = 0.7
LEVEL, POWER = 0.05, 0.8
_MOST_FLIPS, _DRAWS, _MOST_RUNS = 14, 10_000, 2_000


@dataclass(frozen=True)
class Paired:
    """Comparison of two configs on the pairs of seeds that both have.

    Attributes:
        n: pairs.
        difference: mean of first less second.
        low: lower end of the 95 % t interval; -inf for a single pair.
        high: upper end.
        p_value: two-sided, by flipping the signs of the differences: exact up to 14 pairs, else by 10,000 draws. Its
            smallest value is 2 / 2^n: five pairs cannot reach .05.
        sd: standard deviation of the differences; NaN for a single pair.
        exact_low: lower end of the interval that belongs to the p value, see `subset_interval`.
        exact_high: its upper end.
        n_better: pairs on which the first is ahead.
    """

    n: int
    difference: float
    low: float
    high: float
    p_value: float
    sd: float
    exact_low: float = -math.inf
    exact_high: float = math.inf
    n_better: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a config's runs say about the chance that a run does not hold.

    Attributes:
        name: "robust": it is at most `max_failure`, with 95 % confidence; "fragile": it is more; or "undetermined".
        n_runs: runs.
        n_failed: runs that did not hold.
        upper: exact (Clopper-Pearson) upper 95 % bound on the chance; 1 without runs.
        lower: exact lower bound.
        max_failure: chance that is allowed.
        runs_needed: further runs, all good, after which it would be robust; 0 where it is decided.
    """

    name: Literal["robust", "fragile", "undetermined"]
    n_runs: int
    n_failed: int
    upper: float
    lower: float
    max_failure: float
    runs_needed: int


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """Compares values by pair; None without a common pair."""
    common = sorted(first.keys() & second.keys())
    if not common:
        return None
    differences = np.array([first[j] - second[j] for j in common])
    n, mean = len(differences), float(np.mean(differences))
    n_better = int(np.sum(differences > 0))
    if n == 1:
        return Paired(1, mean, -math.inf, math.inf, 1.0, math.nan, n_better=n_better)
    sd = float(np.std(differences, ddof=1))
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * sd / math.sqrt(n)
    exact = subset_interval(differences)
    return Paired(n, mean, mean - half, mean + half, sign_flip(differences), sd, *exact, n_better)


def subset_interval(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Interval of at least 95 % for the centre of symmetric differences, whatever their distribution: the centres that
    flipping signs does not refuse.

    Its ends are means of subsets. One run that fails makes a t interval so wide that it says nothing; this one stays
    as narrow as the other pairs allow. Infinite for five pairs or fewer; above 14 pairs by 10,000 random subsets.

    Reference:
        Hartigan (1969), Using subsample values as typical values, J. Am. Stat. Assoc. 64.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) <= _MOST_FLIPS:
        subsets = np.array(list(itertools.product((0.0, 1.0), repeat=len(values))))[1:]
    else:
        subsets = np.random.default_rng(0).integers(0, 2, size=(_DRAWS, len(values))).astype(float)
        subsets = subsets[subsets.any(axis=1)]
    rank = int(LEVEL / 2 * (len(subsets) + 1))
    if rank == 0:
        return -math.inf, math.inf
    means = np.sort(subsets @ values / subsets.sum(axis=1))
    return float(means[rank - 1]), float(means[-rank])


def sign_flip(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p value of a mean of zero, if a difference is as likely as its opposite."""
    values = np.asarray(differences, dtype=float)
    if len(values) <= _MOST_FLIPS:
        flips = np.array(list(itertools.product((-1.0, 1.0), repeat=len(values))))
        reached = np.abs(flips @ values) >= abs(values.sum()) * (1 - 1e-12)
        return float(np.mean(reached))
    flips = np.random.default_rng(0).choice((-1.0, 1.0), size=(_DRAWS, len(values)))
    reached = np.abs(flips @ values) >= abs(values.sum()) * (1 - 1e-12)
    return float((reached.sum() + 1) / (_DRAWS + 1))


def verdict(n_good: int, n_runs: int, max_failure: float = 0.1) -> Verdict:
    """Robust, fragile or undetermined.

    Args:
        n_good: runs that held.
        n_runs: runs.
        max_failure: chance of a failure that is allowed.

    Raises:
        ConfigError: if the counts or the chance make no sense.
    """
    if not 0 <= n_good <= n_runs or not 0 < max_failure < 1:
        raise ConfigError(f"verdict: got {n_good} of {n_runs}, {max_failure}, expected a part, and a chance in (0, 1)")
    bad = n_runs - n_good
    upper, lower = upper_bound(bad, n_runs), lower_bound(bad, n_runs)
    name: Literal["robust", "fragile", "undetermined"] = "undetermined"
    if upper <= max_failure:
        name = "robust"
    elif lower > max_failure:
        name = "fragile"
    needed = 0 if name != "undetermined" else runs_to_robust(bad, max_failure) - n_runs
    return Verdict(name, n_runs, bad, upper, lower, max_failure, needed)


def upper_bound(n_failed: int, n_runs: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound on a failure probability (Clopper-Pearson)."""
    return 1.0 if n_failed >= n_runs else float(betaincinv(n_failed + 1, n_runs - n_failed, confidence))


def lower_bound(n_failed: int, n_runs: int, confidence: float = 0.95) -> float:
    """Exact one-sided lower bound on a failure probability."""
    return 0.0 if n_failed == 0 else float(betaincinv(n_failed, n_runs - n_failed + 1, 1 - confidence))


def runs_to_robust(n_failed: int, max_failure: float, confidence: float = 0.95) -> int:
    """Runs in all, with so many failures among them, that bound the failure probability by `max_failure`."""
    runs = n_failed + 1
    while upper_bound(n_failed, runs, confidence) > max_failure:
        runs += 1
    return runs


def chance_all_good(n_runs: int, failure: float) -> float:
    """Chance that a config that fails with a given probability shows only good runs: 4 runs at .1, .66."""
    return (1.0 - failure) ** n_runs


def pooled_rate(counts: Sequence[tuple[int, int]]) -> float:
    """Failure rate over configs from (failed, runs) of each, with half a failure and half a success added."""
    failed, runs = sum(bad for bad, _ in counts), sum(n for _, n in counts)
    return (failed + 0.5) / (runs + 1.0) if runs else 0.0


def runs_needed(effect: float, sd: float = REFERENCE_SD, correlation: float = 0.0, power: float = POWER) -> int:
    r"""Runs per arm to see a difference.

    .. math:: n = 2 (1 - \rho) (z_{1-\alpha/2} + z_{power})^2 s^2 / d^2

    Args:
        effect: difference d to see.
        sd: standard deviation s of runs of a config.
        correlation: rho of two configs on the same pair; 0: unpaired.
        power: chance of seeing it.

    Raises:
        ConfigError: if effect or sd is not positive, or the correlation not in [0, 1).
    """
    if effect <= 0 or sd < 0 or not 0 <= correlation < 1:
        got = f"effect {effect}, sd {sd}, correlation {correlation}"
        raise ConfigError(f"runs_needed: got {got}, expected > 0, >= 0 and within [0, 1)")
    z = float(ndtri(1 - LEVEL / 2) + ndtri(power))
    return max(1, math.ceil(2 * (1 - correlation) * (z * sd / effect) ** 2))


def smallest_effect(
    n: int, sd: float = REFERENCE_SD, correlation: float = 0.0, power: float = POWER, paired: bool = False
) -> float:
    """Smallest difference that so many runs per arm are likely to see; infinite below two.

    As `runs_needed`, but with quantiles of t, since the runs are few where this is asked: n - 1 degrees of freedom for
    pairs, 2 n - 2 for separate runs (whose correlation is 0).
    """
    if n < 2:
        return math.inf
    free = n - 1 if paired else 2 * n - 2
    quantiles = stdtrit(free, 1 - LEVEL / 2) + stdtrit(free, power)
    return float(quantiles * sd * math.sqrt(2 * (1 - correlation) / n))
