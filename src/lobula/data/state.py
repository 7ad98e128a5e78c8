"""The state of a circuit in one frame, with named fields instead of packed columns."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lobula.errors import ShapeError

STATIC_FIELDS = ("index", "pos", "group_type", "neuron_type")
DYNAMIC_FIELDS = ("voltage", "stimulus", "calcium", "fluorescence", "noise")

# The one place that knows the packed layout of old files: columns of an (N, 9) array
PACKED_WIDTH = 9
PACKED_SCALARS = {
    "index": 0,
    "voltage": 3,
    "stimulus": 4,
    "group_type": 5,
    "neuron_type": 6,
    "calcium": 7,
    "fluorescence": 8,
}
PACKED_POS = slice(1, 3)


@dataclass(frozen=True, eq=False)
class NeuronState:
    """One frame of N neurons. A field that is not known is None.

    Attributes:
        index: (N,) neuron numbers.
        pos: (N, 2) positions.
        group_type: (N,) group numbers.
        neuron_type: (N,) cell-type numbers.
        voltage: (N,) membrane potential [a.u.].
        stimulus: (N,) external input [a.u.].
        calcium: (N,) [a.u.].
        fluorescence: (N,) [a.u.].
        noise: (N,) measurement noise [a.u.].
    """

    index: Int[Tensor, " neuron"] | None = None
    pos: Float[Tensor, "neuron 2"] | None = None
    group_type: Int[Tensor, " neuron"] | None = None
    neuron_type: Int[Tensor, " neuron"] | None = None
    voltage: Float[Tensor, " neuron"] | None = None
    stimulus: Float[Tensor, " neuron"] | None = None
    calcium: Float[Tensor, " neuron"] | None = None
    fluorescence: Float[Tensor, " neuron"] | None = None
    noise: Float[Tensor, " neuron"] | None = None

    def __post_init__(self) -> None:
        lengths = {f.name: len(value) for f in fields(self) if (value := getattr(self, f.name)) is not None}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"NeuronState: fields differ in length ({lengths}), expected one value per neuron")

    @classmethod
    def zeros(cls, n: int, device: torch.device | str = "cpu") -> "NeuronState":
        """A state of n neurons with every field zero and `index` 0..n-1."""
        whole = {name: torch.zeros(n, dtype=torch.long, device=device) for name in ("group_type", "neuron_type")}
        real = {name: torch.zeros(n, device=device) for name in DYNAMIC_FIELDS}
        return cls(index=torch.arange(n, device=device), pos=torch.zeros(n, 2, device=device), **whole, **real)

    @classmethod
    def from_numpy(cls, packed: np.ndarray) -> "NeuronState":
        """Read the packed layout of old files.

        Args:
            packed: (N, 9) with columns index, x, y, voltage, stimulus, group type, neuron type, calcium, fluorescence.

        Raises:
            ShapeError: if there are not nine columns.
        """
        packed = np.asarray(packed)
        if packed.ndim != 2 or packed.shape[1] != PACKED_WIDTH:
            raise ShapeError(f"packed state: got shape {packed.shape}, expected (n_neurons, {PACKED_WIDTH})")
        columns = {name: torch.from_numpy(packed[:, column].copy()) for name, column in PACKED_SCALARS.items()}
        named = {name: column.long() if name in STATIC_FIELDS else column.float() for name, column in columns.items()}
        return cls(pos=torch.from_numpy(packed[:, PACKED_POS].copy()).float(), **named)

    def to_packed(self) -> Float[Tensor, "neuron 9"]:
        """The packed layout of old files; fields that are not known become 0, noise has no column.

        Returns:
            (N, 9) float32.
        """
        packed = torch.zeros(self.n_neurons, PACKED_WIDTH)
        for name, column in PACKED_SCALARS.items():
            value = getattr(self, name)
            if value is not None:
                packed[:, column] = value.float()
        if self.pos is not None:
            packed[:, PACKED_POS] = self.pos
        return packed

    @property
    def n_neurons(self) -> int:
        """Number of neurons N; 0 if every field is None."""
        return next((len(value) for f in fields(self) if (value := getattr(self, f.name)) is not None), 0)

    def to(self, device: torch.device | str) -> "NeuronState":
        """The same state on another device."""
        return self._mapped(lambda value: value.to(device))

    def clone(self) -> "NeuronState":
        """A copy that shares no memory."""
        return self._mapped(torch.clone)

    def detach(self) -> "NeuronState":
        """The same values without gradients."""
        return self._mapped(torch.Tensor.detach)

    def subset(self, ids: Int[Tensor, " kept"]) -> "NeuronState":
        """The state of some of the neurons, in the order of `ids`."""
        return self._mapped(lambda value: value[ids])

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "NeuronState":
        known = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(self, **{name: change(value) for name, value in known.items()})
