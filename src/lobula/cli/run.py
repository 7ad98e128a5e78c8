"""`lobula run`: all stages, for one seed or for several."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lobula.cli.options import RUNS, Experiment, Words, resolve
from lobula.cli.session import session
from lobula.cli.stages import OUTPUTS, StageCommand, perform, run_until, shows_progress
from lobula.cli.tables import plain_table, plan_table, terminal
from lobula.errors import ConfigError, DivergedError
from lobula.processes import process_count

Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="N|A,B,...",
        help="Run once per seed (5 is 0 to 4) below --out and print mean, spread and worst. Default --out: "
        "runs/NAME-seeds.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="STAGE", help=f"Last stage: {', '.join(OUTPUTS)}.", show_default="report"),
]


def run(stage: StageCommand, words: Words, seeds: str | None = None, until: str | None = None) -> None:
    """Run all stages, or those up to one, for one seed or for several."""
    with session(words.debug, words.quiet, words.verbose):
        last = _stage(until, "--until", tuple(OUTPUTS))
    if seeds is None:
        stages = tuple(OUTPUTS)[: list(OUTPUTS).index(last) + 1]
        perform(replace(stage, call=partial(run_until, last), stages=stages), words)
        return
    with session(words.debug, words.quiet, words.verbose):
        from lobula.seeds import parse_seeds

        _stage(until, "--until with --seeds", ("score", "report"))
        if words.seed is not None:
            raise ConfigError("--seed and --seeds: got both, expected one of them")
        refuse_several_processes("--seeds")
        _refuse_seed_fields(words.overrides)
        chosen = parse_seeds(seeds)
        experiment = resolve_seeds(words.recipe, words.overrides, words.out)
        if words.dry_run:
            _print_plan(experiment, chosen, last, words.as_json)
        else:
            _run(experiment, chosen, last, words.force, shows_progress(words.quiet), words.as_json)


def _stage(name: str | None, what: str, allowed: tuple[str, ...]) -> str:
    """The stage that a word names; by default the last."""
    if name is not None and name not in allowed:
        raise ConfigError(f"{what}: got {name!r}, expected one of {', '.join(allowed)}")
    return name or allowed[-1]


def resolve_seeds(recipe: str | None, overrides: Sequence[str], out: Path | None, suffix: str = "-seeds") -> Experiment:
    """The experiment of a command over seeds; its default folder is runs/NAME with a suffix."""
    experiment = resolve(recipe, overrides, out, None)
    return experiment if out is not None else Experiment(experiment.config, RUNS / f"{experiment.config.name}{suffix}")


def refuse_several_processes(what: str) -> None:
    """Raises ConfigError under torchrun: several runs, one after the other, are for one process."""
    if process_count() > 1:
        raise ConfigError(f"{what}: got several processes (torchrun), expected one; start the seeds one by one")


def _refuse_seed_fields(overrides: Sequence[str]) -> None:
    from lobula.report.reference import SEED_FIELDS

    named = [path for path in (override.partition("=")[0].strip() for override in overrides) if path in SEED_FIELDS]
    if named:
        raise ConfigError(f"--set {named[0]}: got it beside --seeds, which sets it; expected one of them")


def _run(experiment: Experiment, seeds: tuple[int, ...], last: str, force: bool, progress: bool, as_json: bool) -> None:
    from lobula import pipeline
    from lobula.report.seed_table import HEADINGS, JSON_NAME, MARKDOWN_NAME
    from lobula.seeds import run_seeds

    stages = partial(pipeline.run, until=last)
    table = run_seeds(experiment.config, experiment.out, seeds, force, progress, stages)
    if as_json:
        facts = {"command": "run", "run": str(experiment.out), "output": str(experiment.out / JSON_NAME)}
        typer.echo(json.dumps(facts | table.to_dict(), indent=2))
    else:
        for line in table.header():
            typer.echo(line)
        terminal().print(plain_table(list(HEADINGS), [list(row) for row in table.rows()]))
        typer.echo(str(experiment.out / MARKDOWN_NAME))
    if table.failed:
        raise DivergedError(f"seeds {', '.join(map(str, table.failed))}: failed, see {experiment.out / JSON_NAME}")


def _print_plan(experiment: Experiment, seeds: tuple[int, ...], last: str, as_json: bool) -> None:
    from lobula.cli.plan import make_plan
    from lobula.seeds import seed_config

    stages = tuple(OUTPUTS)[: list(OUTPUTS).index(last) + 1]
    plan = make_plan(seed_config(experiment.config, seeds[0]), experiment.out, stages)
    if as_json:
        typer.echo(json.dumps(plan.to_dict() | {"seeds": seeds}, indent=2))
    else:
        terminal().print(plan_table(plan))
        typer.echo(f"for each of {len(seeds)} seeds: {len(seeds)} times the disk and the time")
