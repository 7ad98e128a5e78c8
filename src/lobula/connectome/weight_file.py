"""Weights of a network from a file: a matrix, or a list of edges."""

import pickle  # for its error only
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lobula.errors import ConfigError, MissingInputError, NonFiniteError, ShapeError, StoreError

_EXPECTED = "a matrix (N, N), row postsynaptic, or edges with weights"
_INDEX_NAMES = ("edge_index",)
_WEIGHT_NAMES = ("weight", "W", "weights")


def read_weights(file: Path, n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges (2, E), row 0 presynaptic, and weights (E,) of a file; self-connections are left out.

    Args:
        file: .npy of a matrix (N, N), W[post, pre]; .npz or .pt of such a matrix or of edge_index (2, E) and weight
            (E,); .csv with columns pre, post, weight, or of numbers alone: a matrix.
        n_neurons: N.

    Raises:
        MissingInputError: if there is no such file.
        ConfigError: if its kind is not known.
        StoreError: if it cannot be read.
        ShapeError: if it holds neither.
        NonFiniteError: if a weight is NaN or infinite.
    """
    if not file.is_file():
        raise MissingInputError(f"signal.connectivity_file: no file {str(file)!r}, expected {_EXPECTED}")
    if file.suffix not in _READERS:
        raise ConfigError(f"signal.connectivity_file: got {file.name}, expected a file of {', '.join(_READERS)}")
    try:
        arrays = _READERS[file.suffix](file)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as cause:
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise StoreError(f"{file}: cannot be read ({reason}), expected {_EXPECTED}") from cause
    edge_index, weight = _edges(arrays, file, n_neurons)
    if not np.isfinite(weight).all():
        raise NonFiniteError(f"{file}: {int((~np.isfinite(weight)).sum())} weights are NaN or infinite")
    between = edge_index[0] != edge_index[1]
    return edge_index[:, between], weight[between]


def _edges(arrays: dict[str, np.ndarray], file: Path, n_neurons: int) -> tuple[np.ndarray, np.ndarray]:
    weight = next((arrays[name] for name in _WEIGHT_NAMES if name in arrays), None)
    edges = next((arrays[name] for name in _INDEX_NAMES if name in arrays), None)
    if weight is None and edges is None and len(arrays) == 1:
        weight = next(iter(arrays.values()))
    if weight is not None and edges is None and weight.ndim == 2:
        if weight.shape != (n_neurons, n_neurons):
            raise ShapeError(
                f"{file}: got a matrix of shape {weight.shape}, expected ({n_neurons}, {n_neurons}); "
                "set signal.n_neurons"
            )
        post, pre = np.nonzero(weight)
        return np.stack([pre, post]), np.asarray(weight[post, pre], dtype=np.float64)
    if weight is None or edges is None or edges.shape != (2, weight.size):
        shapes = ", ".join(f"{name or 'array'} {array.shape}" for name, array in arrays.items())
        raise ShapeError(f"{file}: got {shapes}, expected {_EXPECTED}: edge_index (2, E) and weight (E,)")
    return edges, np.asarray(weight, dtype=np.float64).reshape(-1)


def _npy(file: Path) -> dict[str, np.ndarray]:
    return {"": np.load(file, allow_pickle=False)}


def _npz(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def _csv(file: Path) -> dict[str, np.ndarray]:
    table = pd.read_csv(file)
    if {"pre", "post", "weight"} <= set(table):
        return {"edge_index": table[["pre", "post"]].to_numpy().T, "weight": table["weight"].to_numpy()}
    return {"": pd.read_csv(file, header=None, dtype=np.float64).to_numpy()}


def _pt(file: Path) -> dict[str, np.ndarray]:
    content = torch.load(file, map_location="cpu", weights_only=True)
    tensors = content if isinstance(content, dict) else {"": content}
    return {name: value.numpy() for name, value in tensors.items() if isinstance(value, torch.Tensor)}


_READERS = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".pt": _pt}
