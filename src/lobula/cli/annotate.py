"""`lobula data annotate`: what is known of a recorded circuit besides its graph, for section `prior`."""

import json
from pathlib import Path
from typing import Annotated
from zipfile import BadZipFile

import numpy as np
import typer

from lobula.cli.options import AsJson, Debug
from lobula.cli.session import session
from lobula.data.annotations import NAMES, annotate
from lobula.errors import MissingInputError, ShapeError, StoreError

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
        known = annotate(recording, **read_facts(file))
        if as_json:
            typer.echo(json.dumps({"recording": str(recording), "annotations": list(known)}, indent=2))
            return
        typer.echo(f"annotations: {', '.join(known)}")
        typer.echo(str(recording))


def read_facts(path: Path) -> dict[str, np.ndarray]:
    """The annotations that a file holds, by name.

    Raises:
        MissingInputError: if there is no file.
        StoreError: if it cannot be read.
        ShapeError: if it holds none, or something else.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file, expected an .npz with {', '.join(NAMES)}; check the path")
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, BadZipFile) as cause:
        raise StoreError(f"{path}: no readable .npz file ({cause}); check the file") from cause
    if not facts or not set(facts) <= set(NAMES):
        raise ShapeError(f"{path}: holds {', '.join(facts) or 'nothing'}, expected any of {', '.join(NAMES)}")
    return facts
