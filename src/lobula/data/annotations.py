"""What an experimenter may know of a circuit besides its graph: cell types, synapse counts, neurotransmitters.

Annotations lie apart from everything else in a recording, in a group of their own, and no estimator reads them unless
section `prior` of the config asks for it. Published connectomes hold them; they are no weight, time constant or rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import zarr

from lobula.data.wiring import Wiring
from lobula.data.zarr_format import create_static, open_store, read_static
from lobula.errors import MissingInputError, ShapeError, StoreError

GROUP = "annotations"
NAMES = ("cell_type", "n_synapses", "sign")


@dataclass(frozen=True, eq=False)
class Annotations:
    """Facts about neurons and edges; each may be missing.

    Attributes:
        cell_type: (N,) int64 index into `cell_type_names`, or None.
        cell_type_names: name of every cell type.
        n_synapses: (E,) float64 > 0, number of synapses of every edge, in the order of the wiring, or None.
        sign: (N,) int64 sign of a neuron's output synapses: +1, -1, or 0 where it is not known or has both; or None.
    """

    cell_type: np.ndarray | None = None
    cell_type_names: tuple[str, ...] = ()
    n_synapses: np.ndarray | None = None
    sign: np.ndarray | None = None

    @classmethod
    def checked(
        cls,
        wiring: Wiring,
        cell_type: Any = None,
        n_synapses: Any = None,
        sign: Any = None,
        cell_type_names: tuple[str, ...] | None = None,
    ) -> "Annotations":
        """Annotations of a wiring.

        Args:
            wiring: the graph.
            cell_type: (N,) cell types: names, or whole numbers.
            n_synapses: (E,) counts > 0 in the order of the wiring; ``counts[wiring.edge_order]`` brings those that came
                with the edges into it.
            sign: (N,) +1, -1 or 0.
            cell_type_names: what the numbers mean; default their own digits.

        Raises:
            ShapeError: if an array has the wrong length, or holds values that have no meaning.
        """
        n, e = wiring.n_neurons, wiring.n_edges
        kinds: np.ndarray | None = None
        names: tuple[str, ...] = ()
        if cell_type is not None:
            values = _of_length("cell_type", cell_type, n, "neuron")
            if cell_type_names is None:
                found, kinds = np.unique(values, return_inverse=True)
                names = tuple(str(name) for name in found)
            else:
                kinds, names = _indices(values, len(cell_type_names)), tuple(cell_type_names)
        counts = None if n_synapses is None else _of_length("n_synapses", n_synapses, e, "edge").astype(np.float64)
        if counts is not None and not (np.isfinite(counts) & (counts > 0)).all():
            raise ShapeError("n_synapses: got counts that are not finite or not above 0, expected counts > 0")
        signs = None if sign is None else _of_length("sign", sign, n, "neuron")
        if signs is not None and not np.isin(signs, (-1, 0, 1)).all():
            raise ShapeError(f"sign: got {sorted(set(signs.tolist()))[:5]}, expected +1, -1, or 0 where it is open")
        return cls(kinds, names, counts, None if signs is None else signs.astype(np.int64))

    @property
    def known(self) -> tuple[str, ...]:
        """Names of those that are there."""
        return tuple(name for name in NAMES if vars(self)[name] is not None)

    def asked(self, name: str, setting: str) -> np.ndarray:
        """An annotation that a setting needs.

        Args:
            name: "cell_type", "n_synapses" or "sign".
            setting: what asks for it, as an error names it.

        Raises:
            MissingInputError: if it is not there.
        """
        values = vars(self)[name]
        if values is None:
            raise MissingInputError(
                f"{setting}: the recording holds {', '.join(self.known) or 'no annotations'}, expected {name}; add it "
                "with `lobula data annotate` (lobula.fit: an argument), simulate again with --force, or turn it off"
            )
        return values

    def save(self, root: zarr.Group) -> None:
        """Write into a store; nothing for no annotations."""
        if not self.known:
            return
        group = root.create_group(GROUP)
        for name in self.known:
            create_static(group, name, vars(self)[name])
        if self.cell_type is not None:
            group.attrs["cell_type_names"] = list(self.cell_type_names)

    @classmethod
    def load(cls, root: zarr.Group, wiring: Wiring) -> "Annotations":
        """Read from a store; none where it holds none.

        Raises:
            ShapeError: if they do not fit the wiring.
            StoreError: if they are damaged.
        """
        try:
            if GROUP not in root:
                return cls()
            group = root[GROUP]
            arrays: Mapping[str, np.ndarray] = {name: read_static(group[name]) for name in NAMES if name in group}
            names = tuple(group.attrs["cell_type_names"]) if "cell_type" in arrays else None
        except (KeyError, TypeError, ValueError, RuntimeError) as cause:
            raise StoreError(f"{root.store_path}: annotations are damaged ({cause}); add them again") from cause
        return cls.checked(wiring, **arrays, cell_type_names=names)


def _of_length(name: str, values: Any, length: int, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (length,):
        raise ShapeError(f"{name}: got shape {array.shape}, expected ({length},), one value per {what}")
    return array


def _indices(values: np.ndarray, n_names: int) -> np.ndarray:
    whole = values.dtype.kind in "iu" and (not values.size or (values.min() >= 0 and values.max() < n_names))
    if not whole:
        raise ShapeError(f"cell_type: got {values.dtype} values, expected indices into {n_names} names")
    return values.astype(np.int64)


def annotate(path: str | Path, cell_type: Any = None, n_synapses: Any = None, sign: Any = None) -> tuple[str, ...]:
    """Add annotations to a recording store, or replace those of the same name.

    Args:
        path: the store.
        cell_type: (N,) names or whole numbers, in the order of the neurons.
        n_synapses: (E,) counts > 0, in the order in which the edges were given when the store was made.
        sign: (N,) +1, -1 or 0 (open).

    Returns:
        Names of all annotations that the store holds now.

    Raises:
        MissingInputError: if there is no store.
        ShapeError: if an array does not fit.
        StoreError: if the store is foreign or damaged.
    """
    root = open_store(path, "recording")
    wiring = Wiring.load(root["wiring"])
    counts = None if n_synapses is None else _of_length("n_synapses", n_synapses, wiring.n_edges, "edge")
    given = Annotations.checked(wiring, cell_type, None if counts is None else counts[wiring.edge_order], sign)
    merged = replace(Annotations.load(root, wiring), **{name: vars(given)[name] for name in given.known})
    if given.cell_type is not None:
        merged = replace(merged, cell_type_names=given.cell_type_names)
    writable = zarr.open_group(path, mode="r+", zarr_format=3, use_consolidated=False)
    if GROUP in writable:
        del writable[GROUP]
    merged.save(writable)
    return merged.known


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
