"""`lobula info`: what can be set, what is shipped, what is installed."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lobula.cli.options import AsJson, Debug
from lobula.cli.session import session
from lobula.cli.tables import plain_table, terminal
from lobula.config import ParamRow, load_config, params_doc, recipe_names
from lobula.data.provenance import code_state, device_facts, versions

info_app = typer.Typer(help="What can be set, what is shipped, what is installed.", no_args_is_help=True)
Section = Annotated[
    str | None, typer.Argument(help="Only this section of the config, for example training.", show_default=False)
]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Only what acts on this model (model.name), with its equation, roles and the ranges of a search.",
        show_default=False,
    ),
]


@info_app.command()
def params(section: Section = None, model: Model = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Fields of the config: default, unit, valid values, meaning.

    Any of them can be changed with --set.

    Example:  [bold]lobula info params training --model flyvis_linear[/bold]
    """
    with session(debug):
        rows = params_doc(section)
        if model is not None:
            _params_of_model(model, rows, as_json)
            return
        if as_json:
            typer.echo(_json([asdict(row) for row in rows]))
            return
        lines = [[row.path, _shown(row.default), row.unit, row.valid or row.kind, row.meaning] for row in rows]
        terminal().print(plain_table(["field", "default", "unit", "valid", "meaning"], lines, "field"))


def _params_of_model(name: str, rows: list[ParamRow], as_json: bool) -> None:
    """What a search over a model has to know: its equation, and of what acts on it roles and ranges."""
    from lobula.models import registry  # torch: seconds that only this option pays

    entry = registry.entry(name)
    rows = [row for row in rows if row.path in entry.reads]
    if as_json:
        about = {"model": name, "equation": f"dv_i/dt = {entry.equation}"}
        typer.echo(_json(about | {"params": [asdict(row) for row in rows]}))
        return
    terminal().print(f"{name}: dv_i/dt = {entry.equation}", highlight=False, markup=False)
    lines = [
        [row.path, f"{_shown(row.default)} {row.unit}", row.valid or row.kind, _searched(row), row.role, row.meaning]
        for row in rows
    ]
    terminal().print(plain_table(["field", "default", "valid", "search", "role", "meaning"], lines, "field"))


def _searched(row: ParamRow) -> str:
    """What a search tries, in words."""
    words = [_shown(value) for value in row.search]
    if row.kind == "bool" or " | ".join(words) == row.valid:
        return "all" if words else ""
    if row.kind not in ("int", "float") or not words:
        return " | ".join(words)
    return f"{words[0]} to {words[1]}" + (", log" if row.scale == "log" else "")


def _json(value: object) -> str:
    return json.dumps(value, indent=2, default=str)


@info_app.command()
def recipes(as_json: AsJson = False, debug: Debug = False) -> None:
    """Shipped experiments.

    Example:  [bold]lobula info recipes[/bold]
    """
    with session(debug):
        found = {name: load_config(name).description for name in recipe_names()}
        if as_json:
            typer.echo(json.dumps(found, indent=2))
        else:
            terminal().print(plain_table(["recipe", "what for"], [list(row) for row in found.items()]))


@info_app.command(name="versions")
def show_versions(as_json: AsJson = False, debug: Debug = False) -> None:
    """Versions of lobula and of the libraries that decide numbers, and the machine: paste this into an issue.

    Example:  [bold]lobula info versions --json[/bold]
    """
    with session(debug):
        facts = {"versions": versions(), "code": code_state(), "device": device_facts()}
        if as_json:
            typer.echo(json.dumps(facts, indent=2))
            return
        rows = [[name, _shown(value)] for part in facts.values() for name, value in part.items()]
        terminal().print(plain_table(["", ""], rows))


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"[{', '.join(str(item) for item in value)}]" if isinstance(value, list) else str(value)
