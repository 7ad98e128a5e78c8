"""`lobula compare`: runs side by side."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lobula.cli.options import AsJson, Debug
from lobula.cli.session import session
from lobula.cli.tables import plain_table, terminal
from lobula.data.atomic import atomic_write_text

Runs = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run directories, or folders of seeds; two or more.")
]
Output = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Also write the comparison there, as Markdown.", show_default=False),
]


def compare(runs: Runs, out: Output = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Which settings of runs differ, and by how much their scores do, each compared with the first.

    Seeds are paired where both have them, and the interval is a t interval over seeds. Runs that were fitted to
    different targets (observed, drift) cannot be compared.

    Example:  [bold]lobula compare runs/five runs/five-without-rounds[/bold]
    """
    with session(debug):
        from lobula.report.comparison import HEADINGS, compare_runs

        comparison = compare_runs(runs)
        if out is not None:
            atomic_write_text(out, comparison.to_markdown())
        if as_json:
            typer.echo(json.dumps({"command": "compare"} | comparison.to_dict(), indent=2))
            return
        for line in comparison.header():
            if not line.startswith("Warning"):  # said on stderr
                typer.echo(line)
        if comparison.settings:
            rows = [list(row) for row in comparison.setting_rows()]
            terminal().print(plain_table(list(comparison.setting_headings()), rows))
        else:
            typer.echo("No setting differs.")
        terminal().print(plain_table(list(HEADINGS), [list(row.cells()) for row in comparison.rows]))
