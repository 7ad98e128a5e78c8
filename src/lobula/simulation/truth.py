"""The truth store: the connectome, the dynamics, and per split what the simulator knows but the recording hides.

Layout of ``truth.zarr`` beside the arrays of `Connectome.save`::

    dynamics/             attributes activation, activation_scale, variant, tanh_coupling, messages, tau_floor;
                          gain (N,) if there is one
    train|validation|test state (n_chunks, N): voltage of the last frame of every chunk, without measurement noise;
                          measurement_noise (T, N) if there is any: recorded voltage = true voltage + noise
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


@dataclass(frozen=True, eq=False)
class Truth:
    """What a simulated recording was made from.

    Attributes:
        connectome: weights, time constants, rests, types.
        dynamics: message function and variant.
        path: the store.
    """

    connectome: Connectome
    dynamics: Dynamics
    path: Path

    @classmethod
    def load(cls, path: str | Path) -> "Truth":
        """Read a truth store that a simulation wrote.

        Raises:
            MissingInputError: if there is none.
            StoreError: if it is damaged or of another kind.
        """
        root = open_store(path, "truth")
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
        root = open_store(self.path, "truth")
        if split not in root:
            raise MissingInputError(f"{self.path}: no split {split!r} in this truth store")
        if "measurement_noise" not in root[split]:
            return np.zeros((stop - start, self.connectome.n_neurons), dtype=np.float32)
        return np.asarray(root[split]["measurement_noise"][start:stop])


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
        dynamics: Dynamics,
        n_frames: Mapping[str, int],
        chunk_frames: int,
        digest: str,
        measurement_noise: bool,
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
        """
        with atomic_store(path, "truth") as root:
            connectome.save_into(root)
            group = root.create_group("dynamics")
            plain = {name: value for name, value in vars(dynamics).items() if name != "gain"}
            group.attrs.update(plain)
            if dynamics.gain is not None:
                create_static(group, "gain", dynamics.gain)
            for split, planned in n_frames.items():
                group = root.create_group(split)
                n_chunks, n = -(-planned // chunk_frames), connectome.n_neurons
                group.create_array("state", shape=(n_chunks, n), chunks=(1, max(n, 1)), dtype="float32")
                if measurement_noise:
                    create_dynamic(group, "measurement_noise", planned, n, chunk_frames)
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
        """(N,) float32 true voltage of the last frame of a chunk."""
        return np.asarray(self._root[f"{split}/state"][chunk])

    def write(self, split: str, chunk: int, start: int, state: np.ndarray, noise: np.ndarray | None) -> None:
        """Store what belongs to one chunk.

        Args:
            split: name of the split.
            chunk: number of the chunk.
            start: its first frame.
            state: (N,) true voltage of its last frame.
            noise: (t, N) measurement noise, or None.
        """
        self._root[f"{split}/state"][chunk] = state
        if noise is not None:
            self._root[f"{split}/measurement_noise"][start : start + len(noise)] = noise
