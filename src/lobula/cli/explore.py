"""`lobula explore`: studies, from the plan to the certified configuration."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lobula.cli.options import AsJson, Debug, Quiet, Set, Verbose
from lobula.cli.session import session
from lobula.cli.tables import plain_table, terminal

if TYPE_CHECKING:
    from lobula.exploration.records import Snapshot

STUDIES = Path("studies")
explore_app = typer.Typer(
    help="Automated experiments: propose, run in slots, score, judge, note.\n\nStart with `lobula explore plan "
    "fly-tiny`, then `lobula explore run fly-tiny`. Killed at any moment, `lobula explore resume` goes on.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Definition = Annotated[
    str, typer.Argument(metavar="STUDY", help="Shipped study (lobula explore studies), YAML file, or instruction file.")
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a study that was started.")]
NodeId = Annotated[int, typer.Argument(metavar="NODE", min=1, help="Number of a node (lobula explore tree).")]
NewFolder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Default: studies/NAME.", show_default=False)
]


@explore_app.command("studies")
def studies() -> None:
    """The studies that lobula ships."""
    from lobula.exploration.study_files import load_study, study_names

    rows = [[name, load_study(name).base, load_study(name).description] for name in study_names()]
    terminal().print(plain_table(["study", "recipe", ""], rows))


@explore_app.command()
def plan(
    study: Definition,
    overrides: Set = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Seconds of a run. Default: its time limit.")
    ] = None,
    sd: Annotated[float | None, typer.Option("--sd", min=0.0, help="Spread of the score over seeds.")] = None,
    correlation: Annotated[
        float | None, typer.Option("--correlation", min=0.0, max=0.999, help="Of two configs on the same seeds.")
    ] = None,
    effect: Annotated[float, typer.Option("--effect", min=1e-6, help="Difference that would matter.")] = 0.02,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """What a study will cost, and the smallest effect that it can see, before anything runs.

    Example:  [bold]lobula explore plan fly-tiny --seconds 10 --sd 0.02[/bold]
    """
    with session(debug):
        from lobula.exploration.plan import plan_study
        from lobula.exploration.study_files import load_study

        result = plan_study(load_study(study, overrides or ()), seconds, sd, correlation, effect)
        if as_json:
            typer.echo(json.dumps(result.to_dict(), indent=2))
        else:
            terminal().print(plain_table(["", ""], [list(row) for row in result.rows()]))


@explore_app.command()
def run(
    study: Definition,
    overrides: Set = None,
    out: NewFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Start a study, or go on with the one in --out, until its budget is spent.

    Example:  [bold]lobula explore run fly-tiny --set engine.slots=2 --out studies/first[/bold]
    """
    with session(debug, quiet, verbose):
        from lobula.exploration.manage import drive, start
        from lobula.exploration.study_files import load_study

        definition = load_study(study, overrides or ())
        folder = out or STUDIES / definition.name
        start(definition, folder)
        _tell(drive(folder), folder, as_json)


