"""`lobula doctor`: is this machine fit for it, and does the simulator agree with mathematics?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lobula.cli.options import RUNS, AsJson, Debug
from lobula.cli.session import EXIT_INPUT, say, session
from lobula.cli.tables import plain_table, terminal

Folder = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where runs will be written; checked for space and for writing.")
]


def doctor(out: Folder = RUNS, as_json: AsJson = False, debug: Debug = False) -> None:
    """Check Python, libraries, cores, memory, disk, writing, and the simulator against a closed form.

    Exit status 2 if something is not fine.

    Example:  [bold]lobula doctor --out /data/runs[/bold]
    """
    with session(debug):
        from lobula.cli import health

        checks = [*health.software(), *health.machine(), *health.disk(out), health.simulator()]
        if as_json:
            typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
        else:
            rows = [["ok" if check.is_fine else "NO", check.name, check.found] for check in checks]
            terminal().print(plain_table(["", "what", "found"], rows))
        bad = [check for check in checks if not check.is_fine]
        for check in bad:
            say(f"{check.name}: {check.found}; {check.advice}")
        if bad:
            raise typer.Exit(EXIT_INPUT)
