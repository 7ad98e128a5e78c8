"""The truth that earlier programs left beside their recordings: ``ode_params.pt``, or one file per parameter."""

import hashlib
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lobula.connectome.base import Connectome
from lobula.data.convert import Conversion, convert
from lobula.data.run_dir import combined_digest
from lobula.data.wiring import Wiring
from lobula.errors import NonFiniteError, ShapeError, StoreError
from lobula.simulation.graded import make_dynamics
from lobula.simulation.run import RECORDING, TRUTH
from lobula.simulation.truth import TruthWriter

logger = logging.getLogger(__name__)

BUNDLE = "ode_params.pt"
# by our name: names in the bundle, and names of single files
NAMES = {
    "edge_index": (("edge_index",), ("edge_index.pt",)),
    "weight": (("W", "weights"), ("weights.pt",)),
    "tau": (("tau_i", "taus"), ("taus.pt", "tau_i.pt")),
    "v_rest": (("V_i_rest",), ("V_i_rest.pt",)),
}


@dataclass(frozen=True, eq=False)
class OldParameters:
    """Parameters of a circuit, as far as they are there.

    Attributes:
        edge_index: (2, E) row 0 presynaptic, row 1 postsynaptic, or None.
        weight: (E,) synaptic weights [a.u.], or None.
        tau: (N,) time constants [s], or None.
        v_rest: (N,) resting potentials [a.u.], or None.
        source: the file or folder that they come from.
    """

    edge_index: np.ndarray | None
    weight: np.ndarray | None
    tau: np.ndarray | None
    v_rest: np.ndarray | None
    source: Path

    @classmethod
    def find(cls, folders: tuple[Path, ...]) -> "OldParameters | None":
        """The parameters in the first of some folders that has any.

        Raises:
            StoreError: if a file is no tensor or dictionary of tensors.
        """
        for folder in folders:
            bundle = _tensors(folder / BUNDLE) if (folder / BUNDLE).is_file() else {}
            found = {}
            for name, (keys, files) in NAMES.items():
                value = next((bundle[key] for key in keys if key in bundle), None)
                file = next((folder / file for file in files if (folder / file).is_file()), None)
                if value is None and file is not None:
                    value = _tensors(file).get("")
                found[name] = None if value is None else np.asarray(value.detach().cpu())
            if any(value is not None for value in found.values()):
                return cls(**found, source=folder / BUNDLE if bundle else folder)
        return None

    @property
    def is_whole(self) -> bool:
        """Whether edges, weights, time constants and rests are all there."""
        return all(value is not None for value in (self.edge_index, self.weight, self.tau, self.v_rest))

    def connectome(self, wiring: Wiring, neuron_type: np.ndarray | None, pos: np.ndarray | None) -> Connectome:
        """The circuit with the edges in the order of its wiring.

        Args:
            wiring: made from `edge_index`.
            neuron_type: (N,) cell-type numbers; None makes one type of all.
            pos: (N, 2) positions; where they are whole numbers they are taken for hexagonal coordinates.

        Returns:
            The circuit. Synapse counts are not known and 1.

        Raises:
            ShapeError: if there is not one weight per edge, or one tau and rest per neuron.
            NonFiniteError: if a parameter is not finite.
        """
        n = wiring.n_neurons
        weight = self._checked("weight", self.weight, wiring.n_edges, "edge")[wiring.edge_order]
        numbers = np.zeros(n, dtype=np.int64) if neuron_type is None else neuron_type
        kinds, cell_type = np.unique(numbers, return_inverse=True)
        whole = pos is not None and np.array_equal(pos, np.round(pos))
        place = np.zeros((n, 2), dtype=np.int64) if pos is None or not whole else pos.astype(np.int64)
        return Connectome(
            wiring=wiring,
            weight=weight,
            tau=self._checked("tau", self.tau, n, "neuron"),
            v_rest=self._checked("v_rest", self.v_rest, n, "neuron"),
            cell_type=cell_type.reshape(-1).astype(np.int64),
            cell_type_names=tuple(f"type {kind}" for kind in kinds),
            u=place[:, 0],
            v=place[:, 1],
            n_syn=np.ones(wiring.n_edges),
            sign=np.sign(weight),
            columns=np.zeros((wiring.n_columns, 2), dtype=np.int64),
        )

    def _checked(self, name: str, values: np.ndarray | None, length: int, what: str) -> np.ndarray:
        values = np.empty(0) if values is None else np.asarray(values, dtype=np.float64).reshape(-1)
        if values.shape != (length,):
            raise ShapeError(f"{self.source}: {name} has {values.size} values, expected {length}, one per {what}")
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise NonFiniteError(f"{self.source}: {name} of {what} {bad} is {values[bad]}, expected finite numbers")
        return values


