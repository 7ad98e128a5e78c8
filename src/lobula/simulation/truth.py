"""The truth store: the connectome, the dynamics, and per split what the simulator knows but the recording hides.

Layout of ``truth.zarr`` beside the arrays of `Connectome.save`::

    dynamics/             of a graded circuit; attributes activation, activation_scale, variant, tanh_coupling,
                          messages, tau_floor; gain (N,) if there is one
    train|validation|test state (n_chunks, S): state at the last frame of every chunk, without measurement noise; the
                          first N are voltages;
                          measurement_noise (T, N) if there is any: recorded voltage = true voltage + noise;
                          plasticity (T, N) of plastic signal networks, if asked for
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from lobula.connectome.base import Connectome
from lobula.data.zarr_format import atomic_store, create_dynamic, create_static, open_store
from lobula.errors import LobulaError, MissingInputError, StoreError
from lobula.simulation.graded import Dynamics
from lobula.simulation.signal import SignalDynamics


@dataclass(frozen=True, eq=False)
class Truth:
    """What a simulated recording was made from.

    Attributes:
        connectome: weights, time constants, rests, types.
        dynamics: message function and variant.
        path: the store.
    """

    connectome: Connectome
    dynamics: Dynamics | SignalDynamics
    path: Path

    @classmethod
    def load(cls, path: str | Path) -> "Truth":
        """Read a truth store that a simulation wrote.

        Raises:
            MissingInputError: if there is none.
            StoreError: if it is damaged or of another kind.
        """
        root = open_store(path, "truth")
        if "equation" in root:
            connectome = Connectome.load(path)
            return cls(connectome, SignalDynamics(connectome), Path(path))
        if "dynamics" not in root:
            raise StoreError(f"{path}: no dynamics here, expected the truth of a simulation; run simulate with --force")
        group = root["dynamics"]
        gain = np.asarray(group["gain"][:]) if "gain" in group else None
        return cls(Connectome.load(path), Dynamics(**dict(group.attrs), gain=gain), Path(path))

    def measurement_noise(self, split: str, start: int, stop: int) -> np.ndarray:
        """(stop - start, N) float32 noise in the recorded voltage [a.u.]; subtract it to get the true voltage.

        Raises:
            MissingInputError: if there is no such split.
        """
        group = self._split(split)
        if "measurement_noise" not in group:
            return np.zeros((stop - start, self.connectome.n_neurons), dtype=np.float32)
        return np.asarray(group["measurement_noise"][start:stop])

    def plasticity(self, split: str, start: int, stop: int) -> np.ndarray:
        """(stop - start, N) float32 plasticity p of every neuron.

        Raises:
            MissingInputError: if there is no such split, or p was not kept.
        """
        group = self._split(split)
        if "plasticity" not in group:
            raise MissingInputError(
                f"{self.path}: no plasticity in {split}; simulate model N6 or N7 with signal.record_plasticity=true"
            )
        return np.asarray(group["plasticity"][start:stop])

    def _split(self, split: str) -> zarr.Group:
        root = open_store(self.path, "truth")
        if split not in root:
            raise MissingInputError(f"{self.path}: no split {split!r} in this truth store")
        return root[split]


class TruthWriter:
    """Keeps the truth in step with the recording: written before the recording shows a chunk.

    Args:
        path: the store, made by `create`.
    """

    def __init__(self, path: Path) -> None:
        open_store(path, "truth")
        self._root = zarr.open_group(path, mode="r+", zarr_format=3, use_consolidated=False)

    @classmethod
    def create(
        cls,
        path: Path,
        connectome: Connectome,
        dynamics: Dynamics | SignalDynamics,
        n_frames: Mapping[str, int],
        chunk_frames: int,
        digest: str,
        measurement_noise: bool,
        n_states: int | None = None,
        plasticity: bool = False,
    ) -> "TruthWriter":
        """Write everything that is known before the first frame.

        Args:
            path: the store; one of ours is replaced.
            connectome: the circuit.
            dynamics: message function and variant.
            n_frames: frames planned per split.
            chunk_frames: frames per chunk.
            digest: digest of everything that decides the content.
            measurement_noise: whether the recorded voltage is noisy.
            n_states: numbers of a state; by default one per neuron.
            plasticity: whether the plasticity of every frame is kept.
        """
        n, width = connectome.n_neurons, connectome.n_neurons if n_states is None else n_states
        per_frame = [
            name for name, kept in (("measurement_noise", measurement_noise), ("plasticity", plasticity)) if kept
        ]
        with atomic_store(path, "truth") as root:
            connectome.save_into(root)
            if isinstance(dynamics, Dynamics):  # a signal network's are its equation, which is there already
                _save_dynamics(root.create_group("dynamics"), dynamics)
            for split, planned in n_frames.items():
                group = root.create_group(split)
                n_chunks = -(-planned // chunk_frames)
                group.create_array("state", shape=(n_chunks, width), chunks=(1, max(width, 1)), dtype="float32")
                for name in per_frame:
                    create_dynamic(group, name, planned, n, chunk_frames)
            root.attrs["digest"] = digest
        return cls(path)

    @classmethod
    def resume(cls, path: Path, digest: str) -> "TruthWriter | None":
        """Open a sound store with this digest, or None if there is none."""
        try:
            Truth.load(path)
            writer = cls(path)
        except LobulaError:
            return None
        return writer if writer._root.attrs.get("digest") == digest else None

    def state(self, split: str, chunk: int) -> np.ndarray:
        """(S,) float32 true state at the last frame of a chunk."""
        return np.asarray(self._root[f"{split}/state"][chunk])

    def write(
        self,
        split: str,
        chunk: int,
        start: int,
        state: np.ndarray,
        noise: np.ndarray | None,
        hidden: np.ndarray | None = None,
    ) -> None:
        """Store what belongs to one chunk.

        Args:
            split: name of the split.
            chunk: number of the chunk.
            start: its first frame.
            state: (S,) true state at its last frame.
            noise: (t, N) measurement noise, or None.
            hidden: (t, S - N) states beside the voltages, of which the first N are kept if they are asked for.
        """
        self._root[f"{split}/state"][chunk] = state
        if hidden is not None and "plasticity" in self._root[split]:
            kept = self._root[f"{split}/plasticity"]
            kept[start : start + len(hidden)] = hidden[:, : kept.shape[1]]
        if noise is not None:
            self._root[f"{split}/measurement_noise"][start : start + len(noise)] = noise


def _save_dynamics(group: zarr.Group, dynamics: Dynamics) -> None:
    group.attrs.update({name: value for name, value in vars(dynamics).items() if name != "gain"})
    if dynamics.gain is not None:
        create_static(group, "gain", dynamics.gain)
