"""Seeds as a design: run j of every config has pair j of the panel, so that configs compare in pairs."""

from lobula.config import ExperimentConfig
from lobula.exploration.records import SeedPair, Snapshot
from lobula.exploration.study import SEED_FIELDS, Seeds


def panel(seeds: Seeds) -> tuple[SeedPair, ...]:
    """The pairs that a search may use, in order."""
    same = seeds.mode == "same-data"
    numbers = range(seeds.first, seeds.first + seeds.panel)
    return tuple(SeedPair(j, seeds.first if same else number, number) for j, number in enumerate(numbers))


def holdout(seeds: Seeds) -> tuple[SeedPair, ...]:
    """The pairs that certify; their recordings are none of the panel's.

    With one recording in the panel there is one here, too, and it is another.
    """
    first = seeds.first + seeds.panel
    same = seeds.mode == "same-data"
    numbers = range(first, first + seeds.holdout)
    return tuple(SeedPair(j, first if same else number, number, holdout=True) for j, number in enumerate(numbers))


def next_pair(snapshot: Snapshot, config: str, of_holdout: bool = False) -> SeedPair | None:
    """The first pair that a config has no run on; None if it has had them all.

    A run that the machine failed counts: it is tried again on its own pair.

    Args:
        snapshot: what the study knows.
        config: id of the config.
        of_holdout: of the hold-out instead of the panel.
    """
    used = {run.pair.index for run in snapshot.runs_of(config, of_holdout)}
    pairs = holdout(snapshot.study.seeds) if of_holdout else panel(snapshot.study.seeds)
    return next((pair for pair in pairs if pair.index not in used), None)


def with_pair(config: ExperimentConfig, pair: SeedPair) -> ExperimentConfig:
    """The config with the seeds of a pair."""
    return config.with_values(dict(zip(SEED_FIELDS, (pair.data, pair.init), strict=True)))
