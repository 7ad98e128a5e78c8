"""A recording as an estimator sees it: wiring, frame interval, and frames that are read when asked for."""

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from lobula.data.annotations import Annotations
from lobula.data.fields import ArrayField, ChunkCache, ZarrField
from lobula.data.layout import AFTER, VISITED, check_layout
from lobula.data.split import Block, Split, TargetKind, Trials
from lobula.data.wiring import Wiring
from lobula.data.zarr_format import CHUNK_FRAMES, open_store, read_static
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError

logger = logging.getLogger(__name__)

__all__ = ["Block", "Recording", "Split", "TargetKind"]

SPLITS = ("train", "validation", "test")
CACHE_BYTES = 256 * 2**20  # two rows of chunks at full size (13,741 neurons): one in use, one just begun


class Recording:
    """Recorded activity of a circuit, split into train, validation and test; never holds the truth.

    Open a store with `open`, or wrap arrays with `from_arrays`; both behave alike.

    Attributes:
        wiring: who connects to whom.
        dt: time between frames [s].
        column_positions: (H, 2) positions of the stimulus columns, or None.
        static: per-neuron arrays that an experimenter knows, for example u and v.
        attributes: what the writer noted (seeds, recipe, digest).
        path: the store, or None for arrays.
    """

    def __init__(
        self,
        wiring: Wiring,
        dt: float,
        splits: Mapping[str, Split],
        column_positions: np.ndarray | None = None,
        static: Mapping[str, np.ndarray] | None = None,
        attributes: Mapping[str, object] | None = None,
        path: Path | None = None,
        annotations: Annotations | None = None,
    ) -> None:
        self.wiring = wiring
        self.dt = dt
        self.column_positions = column_positions
        self.static = dict(static or {})
        self.attributes = dict(attributes or {})
        self.path = path
        self._splits = dict(splits)
        self._annotations = annotations

    @classmethod
    def open(cls, path: str | Path, cache_bytes: int = CACHE_BYTES) -> "Recording":
        """Open a recording store; frames are read when asked for.

        Args:
            path: directory of the store.
            cache_bytes: bound on the decoded chunks kept in memory [bytes].

        Raises:
            MissingInputError: if there is nothing at `path`.
            StoreError: if the store is foreign, truncated or of another version.
        """
        path = Path(path)
        root = open_store(path, "recording")
        check_layout(path, root)
        attributes = dict(root.attrs)
        cache = ChunkCache(cache_bytes)
        splits = {}
        for name in attributes["splits"]:
            counts = dict(root[name].attrs)
            fields = {f: ZarrField(root[f"{name}/{f}"], f"{name}/{f}", cache) for f in attributes["fields"]}
            n_frames, n_planned = int(counts["n_frames_written"]), int(counts["n_frames_planned"])
            length, trials = counts.get("trial_frames"), None
            if length is not None:
                after = ZarrField(root[f"{name}/{AFTER}"], f"{name}/{AFTER}", cache)
                trials = Trials(int(length), after.window(0, -(-n_frames // int(length))))
            visited = None
            if VISITED in root[name]:
                visited = ZarrField(root[f"{name}/{VISITED}"], f"{name}/{VISITED}", cache)
            splits[name] = Split(name, fields, n_frames, n_planned, float(attributes["dt"]), trials, visited)
            if n_frames < n_planned:
                logger.warning(
                    "%s: %s has %d of %d frames; simulate again to complete it", path, name, n_frames, n_planned
                )
        try:
            static = {name: read_static(array) for name, array in root["static"].arrays()}
            columns = read_static(root["columns"]) if "columns" in root else None
            wiring = Wiring.load(root["wiring"])
        except (KeyError, RuntimeError) as cause:
            raise StoreError(f"{path}: truncated or damaged ({cause}); run simulate with --force") from cause
        return cls(wiring, float(attributes["dt"]), splits, columns, static, attributes, path)

    @classmethod
    def from_arrays(
        cls,
        voltage: np.ndarray,
        wiring: Wiring,
        dt: float,
        stimulus: np.ndarray | None = None,
        drift: np.ndarray | None = None,
        splits: tuple[float, float, float] = (0.8, 0.1, 0.1),
        column_positions: np.ndarray | None = None,
        annotations: Annotations | None = None,
    ) -> "Recording":
        """Wrap arrays (or memory maps), cut into consecutive stretches of time.

        Args:
            voltage: (T, N) membrane potential.
            wiring: the circuit's wiring.
            dt: time between frames [s].
            stimulus: (T, H) per column of the wiring, or (T, N) per neuron.
            drift: (T, N) noise-free dv/dt, if it is known.
            splits: shares of train, validation and test.
            column_positions: (H, 2) positions of the stimulus columns.
            annotations: cell types, synapse counts and signs, as far as they are known.

        Raises:
            ShapeError: if shapes do not fit, or a part with a share > 0 gets fewer than two frames.
            ConfigError: if dt or the shares are not valid.
        """
        voltage = np.asarray(voltage)
        arrays = {"voltage": voltage}
        arrays |= {name: np.asarray(a) for name, a in (("stimulus", stimulus), ("drift", drift)) if a is not None}
        _check_arrays(arrays, wiring)
        if not np.isfinite(dt) or dt <= 0:
            raise ConfigError(f"dt: got {dt}, expected seconds > 0")
        parts = {}
        for name, (low, high) in boundaries(len(voltage), splits).items():
            chunk = min(CHUNK_FRAMES, max(high - low, 1))
            fields = {f: ArrayField(a[low:high], f"{name}/{f}", low, chunk) for f, a in arrays.items()}
            parts[name] = Split(name, fields, high - low, high - low, float(dt))
        return cls(wiring, float(dt), parts, column_positions, annotations=annotations)

    def on(self, wiring: Wiring) -> "Recording":
        """The same frames with another graph of the same neurons; without annotations, which belong to the edges.

        Raises:
            ShapeError: if the number of neurons differs.
        """
        if wiring.n_neurons != self.n_neurons:
            raise ShapeError(
                f"wiring: got {wiring.n_neurons} neurons, expected {self.n_neurons}, those of the recording"
            )
        rest = self.column_positions, self.static, self.attributes, self.path
        return Recording(wiring, self.dt, self._splits, *rest, annotations=Annotations())

    def __getitem__(self, split: str) -> Split:
        if split not in self._splits:
            raise MissingInputError(f"no split {split!r} in this recording, expected one of {', '.join(self._splits)}")
        return self._splits[split]

    def __contains__(self, split: str) -> bool:
        return split in self._splits

    def __repr__(self) -> str:
        frames = ", ".join(f"{split.name} {split.n_frames}" for split in self._splits.values())
        return f"Recording({self.n_neurons} neurons, {self.wiring.n_edges} edges, dt {self.dt} s, frames: {frames})"

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        return self.wiring.n_neurons

    @cached_property
    def annotations(self) -> Annotations:
        """What the experimenter knows besides the graph; read from the store when first asked for.

        Raises:
            StoreError: if they are damaged.
        """
        if self._annotations is not None or self.path is None:
            return self._annotations or Annotations()
        return Annotations.load(open_store(self.path, "recording"), self.wiring)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self._splits)

    @property
    def has_drift(self) -> bool:
        """Whether the simulator's noise-free dv/dt was recorded."""
        return all(split.has_drift for split in self._splits.values())


def _check_arrays(arrays: Mapping[str, np.ndarray], wiring: Wiring) -> None:
    n_frames = len(arrays["voltage"]) if arrays["voltage"].ndim else 0
    for name, array in arrays.items():
        widths = {wiring.n_neurons} | ({wiring.n_columns} if name == "stimulus" and wiring.n_columns else set())
        if array.ndim != 2 or array.shape[0] != n_frames or array.shape[1] not in widths:
            expected = " or ".join(f"({n_frames}, {width})" for width in sorted(widths))
            raise ShapeError(f"{name}: got shape {array.shape}, expected {expected}: time first, one value per neuron")
        if array.dtype.kind not in "fiu":
            raise ShapeError(f"{name}: got dtype {array.dtype}, expected real numbers")


def boundaries(n_frames: int, shares: tuple[float, float, float]) -> dict[str, tuple[int, int]]:
    """First frame and one past the last of train, validation and test; a split without a share is left out.

    Raises:
        ConfigError: if the shares are not valid.
        ShapeError: if a split gets fewer than two frames.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or shares[0] <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"splits: got {shares}, expected three shares >= 0 (train > 0) that add up to 1")
    edges = [0, *np.round(np.cumsum(shares) * n_frames).astype(int).tolist()]
    parts = {name: (edges[i], edges[i + 1]) for i, name in enumerate(SPLITS) if shares[i] > 0}
    short = [name for name, (low, high) in parts.items() if high - low < 2]
    if short:
        raise ShapeError(f"voltage: {n_frames} frames leave fewer than two for {', '.join(short)}; record longer")
    return parts
