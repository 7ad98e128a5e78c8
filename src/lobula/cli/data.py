"""`lobula data`: look into stores and array files, and convert those of earlier programs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lobula.cli.annotate import annotate_command
from lobula.cli.options import AsJson, Debug, Force, Quiet
from lobula.cli.session import EXIT_INPUT, say, session
from lobula.cli.tables import plain_table, terminal

if TYPE_CHECKING:
    from lobula.cli.store_facts import StoreFacts
    from lobula.data.convert import Conversion

data_app = typer.Typer(
    help="Look into recordings, truths, estimates and array files; read those of earlier programs.",
    no_args_is_help=True,
)
DataPath = Annotated[Path, typer.Argument(metavar="PATH", help="A .zarr store that lobula wrote, or .npz or .npy.")]
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


@data_app.command()
def convert(
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
        from lobula.cli.convert import convert_store

        plan, has_truth = convert_store(source, out, dt, edges, shares, activation, force, quiet)
        _tell(plan, out, has_truth, as_json)


data_app.command("annotate")(annotate_command)


@data_app.command()
def inspect(path: DataPath, as_json: AsJson = False, debug: Debug = False) -> None:
    """Shapes, units, range, NaN and completeness of everything in a store; reads all of it once.

    Exit status 2 if chunks are missing or damaged, or if a recording or a truth holds NaN or infinity. Frames that
    are still to be simulated are no fault.

    Example:  [bold]lobula data inspect runs/fly-small/recording.zarr[/bold]
    """
    with session(debug):
        from lobula.cli.store_facts import describe

        facts = describe(path)
        if as_json:
            typer.echo(json.dumps(asdict(facts), indent=2, default=str))
        else:
            _print(facts)
        must_be_finite = facts.kind in ("recording", "truth")  # an estimate of what cannot be known has infinite error
        bad = [a for a in facts.arrays if a.n_damaged or (must_be_finite and a.n_nan + a.n_inf)]
        for array in bad:
            counts = f"{array.n_damaged} chunks damaged or missing, {array.n_nan} NaN, {array.n_inf} infinite"
            say(f"{path}: {array.name}: {counts}; expected none")
        if bad:
            raise typer.Exit(EXIT_INPUT)


def _print(facts: "StoreFacts") -> None:
    typer.echo(f"{facts.kind} {facts.path}")
    for name, value in facts.attributes.items():
        typer.echo(f"  {name}: {value}")
    for split, (written, planned) in facts.frames.items():
        state = "complete" if written == planned else "simulate again to complete it"
        typer.echo(f"  {split}: {written:,} of {planned:,} frames, {state}")
    rows = []
    for array in facts.arrays:
        dims = array.dims or ("",) * len(array.shape)
        axes = (f"{length:,} {dim}".rstrip() for length, dim in zip(array.shape, dims, strict=True))
        span = "" if array.low is None or array.high is None else f"{array.low:.4g} .. {array.high:.4g}"
        faults = f"{array.n_nan + array.n_inf}" + (f", {array.n_damaged} chunks damaged" if array.n_damaged else "")
        rows.append([array.name, " x ".join(axes), array.dtype, array.unit, span, faults])
    terminal().print(plain_table(["array", "shape", "type", "unit", "range", "not finite"], rows))


def _tell(plan: "Conversion", out: Path, has_truth: bool, as_json: bool) -> None:
    from lobula.simulation.run import RECORDING, TRUTH

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
