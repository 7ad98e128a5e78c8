"""The same experiment over seeds: one run directory per seed, and a table of their scores."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lobula import pipeline
from lobula.config import ExperimentConfig
from lobula.data.run_dir import MANIFEST
from lobula.errors import ConfigError, DivergedError, StoreError
from lobula.report.reference import SEED_FIELDS
from lobula.report.seed_table import SeedScores
from lobula.report.words import duration

logger = logging.getLogger(__name__)

MOST_SEEDS = 1000
Stages = Callable[[ExperimentConfig, Path, bool, bool], object]
"""(config, run directory, force, progress): what is done for one seed."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds from the words of an option: "5" is 0 to 4, "0,1,7" those three, "7," only 7.

    Raises:
        ConfigError: if it is neither.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(f"--seeds: got {text!r}, expected a number of seeds (5) or a list of them (0,1,2)")
    numbers = tuple(int(word) for word in words)
    seeds = numbers if "," in text else tuple(range(min(numbers[0], MOST_SEEDS + 1)))
    if not 0 < len(seeds) <= MOST_SEEDS or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds: got {text!r}, expected 1 to {MOST_SEEDS} different seeds")
    return seeds


def seed_config(config: ExperimentConfig, seed: int) -> ExperimentConfig:
    """The config with the seed of simulation and training."""
    return config.with_values(dict.fromkeys(SEED_FIELDS, seed))


def seed_folder(out: Path, seed: int) -> Path:
    """Run directory of a seed."""
    return out / f"seed-{seed}"


def run_seeds(
    config: ExperimentConfig,
    out: str | Path,
    seeds: Sequence[int],
    force: bool = False,
    progress: bool = True,
    stages: Stages = pipeline.run,
) -> SeedScores:
    """Runs an experiment once per seed below ``out`` and writes seeds.json and seeds.md there.

    Finished seeds are skipped, an interrupted one goes on where it stopped. A seed that leaves the finite numbers is
    noted as failed, and the others go on.

    Args:
        config: from `load_config`; its seeds are replaced.
        out: folder of the run directories seed-0, seed-1, ...; made if need be.
        seeds: seeds of simulation and training.
        force: repeat stages whose inputs are unchanged.
        progress: show progress bars.
        stages: what is done for one seed; must leave scores.json.

    Raises:
        StoreError: if ``out`` is a file or a run directory itself.
    """
    folder = Path(out)
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[int, str] = {}
    begin = time.monotonic()
    for k, seed in enumerate(seeds):
        spent = time.monotonic() - begin
        left = f", about {duration(spent / k * (len(seeds) - k))} to go" if k else ""
        logger.info("seed %d: %d of %d%s", seed, k + 1, len(seeds), left)
        try:
            stages(seed_config(config, seed), seed_folder(folder, seed), force, progress)
        except DivergedError as error:
            logger.warning("seed %d failed: %s", seed, error)
            failed[seed] = str(error)
        table = collect(config, folder, [s for s in seeds[: k + 1] if s not in failed], failed)
        table.save(folder)
    return table


def collect(
    config: ExperimentConfig, folder: Path, seeds: Sequence[int], failed: dict[int, str] | None = None
) -> SeedScores:
    """The scores of seeds that are there.

    Raises:
        StoreError: if a scores.json cannot be read.
    """
    scores = {}
    for seed in seeds:
        file = seed_folder(folder, seed) / "scores.json"
        try:
            scores[seed] = json.loads(file.read_text())
        except (OSError, ValueError) as cause:
            raise StoreError(f"{file}: cannot be read ({cause}), expected scores; score that seed again") from cause
    digest = config.digest(exclude=SEED_FIELDS)
    return SeedScores(config.name, config.training.target, scores, dict(failed or {}), digest)


def check_folder(folder: Path) -> None:
    """Check that runs of seeds may go below a folder.

    Raises:
        StoreError: if it is a file, or a run directory itself.
    """
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: a file, expected a folder for the seeds; choose another --out")
    if (folder / MANIFEST).exists():
        raise StoreError(f"{folder}: a run of one seed, expected a folder for several; choose another --out")