@explore_app.command()
def resume(
    folder: Folder,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Go on with a study that was interrupted or killed; nothing is lost and nothing runs twice.

    Example:  [bold]lobula explore resume studies/fly-tiny[/bold]
    """
    with session(debug, quiet, verbose):
        from lobula.exploration.manage import drive

        _tell(drive(folder), folder, as_json)


@explore_app.command()
def status(folder: Folder, as_json: AsJson = False, debug: Debug = False) -> None:
    """Phase, budget, what runs, the best configurations with intervals, and what was decided about them.

    Example:  [bold]lobula explore status studies/fly-tiny[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import read

        _tell(read(folder), folder, as_json)


@explore_app.command()
def tree(folder: Folder, as_json: AsJson = False, debug: Debug = False) -> None:
    """Every node below its parent: score over its runs, class, what changed, who proposed it.

    Example:  [bold]lobula explore tree studies/fly-tiny[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import read
        from lobula.exploration.summary import tree_lines, tree_rows

        snapshot = read(folder)
        typer.echo(json.dumps(tree_rows(snapshot), indent=2) if as_json else "\n".join(tree_lines(snapshot)))


@explore_app.command()
def why(folder: Folder, node: NodeId, as_json: AsJson = False, debug: Debug = False) -> None:
    """Why a node was tried, on what, what came of it, and how sure that is.

    Example:  [bold]lobula explore why studies/fly-tiny 7[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import read
        from lobula.exploration.summary import explain, explain_lines

        facts = explain(read(folder), node)
        typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(explain_lines(facts)))


@explore_app.command()
def diff(folder: Folder, node: NodeId, debug: Debug = False) -> None:
    """Settings of a node against the base of its block, and its code against the base commit.

    Example:  [bold]lobula explore diff studies/fly-tiny 7[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import node_diff

        typer.echo(node_diff(folder, node))


@explore_app.command()
def replay(folder: Folder, run_id: Annotated[int, typer.Argument(metavar="RUN", min=1)], debug: Debug = False) -> None:
    """Repeat a run, same code, settings and seeds, beside the study, and compare its scores.

    Exit status 1 if they differ.

    Example:  [bold]lobula explore replay studies/fly-tiny 3[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import replay_run

        rows, same = replay_run(folder, run_id)
        terminal().print(plain_table(["score", "then", "now"], rows))
        typer.echo("the same" if same else "not the same")
        if not same:
            raise typer.Exit(1)


@explore_app.command()
def race(folder: Folder, debug: Debug = False) -> None:
    """End the search: what is left of the budget goes to a race of the best configurations over the panel's seeds."""
    _to_phase(folder, "race", debug)


@explore_app.command()
def certify(folder: Folder, debug: Debug = False) -> None:
    """End search and race: winner and baseline run on seeds that the study never saw."""
    _to_phase(folder, "certify", debug)


def _to_phase(folder: Path, phase: str, debug: bool) -> None:
    with session(debug):
        from lobula.exploration.manage import ask

        ask(folder, "phase", {"phase": phase})
        typer.echo(f"asked for {phase}; a controller that runs does it now, else: lobula explore resume {folder}")


@explore_app.command()
def note(
    folder: Folder, text: str, node: Annotated[int | None, typer.Option("--node")] = None, debug: Debug = False
) -> None:
    """Add an observation to a node, or a principle to the study's memory.

    Example:  [bold]lobula explore note studies/fly-tiny "larger batches are no use" --node 7[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import ask

        ask(folder, "note", {"text": text} | ({"node": node} if node is not None else {}))


@explore_app.command()
def stop(folder: Folder, debug: Debug = False) -> None:
    """No more proposals: what runs is finished, then the race and the certification take place.

    Ctrl-C in the controller, or kill, stops it at once; `lobula explore resume` goes on.
    """
    with session(debug):
        from lobula.exploration.manage import ask

        ask(folder, "stop", {})


@explore_app.command()
def promote(
    folder: Folder,
    node: NodeId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Recipe to write. Default: NAME-NODE.yaml.")
    ] = None,
    branch: Annotated[str | None, typer.Option("--branch", help="Branch for a node's code.")] = None,
    debug: Debug = False,
) -> None:
    """Write a node's settings as a recipe, and its code as a clean branch.

    Example:  [bold]lobula explore promote studies/fly-tiny 7 --out better.yaml[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import promote_node

        for line in promote_node(folder, node, out, branch):
            typer.echo(line)


@explore_app.command()
def export(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: FOLDER/export.", show_default=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """The dashboard as one HTML file, and the runs as CSV.

    Example:  [bold]lobula explore export studies/fly-tiny --out report[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import export_study

        typer.echo(str(export_study(folder, out or folder / "export")))


@explore_app.command()
def serve(
    folder: Folder, port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8765, debug: Debug = False
) -> None:
    """The live dashboard of a study, on this machine only, until Ctrl-C.

    Example:  [bold]lobula explore serve studies/fly-tiny[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import serve_dashboard

        serve_dashboard(folder, port, typer.echo)


@explore_app.command()
def mcp(folder: Folder, debug: Debug = False) -> None:
    """An MCP server on stdin and stdout, through which any agent client can drive the study.

    Example:  [bold]lobula explore mcp studies/fly-tiny[/bold]
    """
    with session(debug):
        from lobula.exploration.manage import serve_mcp

        serve_mcp(folder)


def _tell(snapshot: "Snapshot", folder: Path, as_json: bool) -> None:
    from lobula.exploration.summary import status_facts, status_lines

    facts: dict[str, Any] = status_facts(snapshot)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder)} | facts, indent=2))
        return
    for line in status_lines(facts):
        typer.echo(line)
    typer.echo(str(folder))
