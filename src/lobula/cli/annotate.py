"""`lobula data annotate`: what is known of a recorded circuit besides its graph, for section `prior`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lobula.cli.options import AsJson, Debug
from lobula.cli.session import session

RecordingPath = Annotated[Path, typer.Argument(metavar="RECORDING", help="A recording.zarr.")]
FactsFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="An .npz with any of: cell_type (N,) names or numbers, n_synapses (E,) in the order in which the edges "
        "were given, sign (N,) of a neuron's outputs, 1, -1 or 0 (open).",
    ),
]


def annotate_command(recording: RecordingPath, file: FactsFile, as_json: AsJson = False, debug: Debug = False) -> None:
    """Add cell types, synapse counts or signs to a recording, for the priors of section prior.

    They lie apart in the recording, and no estimator reads them unless a prior asks for them. Simulated recordings
    have them.

    Example:  [bold]lobula data annotate mine.zarr known.npz[/bold]
    """
    with session(debug):
        from lobula.data.annotations import annotate, read_facts

        known = annotate(recording, **read_facts(file))
        if as_json:
            typer.echo(json.dumps({"recording": str(recording), "annotations": list(known)}, indent=2))
            return
        typer.echo(f"annotations: {', '.join(known)}")
        typer.echo(str(recording))
