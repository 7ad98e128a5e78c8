"""The options that commands share, and what they mean together: an experiment and a run directory."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from lobula.config import ExperimentConfig, load_config
from lobula.data.run_dir import CONFIG, MANIFEST, RunDir

logger = logging.getLogger(__name__)

DEFAULT_RECIPE = "fly-small"
RUNS = Path("runs")
_MAX_SHOWN = 4

Recipe = Annotated[
    str | None,
    typer.Argument(
        help="Shipped recipe (lobula info recipes), YAML file or run directory. Default: what --out holds, else "
        f"{DEFAULT_RECIPE}.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="SECTION.FIELD=VALUE", help="Change a field (lobula info params lists them). Repeatable."
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Run directory. Default: runs/NAME.", show_default=False)
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of the simulation and of the training.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Force = Annotated[bool, typer.Option("--force", help="Repeat the work even if nothing changed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print sizes, disk, memory and the time expected.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notices, no progress bars.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="All notices.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@dataclass(frozen=True)
class Words:
    """What a command line says that every stage understands; the fields are its options."""

    recipe: str | None
    overrides: tuple[str, ...]
    out: Path | None
    seed: int | None
    as_json: bool
    force: bool
    dry_run: bool
    quiet: bool
    verbose: bool
    debug: bool


def with_options(perform: Callable[..., None], own: dict[str, Any]) -> Callable[..., None]:
    """The function that Typer turns into a command.

    Args:
        perform: called with the `Words`, and with the command's own options by name.
        own: options that only this command has; None where they are not given.
    """

    def command(
        recipe: Recipe = None,
        overrides: Set = None,
        out: Out = None,
        seed: Seed = None,
        as_json: AsJson = False,
        force: Force = False,
        dry_run: DryRun = False,
        quiet: Quiet = False,
        verbose: Verbose = False,
        debug: Debug = False,
        **given: Any,
    ) -> None:
        words = Words(recipe, tuple(overrides or ()), out, seed, as_json, force, dry_run, quiet, verbose, debug)
        perform(words, **given)

    form = signature(command)
    shared = [parameter for name, parameter in form.parameters.items() if name != "given"]
    kind = Parameter.POSITIONAL_OR_KEYWORD
    more = [Parameter(name, kind, default=None, annotation=option) for name, option in own.items()]
    command.__signature__ = form.replace(parameters=[*shared[:4], *more, *shared[4:]])  # type: ignore[attr-defined]
    return command


@dataclass(frozen=True)
class Experiment:
    """What a command works on.

    Attributes:
        config: resolved config.
        out: run directory, which need not exist yet.
    """

    config: ExperimentConfig
    out: Path


def resolve(
    recipe: str | None, overrides: Sequence[str], out: Path | None, seed: int | None, may_begin: bool = True
) -> Experiment:
    """The experiment that a command line describes.

    The config is that of `recipe`; without one, that of the run in `out`; without a run there, fly-small. `--seed`
    comes first, so that `--set training.seed=...` has the last word.

    Raises:
        ConfigError: one line.
        MissingInputError: if the command cannot begin a run, and nothing says which experiment a new one would be.
    """
    source: str | Path = DEFAULT_RECIPE if recipe is None else recipe
    is_run = recipe is not None and (Path(recipe) / MANIFEST).is_file()
    if is_run:
        source = Path(str(recipe)) / CONFIG
        out = Path(str(recipe)) if out is None else out
    elif recipe is None and out is not None and ((out / MANIFEST).is_file() or not may_begin):
        source = RunDir.existing(out) / CONFIG
    seeds = [] if seed is None else [f"simulation.seed={seed}", f"training.seed={seed}"]
    config = load_config(source, [*seeds, *overrides])
    out = RUNS / config.name if out is None else out
    _tell_changes(config, out)
    return Experiment(config, out)


def _tell_changes(config: ExperimentConfig, out: Path) -> None:
    """Say what differs from the last time, as the stages it concerns will be repeated."""
    if not (out / MANIFEST).is_file():
        return
    old, new = _flat(RunDir.existing(out).manifest.get("config", {})), _flat(config.to_dict())
    changed = [path for path in new if path in old and "." in path and new[path] != old[path]]
    if changed:
        more = f" and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
        logger.info("%s: %s%s changed since the last time", out, ", ".join(changed[:_MAX_SHOWN]), more)


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat
