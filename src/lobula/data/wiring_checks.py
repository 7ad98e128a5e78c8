"""What makes a list of edges a wiring; every message says what was found and what was expected."""

import numpy as np

from lobula.errors import EdgeError, ShapeError

NO_COLUMN = -1


def checked_count(n_neurons: int) -> int:
    """A number of neurons."""
    if isinstance(n_neurons, bool) or not isinstance(n_neurons, int | np.integer) or n_neurons < 0:
        raise ShapeError(f"n_neurons: got {n_neurons!r}, expected an integer >= 0")
    return int(n_neurons)


def checked_edges(edge_index: np.ndarray, n_neurons: int) -> np.ndarray:
    """(2, E) int64 edges that all lie within the neurons."""
    edges = np.asarray(edge_index)
    if edges.ndim != 2 or edges.shape[0] != 2:
        hint = "; transpose it" if edges.ndim == 2 and edges.shape[1] == 2 else ""
        raise ShapeError(f"edge_index: got shape {edges.shape}, expected (2, n_edges): row 0 pre, row 1 post{hint}")
    if edges.size and not np.issubdtype(edges.dtype, np.integer):
        raise ShapeError(f"edge_index: got dtype {edges.dtype}, expected integers")
    edges = edges.astype(np.int64)
    if not edges.size or (edges.min() >= 0 and edges.max() < n_neurons):
        return edges
    outside = np.flatnonzero(((edges < 0) | (edges >= n_neurons)).any(axis=0))
    pre, post = edges[:, outside[0]]
    raise EdgeError(
        f"edge_index: edge {outside[0]} ({pre} -> {post}) is out of range, expected 0..{n_neurons - 1} for "
        f"{n_neurons} neurons ({outside.size} such edges); check n_neurons and that ids start at 0"
    )


def are_sorted(edges: np.ndarray, n_neurons: int) -> bool:
    """Whether edges are sorted by (post, pre), and distinct."""
    place = edges[1] * n_neurons
    place += edges[0]
    return bool((place[1:] > place[:-1]).all())


def refuse_duplicates(edges: np.ndarray) -> None:
    """Raise if sorted edges hold the same pair twice."""
    repeated = np.flatnonzero((edges[:, 1:] == edges[:, :-1]).all(axis=0))
    if repeated.size:
        pre, post = edges[:, repeated[0]]
        raise EdgeError(
            f"edge_index: edge {pre} -> {post} appears twice ({repeated.size} duplicates), expected distinct pairs; "
            "merge parallel synapses into one edge"
        )


def checked_columns(columns: np.ndarray | None, n_neurons: int, n_columns: int | None) -> tuple[np.ndarray | None, int]:
    """(N,) int64 columns or None, and the number of columns."""
    if columns is None:
        return None, 0
    columns = np.asarray(columns)
    if columns.shape != (n_neurons,) or not (np.issubdtype(columns.dtype, np.integer) or columns.size == 0):
        raise ShapeError(
            f"stimulus_column: got shape {columns.shape} {columns.dtype}, expected ({n_neurons},) integers"
        )
    columns = columns.astype(np.int64)
    top = int(columns.max(initial=NO_COLUMN))
    n_columns = top + 1 if n_columns is None else int(n_columns)
    if columns.min(initial=NO_COLUMN) < NO_COLUMN or top >= n_columns:
        raise ShapeError(
            f"stimulus_column: got values in {columns.min()}..{top}, expected -1 (none) or 0..{n_columns - 1}"
        )
    return columns, n_columns


def checked_ids(ids: np.ndarray | None, n_neurons: int) -> np.ndarray:
    """(N,) distinct int64 or string ids, by default 0..N-1."""
    ids = np.arange(n_neurons) if ids is None else np.array(ids)
    if ids.shape != (n_neurons,) or not (ids.dtype.kind in "iuU" or ids.size == 0):
        raise ShapeError(f"neuron_ids: got shape {ids.shape} {ids.dtype}, expected ({n_neurons},) integers or strings")
    if np.unique(ids).size != n_neurons:
        raise ShapeError(f"neuron_ids: {n_neurons - np.unique(ids).size} ids appear twice, expected distinct ids")
    return ids.astype(np.int64) if ids.dtype.kind in "iuf" else ids
