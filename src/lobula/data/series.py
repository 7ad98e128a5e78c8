"""The states of a circuit over time, with named fields instead of packed columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lobula.data.legacy import LegacyStore, find_stores
from lobula.data.recording import Recording
from lobula.data.state import DYNAMIC_FIELDS, STATIC_FIELDS, NeuronState
from lobula.errors import ConfigError, MissingInputError, ShapeError


@dataclass(frozen=True, eq=False)
class NeuronTimeSeries:
    """T frames of N neurons, in memory. A field that is not known or was not loaded is None.

    For recordings that do not fit in memory use `Recording`, which reads them in windows.

    Attributes:
        index: (N,) neuron numbers.
        pos: (N, 2) positions.
        group_type: (N,) group numbers.
        neuron_type: (N,) cell-type numbers.
        voltage: (T, N) membrane potential [a.u.].
        stimulus: (T, N) external input [a.u.].
        calcium: (T, N) [a.u.].
        fluorescence: (T, N) [a.u.].
        noise: (T, N) measurement noise [a.u.].
    """

    index: Int[Tensor, " neuron"] | None = None
    pos: Float[Tensor, "neuron 2"] | None = None
    group_type: Int[Tensor, " neuron"] | None = None
    neuron_type: Int[Tensor, " neuron"] | None = None
    voltage: Float[Tensor, "time neuron"] | None = None
    stimulus: Float[Tensor, "time neuron"] | None = None
    calcium: Float[Tensor, "time neuron"] | None = None
    fluorescence: Float[Tensor, "time neuron"] | None = None
    noise: Float[Tensor, "time neuron"] | None = None

    def __post_init__(self) -> None:
        shapes = {name: tuple(value.shape) for name, value in self._known(DYNAMIC_FIELDS).items()}
        static = {name: len(value) for name, value in self._known(STATIC_FIELDS).items()}
        if len(set(shapes.values())) > 1 or len({shape[-1] for shape in shapes.values()} | set(static.values())) > 1:
            raise ShapeError(
                f"NeuronTimeSeries: fields do not fit together ({shapes | static}), expected (T, N) and (N,)"
            )

    @classmethod
    def zeros(cls, n: int, n_frames: int, device: torch.device | str = "cpu") -> "NeuronTimeSeries":
        """n_frames frames of n neurons with every field zero and `index` 0..n-1."""
        frame = NeuronState.zeros(n, device)
        static = {name: getattr(frame, name) for name in STATIC_FIELDS}
        return cls(**static, **{name: torch.zeros(n_frames, n, device=device) for name in DYNAMIC_FIELDS})

    @classmethod
    def from_numpy(cls, packed: np.ndarray) -> "NeuronTimeSeries":
        """Read the packed layout of old files.

        Args:
            packed: (T, N, 9), columns as in `NeuronState.from_numpy`.

        Raises:
            ShapeError: if there are not three axes, nine columns and at least one frame.
        """
        packed = np.asarray(packed)
        if packed.ndim != 3 or not len(packed):
            raise ShapeError(f"packed series: got shape {packed.shape}, expected (n_frames, n_neurons, 9)")
        return cls.from_frames([NeuronState.from_numpy(frame) for frame in packed])

    @classmethod
    def from_frames(cls, frames: list[NeuronState]) -> "NeuronTimeSeries":
        """Stack frames; static fields are those of the first one.

        Raises:
            ShapeError: if there is no frame.
        """
        if not frames:
            raise ShapeError("NeuronTimeSeries: got no frames, expected at least one")
        static = {name: getattr(frames[0], name) for name in STATIC_FIELDS}
        known = [name for name in DYNAMIC_FIELDS if getattr(frames[0], name) is not None]
        return cls(**static, **{name: torch.stack([getattr(frame, name) for frame in frames]) for name in known})

    @classmethod
    def load(
        cls,
        path: str | Path,
        fields: Iterable[str] = ("voltage",),
        split: str = "train",
        start: int = 0,
        stop: int | None = None,
    ) -> "NeuronTimeSeries":
        """Load some fields of a recording store, or of a store in one of the old layouts; nothing else is read.

        Args:
            path: recording store; or an old store, see `lobula.data.legacy`: it is recognised by what is there.
            fields: dynamic fields; "stimulus" is spread from columns to neurons. `index` and, if the recording has
                them, `pos` (of our stores the hexagonal coordinates u, v) come along, and of old stores all static
                fields.
            split: train, validation or test; an old store that is not split is read as it is.
            start: first frame.
            stop: one past the last frame; default is the end of the split.

        Raises:
            ConfigError: if a field's name is unknown.
            MissingInputError: if the recording does not hold a field or a split.
        """
        fields = _checked_fields(fields)
        if old := find_stores(path):
            return cls._load_old(old, fields, split, start, stop)
        recording = Recording.open(path)
        part = recording[split]
        stop = part.n_frames if stop is None else stop
        dynamic = {}
        for name in fields:
            if name not in part.fields:
                raise MissingInputError(f"{path}: {split} holds {', '.join(part.fields)}, but no {name}")
            values = part.window(name, start, stop)
            dynamic[name] = torch.from_numpy(recording.wiring.spread(values) if name == "stimulus" else values)
        static = {"index": torch.arange(recording.n_neurons)}
        if {"u", "v"} <= set(recording.static):
            pos = np.stack([recording.static["u"], recording.static["v"]], axis=1)
            static["pos"] = torch.from_numpy(pos.astype(np.float32))
        elif "pos" in recording.static:
            static["pos"] = torch.from_numpy(recording.static["pos"].astype(np.float32))
        return cls(**static, **dynamic)

    @classmethod
    def _load_old(
        cls, stores: dict[str, Path], fields: tuple[str, ...], split: str, start: int, stop: int | None
    ) -> "NeuronTimeSeries":
        path = stores.get("", stores.get(split))
        if path is None:
            raise MissingInputError(f"no split {split!r} beside {stores['train']}, expected one of {', '.join(stores)}")
        store = LegacyStore(path)
        static = {"index": np.arange(store.n_neurons), **store.static}
        dynamic = {name: store.window(name, start, stop) for name in fields}
        return cls(**{name: torch.from_numpy(values) for name, values in {**static, **dynamic}.items()})

    @property
    def n_frames(self) -> int:
        """Number of frames T; 0 without a dynamic field."""
        return next((len(value) for value in self._known(DYNAMIC_FIELDS).values()), 0)

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        static, dynamic = self._known(STATIC_FIELDS), self._known(DYNAMIC_FIELDS)
        return next(iter([*(len(v) for v in static.values()), *(v.shape[1] for v in dynamic.values())]), 0)

    @property
    def xnorm(self) -> Tensor:
        """Scale of the voltage: 1.5 times the standard deviation of all values, a scalar.

        Raises:
            MissingInputError: if the voltage was not loaded.
        """
        if self.voltage is None:
            raise MissingInputError("xnorm: the voltage was not loaded; load it with fields=('voltage', ...)")
        return 1.5 * self.voltage.std()

    def frame(self, t: int) -> NeuronState:
        """Frame t; its tensors are views.

        Raises:
            ShapeError: if there is no such frame.
        """
        if not 0 <= t < self.n_frames:
            raise ShapeError(f"frame: got {t}, expected 0..{self.n_frames - 1}")
        dynamic = {name: value[t] for name, value in self._known(DYNAMIC_FIELDS).items()}
        return NeuronState(**self._known(STATIC_FIELDS), **dynamic)

    def to_packed(self) -> Float[Tensor, "time neuron 9"]:
        """The packed layout of old files, (T, N, 9); see `NeuronState.to_packed`."""
        return torch.stack([self.frame(t).to_packed() for t in range(self.n_frames)])

    def to(self, device: torch.device | str) -> "NeuronTimeSeries":
        """The same series on another device."""
        return self._mapped(lambda value: value.to(device))

    def clone(self) -> "NeuronTimeSeries":
        """A copy that shares no memory."""
        return self._mapped(torch.clone)

    def detach(self) -> "NeuronTimeSeries":
        """The same values without gradients."""
        return self._mapped(torch.Tensor.detach)

    def subset(self, ids: Int[Tensor, " kept"]) -> "NeuronTimeSeries":
        """The series of some of the neurons, in the order of `ids`."""
        static = {name: value[ids] for name, value in self._known(STATIC_FIELDS).items()}
        dynamic = {name: value[:, ids] for name, value in self._known(DYNAMIC_FIELDS).items()}
        return replace(self, **static, **dynamic)

    def _known(self, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "NeuronTimeSeries":
        known = self._known(field.name for field in fields(self))
        return replace(self, **{name: change(value) for name, value in known.items()})


def _checked_fields(names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    for name in names:
        if name not in DYNAMIC_FIELDS:
            raise ConfigError(f"fields: got {name!r}, expected some of {', '.join(DYNAMIC_FIELDS)}")
    return names
