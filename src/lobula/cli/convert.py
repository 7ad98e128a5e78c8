"""`lobula data convert`: recordings of earlier programs become recordings of ours."""

import json
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lobula.cli.options import AsJson, Debug, Force, Quiet
from lobula.cli.session import session
from lobula.data.convert import Conversion, Source, plan_conversion
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError
from lobula.simulation.legacy_truth import OldParameters, convert_with_truth
from lobula.simulation.run import RECORDING, TRUTH

SourcePath = Annotated[
    Path,
    typer.Argument(metavar="SOURCE", help="An old store (zarr directory or .npy), or the dataset folder around it."),
]
OutFolder = Annotated[Path, typer.Argument(metavar="OUT", help="Folder for recording.zarr and truth.zarr.")]
Dt = Annotated[
    float | None, typer.Option("--dt", metavar="SECONDS", help="Time between frames; old stores do not hold it.")
]
Edges = Annotated[
    Path | None,
    typer.Option(
        "--edges",
        metavar="FILE",
        help="Who connects to whom: .npz with edge_index (2, E) or pre and post, .npy (2, E), or .csv with columns "
        "pre and post. Default: ode_params.pt or edge_index.pt beside SOURCE.",
        show_default=False,
    ),
]
Shares = Annotated[
    tuple[float, float, float], typer.Option("--split", help="Shares of train, validation and test, cut in time.")
]
Activation = Annotated[str, typer.Option("--activation", help="Message function of the true circuit, for truth.zarr.")]


def convert_command(
    source: SourcePath,
    out: OutFolder,
    dt: Dt = None,
    edges: Edges = None,
    shares: Shares = (0.8, 0.1, 0.1),
    activation: Activation = "relu",
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a recording of an earlier program as recording.zarr, a chunk at a time.

    SOURCE is a directory with voltage.zarr, stimulus.zarr, ..., a directory with metadata.zarr and timeseries.zarr, an
    array (T, N, 9) in zarr or .npy, or a folder that holds such a store as x_list_0, or as x_list_train and
    x_list_test. Derivatives in y_list_* become the drift. With ode_params.pt (or weights.pt, taus.pt, V_i_rest.pt and
    edge_index.pt) beside it, truth.zarr is written too. Interrupted, the same command goes on where it stopped.

    Example:  [bold]lobula data convert graphs_data/fly/flyvis_noise_005 runs/old --dt 0.02[/bold]
    """
    with session(debug, quiet):
        if dt is None:
            raise ConfigError("--dt: not given, expected the seconds between frames; old stores do not hold it")
        data = Source.open(source, shares)
        known = OldParameters.find(data.folders)
        pairs = read_edges(edges) if edges is not None else known.edge_index if known else None
        if pairs is None:
            raise MissingInputError(
                f"{source}: no wiring beside it (ode_params.pt or edge_index.pt), expected who connects to whom; "
                "give --edges FILE"
            )
        total = sum(data.n_frames.values())
        with _bar(quiet) as bar:
            looking = bar.add_task("read stimulus", total=total, visible="stimulus" in data.fields)
            plan = plan_conversion(data, pairs, dt, lambda n: bar.advance(looking, n))
            writing = bar.add_task("convert", total=total)
            has_truth = convert_with_truth(plan, known, out, activation, not force, lambda n: bar.advance(writing, n))
        _tell(plan, out, has_truth, as_json)


def read_edges(path: Path) -> np.ndarray:
    """(2, E) edges of a file: row 0 presynaptic, row 1 postsynaptic.

    Raises:
        MissingInputError: if there is no file.
        StoreError: if it cannot be read, or is of another kind.
        ShapeError: if it holds no edges.
    """
    if not path.is_file():
        raise MissingInputError(f"--edges: {path} does not exist, expected a .npz, .npy or .csv file; check the path")
    try:
        if path.suffix == ".csv":
            return _pairs(pd.read_csv(path), path)
        if path.suffix not in (".npz", ".npy"):
            raise StoreError(f"--edges: got {path}, expected a file that ends in .npz, .npy or .csv")
        content = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return content
        with content:
            return content["edge_index"] if "edge_index" in content.files else _pairs(content, path)
    except (OSError, ValueError, EOFError, BadZipFile) as cause:
        if isinstance(cause, StoreError | ShapeError):
            raise
        raise StoreError(f"--edges: {path} cannot be read ({cause}); check the file") from cause


def _pairs(table: Any, path: Path) -> np.ndarray:
    names = list(table.files if hasattr(table, "files") else table.columns)
    if not {"pre", "post"} <= set(names):
        raise ShapeError(f"--edges: {path} holds {', '.join(map(str, names))}, expected edge_index, or pre and post")
    pre, post = np.asarray(table["pre"]), np.asarray(table["post"])
    if pre.shape != post.shape or pre.ndim != 1:
        raise ShapeError(
            f"--edges: {path}: pre has shape {pre.shape}, post {post.shape}, expected one axis, equal length"
        )
    return np.stack([pre, post])


def _bar(quiet: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal)


def _tell(plan: Conversion, out: Path, has_truth: bool, as_json: bool) -> None:
    path = out / RECORDING
    facts = {
        "recording": str(path),
        "truth": str(out / TRUTH) if has_truth else None,
        "n_neurons": plan.wiring.n_neurons,
        "n_edges": plan.wiring.n_edges,
        "n_columns": plan.wiring.n_columns,
        "n_frames": plan.source.n_frames,
        "fields": list(plan.fields),
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    frames = ", ".join(f"{split} {n:,}" for split, n in plan.source.n_frames.items())
    typer.echo(f"{plan.wiring.n_neurons:,} neurons, {plan.wiring.n_edges:,} edges; frames: {frames}")
    typer.echo(f"fields: {', '.join(plan.fields)}; {'with' if has_truth else 'without'} truth")
    typer.echo(str(path))
