"""Recordings of earlier programs become recordings of ours."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lobula.data.convert import Conversion, Source, plan_conversion
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError
from lobula.simulation.legacy_truth import OldParameters, convert_with_truth


def convert_store(
    source: Path,
    out: Path,
    dt: float | None,
    edges: Path | None,
    shares: tuple[float, float, float],
    activation: str,
    force: bool,
    quiet: bool,
) -> tuple[Conversion, bool]:
    """Writes recording.zarr and, where parameters are known, truth.zarr; what was converted, and whether with truth.

    Raises:
        ConfigError: without dt.
        MissingInputError: without a wiring.
    """
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
    return plan, has_truth


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
