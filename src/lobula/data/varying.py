r"""What changes in a circuit while it is recorded: a plasticity of every neuron, or parameters that drift.

.. math:: \dot v_i = k_i v_i + c_i + own_i(v_i) + q_i I_i + extra_i(v_i, t) + gain_i(t) \sum_j \theta_{ij} g_j(v_j)

A circuit that changes has a state beside its voltages: the plasticity p (..., N), or the time (..., 1) [s] since the
first training frame.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal, Protocol

import numpy as np

Kind = Literal["plasticity", "drift"]


class Varying(Protocol):
    """What `LinearCircuit` and `Estimates` know of a circuit that changes."""

    kind: ClassVar[Kind]

    @property
    def usual(self) -> np.ndarray:
        """(N,) or (1,) state where nothing is known of the past."""
        ...

    @property
    def unit(self) -> np.ndarray:
        """(N,) or (1,) state in which the gain is 1."""
        ...

    def at(self, voltage: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """gain and extra [a.u./s], (..., N) each, at voltages (..., N)."""
        ...

    def advance(self, state: np.ndarray, voltage: np.ndarray, dt: float) -> np.ndarray:
        """The state one step of dt [s] later."""
        ...


@dataclass(frozen=True, eq=False)
class Plasticity:
    r"""Short-term plasticity of the receiving neuron: :math:`\dot p = (1 - p) / \tau - \alpha\, p\, |v|`, gain p.

    Attributes:
        tau: (N,) time constant of recovery [s].
        alpha: (N,) how fast activity depresses [1/(a.u. s)].
        start: (N,) p at the first training frame.
        level: (N,) mean of p over training frames.
        offset: (N,) a constant message [a.u./s]: extra is offset p.
    """

    kind: ClassVar[Kind] = "plasticity"
    tau: np.ndarray
    alpha: np.ndarray
    start: np.ndarray
    level: np.ndarray
    offset: np.ndarray

    @property
    def usual(self) -> np.ndarray:
        """(N,) mean p."""
        return self.level

    @property
    def unit(self) -> np.ndarray:
        """(N,) p = 1, at rest."""
        return np.ones_like(self.level)

    def at(self, voltage: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gain p and extra, (..., N) each."""
        return state, state * self.offset

    def advance(self, state: np.ndarray, voltage: np.ndarray, dt: float) -> np.ndarray:
        """(..., N) p one Euler step later."""
        return state + dt * ((1.0 - state) / self.tau - self.alpha * state * np.abs(voltage))

    def settled(self, voltage: np.ndarray) -> np.ndarray:
        """p where the voltage stays: 1 / (1 + alpha tau abs(v))."""
        return 1.0 / (1.0 + self.alpha * self.tau * np.abs(voltage))


@dataclass(frozen=True, eq=False)
class Drift:
    r"""Parameters that drift with a period T: x(t) = x + x_1 (1 - cos(2 pi t / T)) + x_2 sin(2 pi t / T).

    All are those of the circuit at t = 0, the first training frame.

    Attributes:
        period: (1,) T [s].
        k: (2, N) x_1 and x_2 of the leak [1/s].
        c: (2, N) of the offset [a.u./s].
        tanh: (2, N) of the multiple of tanh v [a.u./s].
        gain: (2, N) of the gain, which is 1 at t = 0.
    """

    kind: ClassVar[Kind] = "drift"
    period: np.ndarray
    k: np.ndarray
    c: np.ndarray
    tanh: np.ndarray
    gain: np.ndarray

    @property
    def usual(self) -> np.ndarray:
        """(1,) time 0."""
        return np.zeros(1)

    @property
    def unit(self) -> np.ndarray:
        """(1,) time 0."""
        return np.zeros(1)

    def at(self, voltage: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gain and extra, (..., N) each, at times (..., 1)."""
        swing = waves(state, float(self.period[0]))
        extra = sum(
            wave * (k * voltage + c + b * np.tanh(voltage))
            for wave, k, c, b in zip(swing, self.k, self.c, self.tanh, strict=True)
        )
        return 1.0 + sum(wave * gain for wave, gain in zip(swing, self.gain, strict=True)), extra

    def advance(self, state: np.ndarray, voltage: np.ndarray, dt: float) -> np.ndarray:
        """(..., 1) the time one step later."""
        return state + dt


def waves(time: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray]:
    """1 - cos and sin of 2 pi t / T at times [s]: both 0 at t = 0."""
    angle = 2.0 * np.pi * np.asarray(time, dtype=np.float64) / period
    return 1.0 - np.cos(angle), np.sin(angle)


KINDS: dict[str, type[Plasticity] | type[Drift]] = {"plasticity": Plasticity, "drift": Drift}


def arrays_of(varying: Plasticity | Drift | None) -> dict[str, np.ndarray]:
    """What it consists of, by name, the kind first; nothing for None."""
    return {} if varying is None else {f"{varying.kind}_{f.name}": getattr(varying, f.name) for f in fields(varying)}


def from_arrays(arrays: dict[str, np.ndarray]) -> Plasticity | Drift | None:
    """What `arrays_of` gave, from it and perhaps further arrays."""
    for kind, made in KINDS.items():
        names = [field.name for field in fields(made)]
        if f"{kind}_{names[0]}" in arrays:
            return made(*(arrays[f"{kind}_{name}"] for name in names))
    return None
