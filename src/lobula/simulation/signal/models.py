r"""The equations of signal networks by name; a new one is one class, or one more entry of a family.

All are of the form

.. math:: \dot u_i = \phi_i(u_i) + g_i\, p_i \sum_j W_{ij}\, \psi_{ij}(u_j) + e_i

with :math:`p_i = 1` but for plastic models. A model says what phi and psi are; `SignalCircuit` does the rest.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

Per = Mapping[str, np.ndarray]
"""Parameters by name, each (N,) or (G, N) float32; of one receiving cell type each a float32."""
Psi = Callable[[np.ndarray], np.ndarray]
Table = tuple[tuple[float, ...], ...]

LOG_SHARE = 50.0
"""N5: psi_ij ends in - u_j ln(w_j) / 50."""
RATES_AND_SELF: Table = ((10.0, 1.0, 1.0), (10.0, 2.0, 1.0), (10.0, 1.0, 2.0), (10.0, 2.0, 2.0))
"""Published [g, s, c] of four types: (s, tau) = (1, 1), (2, 1), (1, .5), (2, .5)."""


class SignalModel(ABC):
    """One equation. Vary one by a flag of its family, or write another class.

    Attributes:
        layout: names of the parameters of a cell type, in order; "g" and the leak "c" or "a" are among them.
        defaults: parameters of four cell types.
        functions: message functions of four cell types, where they belong to the equation; else None.
        by_receiver: whether psi depends on the receiving neuron's type.
        plastic: whether there is a plasticity p, with parameters tau and alpha.
        drifting: whether parameters drift from each type's to the next one's and back.
    """

    layout: tuple[str, ...]
    defaults: Table
    functions: tuple[str, ...] | None = None
    by_receiver: bool = False
    plastic: bool = False
    drifting: bool = False

    @abstractmethod
    def intrinsic(self, u: np.ndarray, own: Per) -> np.ndarray:
        """phi: what a neuron does on its own, (..., N) [a.u./s]."""

    @abstractmethod
    def message(self, psi: Psi, u: np.ndarray, own: Per, receiver: Per) -> np.ndarray:
        """(..., N) messages of all neurons to the receivers of one type; ``receiver`` is empty but for by_receiver."""


@dataclass(frozen=True)
class SelfExciting(SignalModel):
    r"""N2, N3, N6, N7: :math:`\phi = -c u + s \tanh u`, :math:`\psi(u_j)`, or :math:`\psi(u_j / t_i)` if scaled."""

    layout: tuple[str, ...]
    defaults: Table
    plastic: bool = False
    drifting: bool = False
    by_receiver: bool = False

    def intrinsic(self, u: np.ndarray, own: Per) -> np.ndarray:
        return own["s"] * np.tanh(u) - own["c"] * u

    def message(self, psi: Psi, u: np.ndarray, own: Per, receiver: Per) -> np.ndarray:
        return psi(u / receiver["t"]) if self.by_receiver else psi(u)


@dataclass(frozen=True)
class Threshold(SignalModel):
    r"""N4, N5: :math:`\phi = -a u + b + s \tanh u`, :math:`\psi((u_j - h_j) / w_j)`, by receiver with
    :math:`w_i` instead and :math:`- u_j \ln(w_j) / 50`."""

    layout: tuple[str, ...]
    defaults: Table
    by_receiver: bool = False

    def intrinsic(self, u: np.ndarray, own: Per) -> np.ndarray:
        return own["b"] + own["s"] * np.tanh(u) - own["a"] * u

    def message(self, psi: Psi, u: np.ndarray, own: Per, receiver: Per) -> np.ndarray:
        if not self.by_receiver:
            return psi((u - own["h"]) / own["w"])
        return psi((u - own["h"]) / receiver["w"]) - u * (np.log(own["w"]) / np.float32(LOG_SHARE))


@dataclass(frozen=True)
class Leaky(SignalModel):
    r"""N11: :math:`\phi = -c u`, and a message function per cell type of the sender."""

    layout: tuple[str, ...]
    defaults: Table
    functions: tuple[str, ...]

    def intrinsic(self, u: np.ndarray, own: Per) -> np.ndarray:
        return -own["c"] * u

    def message(self, psi: Psi, u: np.ndarray, own: Per, receiver: Per) -> np.ndarray:
        return psi(u)


def _joined(*values: tuple[float, ...]) -> Table:
    """`RATES_AND_SELF` with further columns."""
    return tuple((*row, *more) for row, more in zip(RATES_AND_SELF, zip(*values, strict=True), strict=True))


_WIDTHS = (1.0, 2.0, 4.0, 8.0)
_LEVELS: Table = tuple((c, 0.0, g, s, w, 0.0) for (g, s, c), w in zip(RATES_AND_SELF, _WIDTHS, strict=True))
_GSC, _ABGSWH = ("g", "s", "c"), ("a", "b", "g", "s", "w", "h")

SIGNAL_MODELS: Mapping[str, SignalModel] = MappingProxyType(
    {
        "N2": SelfExciting(_GSC, RATES_AND_SELF),
        "N3": SelfExciting(_GSC, RATES_AND_SELF, drifting=True),
        "N4": Threshold(_ABGSWH, _LEVELS),
        "N5": Threshold(_ABGSWH, _LEVELS, by_receiver=True),
        "N6": SelfExciting((*_GSC, "tau", "alpha"), _joined((100.0,) * 4, (0.02,) * 4), plastic=True),
        "N7": SelfExciting(
            (*_GSC, "t", "tau", "alpha"), _joined(_WIDTHS, (25.0,) * 4, (0.02,) * 4), plastic=True, by_receiver=True
        ),
        "N11": Leaky(
            ("g", "c"), tuple((g, c) for g, _, c in RATES_AND_SELF), ("tanh", "sigmoid", "saturating", "tanh")
        ),
    }
)
