"""Several curves in one file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lobula.errors import StoreError
from lobula.regression import PiecewiseLinear


def save_curves(path: Path, curves: Sequence[PiecewiseLinear], **arrays: np.ndarray) -> None:
    """Writes an .npz file of curves and further arrays."""
    found = {"n_knots": np.array([len(c.knots) for c in curves])}
    found |= {name: np.concatenate([getattr(c, name) for c in curves]) for name in ("knots", "values")}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **found, **arrays)


def load_curves(path: Path, *names: str) -> tuple[list[PiecewiseLinear], list[np.ndarray]]:
    """Reads what `save_curves` wrote: the curves, and the arrays of these names.

    Raises:
        StoreError: if the file is truncated.
    """
    try:
        with np.load(path) as arrays:
            cuts = np.cumsum(arrays["n_knots"])[:-1]
            pairs = zip(np.split(arrays["knots"], cuts), np.split(arrays["values"], cuts), strict=True)
            return [PiecewiseLinear(*pair) for pair in pairs], [arrays[name] for name in names]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"spline: {path} is truncated or foreign ({type(error).__name__}); train again") from error
