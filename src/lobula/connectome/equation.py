"""Which equation the neurons of a signal network follow, with the parameters of every cell type. Truth."""

from dataclasses import dataclass

import numpy as np
import zarr

from lobula.data.zarr_format import create_static, read_static
from lobula.errors import ShapeError

LEAKS = ("c", "a")
"""Names of the rate of decay, the inverse of the time constant."""


@dataclass(frozen=True, eq=False)
class Equation:
    r"""A member of the family :math:`\dot u_i = \phi_i(u_i) + g_i \sum_j W_{ij}\, \psi_{ij}(u_j) + e_i`.

    Attributes:
        model: name of the member, "N2" for example.
        names: name of every parameter; among them the gain "g" and a leak, "c" or "a" [1/s].
        table: (C, P) float64, one row of parameters per cell type.
        message_functions: name of psi of every cell type.
        drift_period: time in which drifting parameters go from one type's to the next one's and back [s].
    """

    model: str
    names: tuple[str, ...]
    table: np.ndarray
    message_functions: tuple[str, ...]
    drift_period: float = 1_000.0

    def __post_init__(self) -> None:
        if self.table.shape != (len(self.message_functions), len(self.names)):
            raise ShapeError(
                f"parameters: got shape {self.table.shape}, expected ({len(self.message_functions)}, "
                f"{len(self.names)}): one row per cell type with {', '.join(self.names)}"
            )

    @property
    def n_types(self) -> int:
        """Number of cell types C."""
        return len(self.table)

    def column(self, name: str) -> np.ndarray:
        """(C,) float64, a parameter of every cell type."""
        return self.table[:, self.names.index(name)]

    @property
    def gain(self) -> np.ndarray:
        """(C,) float64 factor g on the summed messages [1/s]."""
        return self.column("g")

    @property
    def tau(self) -> np.ndarray:
        """(C,) float64 time constant [s]; of drifting parameters the one they start from."""
        return 1.0 / self.column(next(name for name in LEAKS if name in self.names))

    @property
    def v_rest(self) -> np.ndarray:
        """(C,) float64 state that a lone neuron without self-excitation returns to [a.u.]."""
        return self.column("b") * self.tau if "b" in self.names else np.zeros(self.n_types)

    def save(self, group: zarr.Group) -> None:
        """Write into an empty zarr group."""
        create_static(group, "table", self.table)
        attributes = {"model": self.model, "names": list(self.names), "drift_period": self.drift_period}
        group.attrs.update({**attributes, "message_functions": list(self.message_functions)})

    @classmethod
    def load(cls, group: zarr.Group) -> "Equation":
        """Read what `save` wrote."""
        facts = dict(group.attrs)
        functions, names = tuple(facts["message_functions"]), tuple(facts["names"])
        return cls(facts["model"], names, read_static(group["table"]), functions, facts["drift_period"])