def convert_with_truth(
    plan: Conversion,
    parameters: OldParameters | None,
    out: Path,
    activation: str = "relu",
    resume: bool = True,
    advance: Callable[[int], None] = lambda n: None,
) -> bool:
    """Write recording.zarr, and truth.zarr if all parameters are known; see `lobula.data.convert.convert`.

    Args:
        plan: the recording.
        parameters: what is known of the circuit.
        out: folder for both.
        activation: message function of the true circuit.
        resume: False starts again.
        advance: is told how many frames were written.

    Returns:
        Whether there is a truth.

    Raises:
        StoreError: if a truth lies in `out` that is none of this recording.
    """
    known = _connectome(plan, parameters)
    if known is None:
        if (out / TRUTH).exists():
            raise StoreError(
                f"{out / TRUTH}: the truth of another recording, expected none beside this one; choose another OUT"
            )
        convert(plan, out / RECORDING, None, advance, resume)
        return False
    values = hashlib.sha256(b"".join(array.tobytes() for array in (known.weight, known.tau, known.v_rest)))
    digest = combined_digest(plan.digest, values.hexdigest(), activation)
    truth = TruthWriter.resume(out / TRUTH, digest) if resume else None
    if truth is None:
        resume, source = False, plan.source
        dynamics, noisy = make_dynamics(known, activation), "noise" in source.fields
        truth = TruthWriter.create(
            out / TRUTH, known, dynamics, source.n_frames, plan.chunk_frames, digest, measurement_noise=noisy
        )

    def keep(split: str, chunk: int, start: int, voltage: np.ndarray, noise: np.ndarray | None) -> None:
        truth.write(split, chunk, start, voltage[-1], noise)

    convert(plan, out / RECORDING, keep, advance, resume)
    return True


def _connectome(plan: Conversion, parameters: OldParameters | None) -> Connectome | None:
    """The circuit of a recording, or None, with a notice, if it is not known."""
    if parameters is None or parameters.edge_index is None or not parameters.is_whole:
        if parameters is not None:
            lacking = [name for name in NAMES if getattr(parameters, name) is None]
            logger.info("%s: no %s, so no truth is written", parameters.source, ", ".join(lacking))
        return None
    columns, n_columns = plan.wiring.stimulus_column, plan.wiring.n_columns
    wiring = Wiring.from_edges(
        parameters.edge_index, plan.wiring.n_neurons, columns, n_columns=None if columns is None else n_columns
    )
    if not np.array_equal(wiring.edge_index, plan.wiring.edge_index):
        logger.info("%s: other edges than those given, so no truth is written", parameters.source)
        return None
    static = plan.source.first.static
    return parameters.connectome(wiring, static.get("neuron_type"), static.get("pos"))


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by name; a lone one has the name ""."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as cause:
        reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
        raise StoreError(f"{file}: no readable tensors ({reason}); copy it again, or save plain tensors") from cause
    if isinstance(content, torch.Tensor):
        return {"": content}
    if isinstance(content, dict):
        return {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    raise StoreError(f"{file}: holds {type(content).__name__}, expected a tensor or a dictionary of tensors")
