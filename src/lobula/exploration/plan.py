"""What a study will cost and what it can find out, before anything is spent: `lobula explore plan`."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import ndtri

from lobula.errors import ConfigError
from lobula.exploration.policies.budget import HOUR, race_sizes, runs_in
from lobula.exploration.statistics import (
    REFERENCE_CORRELATION,
    REFERENCE_SD,
    chance_all_good,
    runs_needed,
    runs_to_robust,
    smallest_effect,
    upper_bound,
)
from lobula.exploration.study import Study


@dataclass(frozen=True)
class PlanPhase:
    """A phase of a study.

    Attributes:
        name: "search", "race" or "certify".
        n_runs: runs; None: no limit.
        hours: wall-clock hours in the study's slots; None: no limit.
        note: what happens there.
    """

    name: str
    n_runs: int | None
    hours: float | None
    note: str


@dataclass(frozen=True)
class Power:
    """What a number of runs per config can show.

    Attributes:
        name: which runs.
        n: how many per config.
        unpaired: smallest difference seen at 80 % if every run had its own seeds; None: none, for a single run.
        paired: the same on common pairs of seeds.
        passes: chance that a config that fails as often as `Plan.failure` shows only good runs.
        bound: upper 95 % bound on the failure probability if all are good.
    """

    name: str
    n: int
    unpaired: float | None
    paired: float | None
    passes: float
    bound: float


@dataclass(frozen=True)
class Plan:
    """Cost, phases and power of a study.

    Attributes:
        study: name.
        slots: runs at the same time.
        run_seconds: time of a run.
        measured: whether that was measured or given; otherwise it is the time limit, and all hours are upper bounds.
        phases: in order.
        sd: standard deviation of runs of the same config.
        correlation: of two configs on the same pair of seeds.
        failure: failure probability of the fragile config that is looked at.
        luck: by how much the best of as many single runs as the search has looks better than it is, if all configs
            were equal; None without a limit.
        power: of panel and hold-out.
        effect: a difference of interest.
        effect_unpaired: runs per config to see it, with separate seeds.
        effect_paired: with common pairs.
        runs_to_robust: good runs in a row after which a config is called robust.
    """

    study: str
    slots: int
    run_seconds: float
    measured: bool
    phases: tuple[PlanPhase, ...]
    sd: float
    correlation: float
    failure: float
    luck: float | None
    power: tuple[Power, ...]
    effect: float
    effect_unpaired: int
    effect_paired: int
    runs_to_robust: int

    @property
    def n_runs(self) -> int | None:
        """Runs of all phases; None without a limit."""
        known = [phase.n_runs for phase in self.phases]
        return None if None in known else sum(number for number in known if number is not None)

    @property
    def hours(self) -> float | None:
        """Wall-clock hours of all phases; None without a limit."""
        known = [phase.hours for phase in self.phases]
        return None if None in known else sum(number for number in known if number is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"n_runs": self.n_runs, "hours": self.hours}

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values, to print."""
        at_most = "" if self.measured else "at most "
        found = [
            ("time per run", f"{at_most}{self.run_seconds / 60:.3g} min, {self.slots} at a time"),
            *((phase.name, f"{_cost(phase.n_runs, phase.hours, at_most)}: {phase.note}") for phase in self.phases),
            ("all", _cost(self.n_runs, self.hours, at_most)),
            ("noise", f"sd {self.sd:.3g} between runs of a config, correlation {self.correlation:.2g} within a pair"),
        ]
        if self.luck is not None:
            found.append(("luck", f"the best of the search's single runs may look {self.luck:.2g} better than it is"))
        for power in self.power:
            shown = "no difference" if power.paired is None else f"{power.paired:.2g} paired, {power.unpaired:.2g} not"
            found.append((f"{power.name} ({power.n} runs)", f"smallest difference seen: {shown}"))
            chance = f"a config that fails {self.failure:.0%} of the time passes at {power.passes:.0%}"
            found.append(("", f"{chance}; all good bounds its failures at {power.bound:.0%}"))
        needed = f"{self.effect_paired} pairs, or {self.effect_unpaired} runs per config with seeds of their own"
        found.append((f"to see {self.effect:g}", needed))
        found.append(("to be called robust", f"{self.runs_to_robust} good runs (failures at most {self.failure:.0%})"))
        return found


