"""`lobula run` and the commands of its stages. What takes long to import is imported when a stage runs."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from lobula.cli.options import Experiment, Words, resolve
from lobula.cli.session import session
from lobula.cli.tables import plan_table, score_table, terminal
from lobula.data.run_dir import RunDir
from lobula.processes import process_rank

Formats = Annotated[
    str | None,
    typer.Option("--formats", metavar="pdf,png,svg", help="Also leave every figure as files.", show_default=False),
]


OUTPUTS = {
    "simulate": "recording.zarr",
    "train": "models",
    "recover": "estimates",
    "score": "scores.json",
    "report": "report/index.html",
}
"""Stages in order, and what each leaves in the run directory."""


@dataclass(frozen=True)
class Outcome:
    """What a stage left behind.

    Attributes:
        path: what the command prints last.
        scores: content of scores.json, if the stage scored.
    """

    path: Path
    scores: dict[str, Any] | None = None


@dataclass(frozen=True)
class StageCommand:
    """A command that runs one stage, or all of them.

    Attributes:
        name: of the stage and of the command; "run" is all stages.
        help: with an example.
        call: (experiment, force, progress) -> Outcome.
        may_begin: whether it needs nothing from earlier stages.
        stages: what it does; default: the stage of its name.
    """

    name: str
    help: str
    call: Callable[[Experiment, bool, bool], Outcome]
    may_begin: bool = False
    stages: tuple[str, ...] = ()

    @property
    def chosen(self) -> tuple[str, ...]:
        """Stages that the command does."""
        return self.stages or (self.name,)


def run_until(last: str, experiment: Experiment, force: bool, progress: bool) -> Outcome:
    """All stages up to one."""
    from lobula import pipeline

    result = pipeline.run(experiment.config, experiment.out, force=force, progress=progress, until=last)
    return Outcome(_output(experiment, last), result.scores)


def _output(experiment: Experiment, stage: str) -> Path:
    if stage == "simulate" and experiment.config.simulation.recording is not None:
        return Path(experiment.config.simulation.recording)
    return experiment.out / OUTPUTS[stage]


def _simulate(experiment: Experiment, force: bool, progress: bool) -> Outcome:
    from lobula import pipeline

    pipeline.simulate(experiment.config, experiment.out, force=force, progress=progress)
    return Outcome(_output(experiment, "simulate"))


def _train(experiment: Experiment, force: bool, progress: bool) -> Outcome:
    from lobula import pipeline

    pipeline.train(experiment.config, experiment.out, force=force, progress=progress)
    return Outcome(_output(experiment, "train"))


def _recover(experiment: Experiment, force: bool, progress: bool) -> Outcome:
    from lobula import pipeline

    pipeline.recover(experiment.config, experiment.out, force=force, progress=progress)
    return Outcome(_output(experiment, "recover"))


def _score(experiment: Experiment, force: bool, progress: bool) -> Outcome:
    from lobula import pipeline

    scores = pipeline.score(experiment.config, experiment.out, force=force, progress=progress)
    return Outcome(_output(experiment, "score"), scores)


def _report(experiment: Experiment, force: bool, progress: bool) -> Outcome:
    from lobula import pipeline

    return Outcome(pipeline.report(experiment.config, experiment.out, force=force, progress=progress))


def _help(first: str, more: str, example: str) -> str:
    return f"{first}\n\n{more}\n\nExample:  [bold]{example}[/bold]"


STAGES = (
    StageCommand(
        "run",
        _help(
            "Simulate, train, recover, score and report.",
            "Stages whose inputs did not change are skipped, and an interrupted run goes on where it stopped. The last "
            "line is the path of the report. With --seeds, once per seed, and a table over seeds. With --until, up to "
            "that stage.",
            "lobula run fly-small --seeds 5 --until score --out runs/five",
        ),
        partial(run_until, "report"),
        may_begin=True,
        stages=tuple(OUTPUTS),
    ),
    StageCommand(
        "simulate",
        _help(
            "Simulate the circuit: recording.zarr, and its truth in truth.zarr.",
            "A killed simulation goes on where it stopped, to the same bits.",
            "lobula simulate fly-small --set simulation.process_noise=0.5 --out runs/noisy",
        ),
        _simulate,
        may_begin=True,
    ),
    StageCommand(
        "train",
        _help(
            "Fit the estimators to the recording: models/.",
            "Sees recording and wiring, never the truth. A killed training goes on at its last checkpoint.",
            "lobula train --out runs/noisy --set training.n_steps=5000",
        ),
        _train,
    ),
    StageCommand(
        "recover",
        _help(
            "Read weights, time constants, rests and cell types out of the models: estimates/.",
            "Never sees the truth.",
            "lobula recover --out runs/noisy --set recovery.readout=on_distribution",
        ),
        _recover,
    ),
    StageCommand(
        "score",
        _help(
            "Compare the estimates with the truth, beside the ceiling: scores.json.",
            "Prints the table of scores.",
            "lobula score --out runs/noisy --json",
        ),
        _score,
    ),
    StageCommand(
        "report",
        _help(
            "Draw the figures and write the page: report/index.html.",
            "One file that works offline, and a CSV of what every figure shows.",
            "lobula report --out runs/noisy --formats pdf,png",
        ),
        _report,
    ),
)


def perform(stage: StageCommand, words: Words) -> None:
    """Run a stage, or all of them, for one seed."""
    leads = process_rank() == 0  # of several processes that torchrun started one speaks
    with session(words.debug, words.quiet or not leads, words.verbose and leads):
        experiment = resolve(words.recipe, words.overrides, words.out, words.seed, may_begin=stage.may_begin)
        if words.dry_run:
            _print_plan(experiment, stage.chosen, words.as_json)
        else:
            outcome = stage.call(experiment, words.force, shows_progress(words.quiet) and leads)
            if leads:
                _print_outcome(experiment, stage.name, outcome, words.as_json)


def report(stage: StageCommand, words: Words, formats: str | None = None) -> None:
    """Run the report stage; its own option stands for a setting."""
    chosen = () if formats is None else (f"report.formats=[{formats}]",)
    perform(stage, replace(words, overrides=(*words.overrides, *chosen)))


def shows_progress(quiet: bool) -> bool:
    """Whether progress bars have somewhere to go."""
    return sys.stderr.isatty() and not quiet


def _print_plan(experiment: Experiment, stages: Sequence[str], as_json: bool) -> None:
    from lobula.cli.plan import make_plan

    plan = make_plan(experiment.config, experiment.out, stages)
    if as_json:
        typer.echo(json.dumps(plan.to_dict(), indent=2))
    else:
        terminal().print(plan_table(plan))


def _print_outcome(experiment: Experiment, command: str, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        facts = {"command": command, "run": str(experiment.out), "output": str(outcome.path)}
        facts["stages"] = RunDir.existing(experiment.out).manifest.get("stages", {})
        typer.echo(json.dumps(facts if outcome.scores is None else facts | {"scores": outcome.scores}, indent=2))
        return
    if outcome.scores is not None:
        terminal().print(score_table(outcome.scores))
    typer.echo(str(outcome.path))
