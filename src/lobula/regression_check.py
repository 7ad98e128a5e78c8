"""`lobula check`: run a recipe over seeds and hold its figures against the stored reference."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lobula import pipeline
from lobula.config import ExperimentConfig
from lobula.data.atomic import atomic_write_json
from lobula.data.run_dir import MANIFEST, RunDir
from lobula.errors import ConfigError, MissingInputError, StoreError
from lobula.report.assess import assess
from lobula.report.fingerprint import run_figures
from lobula.report.reference import SEED_FIELDS, Reference
from lobula.report.regression import Comparison, append_history, compare_with_reference
from lobula.seeds import check_folder, run_seeds, seed_config, seed_folder

logger = logging.getLogger(__name__)

MARKER = "check.json"  # makes a folder the check's own
VERDICT = "verdict.json"
ARCHIVE = "archive"
DEFAULT_SEEDS = (0, 1, 2)
_LOGS = (MANIFEST, "config.yaml", "scores.json", "models/gnn/metrics.csv", "models/spline/history.csv")
_TABLES = ("seeds.json", "seeds.md", VERDICT)


@dataclass(frozen=True)
class CheckOptions:
    """What a check does.

    Attributes:
        seeds: seeds to run; None: those of the reference, or 0, 1, 2 for a new one.
        skip_train: score what is in the folder: recover and score again, no simulation, no training.
        skip_plot: no report.
        update: make or renew the reference.
        assess: words of a command that comments on the result; none by default.
        assess_timeout_s: time that it has [s].
    """

    seeds: tuple[int, ...] | None = None
    skip_train: bool = False
    skip_plot: bool = False
    update: bool = False
    assess: tuple[str, ...] = ()
    assess_timeout_s: float = 300.0


@dataclass(frozen=True)
class CheckResult:
    """How a check ended.

    Attributes:
        comparison: against the reference that was there; None if there was none.
        reference: path of the reference.
        updated: whether it was written.
        history: path of history.md, if there was a comparison.
    """

    comparison: Comparison | None
    reference: Path
    updated: bool
    history: Path | None


def check(
    config: ExperimentConfig,
    out: str | Path,
    reference: Path,
    options: CheckOptions | None = None,
    progress: bool = True,
) -> CheckResult:
    """Runs a config over seeds and compares every figure with the reference.

    Every check does all work anew, as the code may have changed; one that was cut off goes on where it stopped, as long
    as code, settings and seeds are the same. What an earlier check left is moved to archive/TIME first.

    Args:
        config: from `load_config`; its seeds are replaced.
        out: folder of the check; made if need be.
        reference: path of the reference file.
        options: default: the seeds of the reference, everything done.
        progress: show progress bars.

    Raises:
        MissingInputError: if there is no reference and none is to be made, or nothing to score with `skip_train`.
        StoreError: if the folder is not a check's, or a file cannot be read.
    """
    options, folder = options or CheckOptions(), Path(out)
    known = _known(reference, options.update)
    seeds = options.seeds or (known.seeds if known else DEFAULT_SEEDS)
    check_folder(folder)
    if options.skip_train:
        config = _config_there(folder, seeds)
        _archive(folder, seeds, remove=False)
    else:
        _prepare(config, folder, seeds)
    table = run_seeds(config, folder, seeds, force=options.skip_train, progress=progress, stages=_stages(options))
    done = [seed for seed in seeds if seed not in table.failed]
    figures = {seed: run_figures(seed_folder(folder, seed), seed_config(config, seed)) for seed in done}
    comparison = compare_with_reference(known, config, figures, table.failed) if known else None
    if options.update:
        if table.failed or not figures:
            raise ConfigError(f"--update: seeds {sorted(table.failed)} failed, expected all to finish; change --seeds")
        Reference.make(config, figures).save(reference)
    history = _remember(folder, comparison, options, seeds) if comparison else None
    outcome = comparison.to_dict() if comparison else {"verdict": "none", "seeds": seeds}
    atomic_write_json(folder / VERDICT, outcome | {"updated": options.update})
    if not options.skip_train:
        atomic_write_json(folder / MARKER, {"state": "done"})
    return CheckResult(comparison, reference, options.update, history)


def _known(path: Path, update: bool) -> Reference | None:
    """The reference that is there; one that is to be renewed need not be readable."""
    try:
        return Reference.load(path)
    except (MissingInputError, StoreError) as error:
        if not update:
            raise
        logger.info("no comparison: %s", error)
        return None


def _stages(options: CheckOptions) -> Any:
    def stages(config: ExperimentConfig, out: Path, force: bool, progress: bool) -> None:
        if not options.skip_train:
            pipeline.simulate(config, out, force, progress)
            pipeline.train(config, out, force, progress)
        pipeline.recover(config, out, force, progress)
        pipeline.score(config, out, force, progress)
        if not options.skip_plot:
            pictures = {"report.formats": ["png"]} if options.assess else {}
            pipeline.report(config.with_values(pictures), out, force, progress)

    return stages


def _config_there(folder: Path, seeds: Sequence[int]) -> ExperimentConfig:
    """The settings of the runs that are to be scored; those of all seeds must be the same."""
    configs = [RunDir.existing(seed_folder(folder, seed)).config for seed in seeds]
    if len({config.digest(exclude=SEED_FIELDS) for config in configs}) > 1:
        raise ConfigError(f"{folder}: the runs of the seeds have different settings, expected the same; run them again")
    return configs[0]


def _prepare(config: ExperimentConfig, folder: Path, seeds: Sequence[int]) -> None:
    """Goes on with a check that was cut off, or moves what is there out of the way."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = {"source": _source_digest(), "settings": config.digest(exclude=SEED_FIELDS), "seeds": list(seeds)}
    marker = folder / MARKER
    old: dict[str, Any] = {}
    if marker.is_file():
        try:
            old = json.loads(marker.read_text())
        except (OSError, ValueError) as cause:
            raise StoreError(
                f"{marker}: damaged ({cause}), expected JSON; delete it or choose another --out"
            ) from cause
    elif any(seed_folder(folder, seed).exists() for seed in seeds):
        raise StoreError(
            f"{folder}: holds runs that no check made, and a check starts anew; choose another --out, or score them "
            "with --skip-train"
        )
    if old == begun | {"state": "running"}:
        logger.info("%s: going on with the check that was cut off", folder)
        return
    _archive(folder, seeds, remove=True)
    atomic_write_json(marker, begun | {"state": "running"})