def plan_study(
    study: Study,
    run_seconds: float | None = None,
    sd: float | None = None,
    correlation: float | None = None,
    effect: float = 0.02,
    failure: float = 0.1,
) -> Plan:
    """Cost, phases and power of a study.

    Args:
        study: its definition.
        run_seconds: time of a run, measured or guessed; None: the time limit.
        sd: standard deviation of runs of the same config, such as `noise_floor` gives; None: the reference recipe's.
        correlation: of two configs on the same pair; None: the reference recipe's. 0 where pairing does not help.
        effect: difference of interest, in units of the metric.
        failure: failure probability of interest.

    Raises:
        ConfigError: if a number makes no sense.
    """
    sd = REFERENCE_SD if sd is None else sd
    correlation = REFERENCE_CORRELATION if correlation is None else correlation
    seconds = study.budget.run_seconds if run_seconds is None else run_seconds
    if seconds <= 0 or not 0 < failure < 1:
        raise ConfigError(f"plan: got {seconds} s a run, failure {failure}, expected > 0 and within (0, 1)")
    n_all = runs_in(study.budget, seconds)
    phases = _phases(study, n_all, seconds)
    n_search = phases[0].n_runs
    seeds = study.seeds
    sizes = [("panel", seeds.panel), *([("hold-out", seeds.holdout)] if seeds.holdout and study.policy.certify else [])]
    return Plan(
        study=study.name,
        slots=study.engine.slots,
        run_seconds=seconds,
        measured=run_seconds is not None,
        phases=phases,
        sd=sd,
        correlation=correlation,
        failure=failure,
        luck=None if n_search is None else sd * expected_maximum(n_search),
        power=tuple(_power(name, n, sd, correlation, failure) for name, n in sizes),
        effect=effect,
        effect_unpaired=runs_needed(effect, sd),
        effect_paired=runs_needed(effect, sd, correlation),
        runs_to_robust=runs_to_robust(0, failure),
    )


def expected_maximum(n: int) -> float:
    """Mean of the largest of n standard normal numbers (Blom's approximation); 0 below two."""
    return float(ndtri((n - 0.375) / (n + 0.25))) if n > 1 else 0.0


def _phases(study: Study, n_all: float, seconds: float) -> tuple[PlanPhase, ...]:
    n_groups = 1 if study.blocks.path is None else max(1, study.n_blocks or 1)
    staged, slots = study.policy.name == "staged", study.engine.slots
    sizes = race_sizes(study.policy, study.seeds.panel, n_all / n_groups) if staged else ()
    n_race = n_groups * sum(sizes)
    n_search = None if math.isinf(n_all) else max(0, int(n_all) - n_race)
    blocks = study.n_blocks
    if study.blocks.n_iter is not None and blocks is not None:
        n_search = min(n_search if n_search is not None else blocks * study.blocks.n_iter, blocks * study.blocks.n_iter)
    hours = None if n_search is None else n_search * seconds / slots / HOUR
    found = [PlanPhase("search", n_search, hours, f"{study.proposer.name} proposes, {study.policy.name} decides")]
    if sizes:
        hours = sum(math.ceil(n_groups * size / slots) for size in sizes) * seconds / HOUR
        note = f"{' then '.join(map(str, sizes))} configs on pairs 1 to {len(sizes)} of the panel"
        found.append(
            PlanPhase("race", n_race, hours, note if n_groups == 1 else f"{note}, in each of {n_groups} blocks")
        )
    if study.policy.certify and study.seeds.holdout:
        n_runs = 2 * n_groups * study.seeds.holdout
        hours = math.ceil(n_runs / slots) * seconds / HOUR
        found.append(PlanPhase("certify", n_runs, hours, f"winner and base on {study.seeds.holdout} hidden pairs"))
    return tuple(found)


def _power(name: str, n: int, sd: float, correlation: float, failure: float) -> Power:
    paired, unpaired = smallest_effect(n, sd, correlation, paired=True), smallest_effect(n, sd)
    return Power(
        name,
        n,
        None if math.isinf(unpaired) else unpaired,
        None if math.isinf(paired) else paired,
        chance_all_good(n, failure),
        upper_bound(0, n),
    )


def _cost(n_runs: int | None, hours: float | None, at_most: str) -> str:
    if n_runs is None or hours is None:
        return "no limit"
    return f"{n_runs} runs, {at_most}{hours:.3g} h"
