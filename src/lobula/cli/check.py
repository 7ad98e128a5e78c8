"""`lobula check`: is everything still as good as the stored reference says?"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lobula.cli.options import AsJson, Debug, Quiet, Set, Verbose
from lobula.cli.run import refuse_several_processes, resolve_seeds
from lobula.cli.session import session
from lobula.cli.stages import shows_progress
from lobula.cli.tables import plain_table, terminal
from lobula.errors import MissingInputError
from lobula.report.assess import parse_command

if TYPE_CHECKING:
    from lobula.regression_check import CheckResult

EXIT_WORSE = 1
Named = Annotated[str, typer.Argument(metavar="RECIPE", help="Shipped recipe or YAML file.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of the check. Default: runs/NAME-check.", show_default=False),
]
Stored = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="Default: the one shipped with the recipe; beside a YAML file, NAME.reference.json.",
        show_default=False,
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="N|A,B,...", help="Default: those of the reference.", show_default=False),
]
SkipTrain = Annotated[
    bool, typer.Option("--skip-train", help="Recover and score again what is in --out, with its settings.")
]
SkipPlot = Annotated[bool, typer.Option("--skip-plot", help="Draw no report.")]
Update = Annotated[bool, typer.Option("--update", help="Make or renew the reference from these runs.")]
Everything = Annotated[bool, typer.Option("--all", help="Show every metric, not only headlines and what moved.")]
Assess = Annotated[
    str | None,
    typer.Option(
        "--assess",
        metavar="COMMAND",
        help="Add what this command says to the history: table on its stdin, paths of figures as arguments. Never "
        "changes the verdict.",
        show_default=False,
    ),
]
AssessTimeout = Annotated[float, typer.Option("--assess-timeout", min=0.1, help="Seconds that it has.")]


def check_command(
    recipe: Named,
    overrides: Set = None,
    out: Out = None,
    reference: Stored = None,
    seeds: Seeds = None,
    skip_train: SkipTrain = False,
    skip_plot: SkipPlot = False,
    update: Update = False,
    assess: Assess = None,
    assess_timeout: AssessTimeout = 300.0,
    everything: Everything = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Run a recipe over seeds and compare every figure with a stored reference.

    Compared are scores, the training's losses at fixed steps, the size of the estimates, and the settings.
    Exit status 0: as good as the reference or better; 1: something is worse, changed or missing; 2: bad input.
    Earlier logs and scores go to archive/, every verdict to history.md.

    Example:  [bold]lobula check fly-small --seeds 1 --skip-plot[/bold]

    New reference:  [bold]lobula check mine.yaml --update --seeds 5[/bold]
    """
    with session(debug, quiet, verbose):
        from lobula.regression_check import CheckOptions, check
        from lobula.report.reference import reference_path
        from lobula.seeds import parse_seeds

        refuse_several_processes("check")
        options = CheckOptions(
            parse_seeds(seeds) if seeds is not None else None,
            skip_train,
            skip_plot,
            update,
            tuple(parse_command(assess)) if assess is not None else (),
            assess_timeout,
        )
        experiment = resolve_seeds(recipe, overrides or (), out, "-check")
        file = reference_path(recipe) if reference is None else reference
        if not (file.is_file() or update):
            words = ["lobula", "check", recipe, *(word for value in overrides or () for word in ("--set", value))]
            given = {"--out": out, "--reference": reference, "--seeds": seeds}
            words += [str(word) for name, value in given.items() if value is not None for word in (name, value)]
            raise MissingInputError(
                f"{recipe}: no reference to compare with ({file} does not exist); make one from runs of today's code "
                f"with: {shlex.join([*words, '--update'])}"
            )
        result = check(experiment.config, experiment.out, file, options, shows_progress(quiet))
        _print(result, everything, as_json)
        if result.comparison is not None and not result.comparison.passes and not result.updated:
            raise typer.Exit(EXIT_WORSE)


def _print(result: "CheckResult", everything: bool, as_json: bool) -> None:
    from lobula.report.regression import HEADINGS

    comparison = result.comparison
    if as_json:
        facts = {"command": "check", "reference": str(result.reference), "updated": result.updated}
        facts["history"] = str(result.history) if result.history else None
        outcome = comparison.to_dict() if comparison else {"verdict": "none"}
        typer.echo(json.dumps(facts | outcome, indent=2))
        return
    if comparison is not None:
        rows = [list(row.cells()) for row in comparison.shown_rows(everything)]
        terminal().print(plain_table(list(HEADINGS), rows))
        for line in comparison.header():
            typer.echo(line)
    if result.updated:
        typer.echo(f"reference written: {result.reference}")
    if result.history is not None:
        typer.echo(str(result.history))