def _archive(folder: Path, seeds: Sequence[int], remove: bool) -> None:
    """Keeps logs and scores under archive/TIME; with `remove`, the runs themselves go."""
    stamp = f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}"
    target, k = folder / ARCHIVE / stamp, 1
    while target.exists():
        target, k = folder / ARCHIVE / f"{stamp}-{k}", k + 1
    files = [folder / name for name in _TABLES]
    files += [seed_folder(folder, seed) / name for seed in seeds for name in _LOGS]
    for file in files:
        if file.is_file():
            kept = target / file.relative_to(folder)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, kept)
    if target.exists():
        logger.info("earlier logs and scores: %s", target)
    for run in [seed_folder(folder, seed) for seed in seeds if remove]:
        if (run / MANIFEST).is_file():
            with RunDir(run):  # nobody works in it
                shutil.rmtree(run)


def _remember(folder: Path, comparison: Comparison, options: CheckOptions, seeds: Sequence[int]) -> Path:
    """Adds the check to history.md, with what the command of --assess says."""
    note = "The reference was renewed from these runs." if options.update else ""
    if options.assess:
        pictures = sorted((seed_folder(folder, seeds[0]) / "report" / "figures").glob("*.png"))
        table = comparison.to_markdown(everything=True)
        note += "\n\n" + assess(options.assess, table, pictures, options.assess_timeout_s)
    return append_history(folder, comparison, note)


def _source_digest() -> str:
    """Of lobula's own source: a check that was cut off goes on with the same code only."""
    package, digest = Path(__file__).resolve().parent, hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package)} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
