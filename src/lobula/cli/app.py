"""The Typer app: every command in one place, and the entry point."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import typer

from lobula.cli.bench import bench
from lobula.cli.check import check_command
from lobula.cli.compare import compare
from lobula.cli.data import data_app
from lobula.cli.doctor import doctor
from lobula.cli.explore import explore_app
from lobula.cli.info import info_app
from lobula.cli.options import with_options
from lobula.cli.run import Seeds, Until, run
from lobula.cli.session import EXIT_INPUT, say
from lobula.cli.stages import STAGES, Formats, perform, report

app = typer.Typer(
    name="lobula",
    help="Recover how a neural circuit works from its recorded activity.\n\nStart with `lobula run`: it simulates the "
    "fly's visual system, learns the circuit back, scores it against the truth and writes a report.",
    epilog="Every command explains itself: lobula run --help. Fields of --set: lobula info params.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_OWN: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {
    "run": (run, {"seeds": Seeds, "until": Until}),
    "report": (report, {"formats": Formats}),
}
for _stage in STAGES:
    _perform, _options = _OWN.get(_stage.name, (perform, {}))
    app.command(_stage.name, help=_stage.help)(with_options(partial(_perform, _stage), _options))
app.add_typer(data_app, name="data")
app.add_typer(info_app, name="info")
app.add_typer(explore_app, name="explore")
app.command("check")(check_command)
app.command("compare")(compare)
app.command("bench")(bench)
app.command("doctor")(doctor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after `lobula`; default is what the shell gave.

    Returns:
        Exit status: 0 done, 2 something is wrong with the input, 130 interrupted, 1 a fault of lobula's own or, of
        `lobula check`, figures that got worse.
    """
    try:
        status = app(args=arguments, prog_name="lobula", standalone_mode=False)
    except typer.TyperException as error:  # a word that the parser does not know
        if error.format_message():
            say(
                f"{error.format_message().rstrip('.')}; lobula --help lists commands, lobula COMMAND --help its options"
            )
        return EXIT_INPUT
    return status if isinstance(status, int) else 0
