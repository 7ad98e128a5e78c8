r"""Message functions of groups of senders, found together: the curve rounds of `spline` with a curve per group."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.wiring import Wiring
from lobula.regression.curve import Curve, SmoothCurve, initial_knots
from lobula.regression.curve_step import curve_step, settle_gauge, some_targets
from lobula.regression.edge_messages import GroupMessages, MessageFunction
from lobula.regression.gram import Frames, accumulate
from lobula.regression.own_curves import GroupCurves
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import LinearCircuit, solve
from lobula.regression.spline import FLOORS, improved

FIRST_FLOOR = 3
"""Of `spline.FLOORS`: the functions are nearly right when the groups are known."""


@dataclass(frozen=True, eq=False)
class CurveSet:
    """One curve per group of senders.

    Attributes:
        group: (N,) group of every neuron, 0 .. G-1.
        curves: the function of every group.
    """

    group: np.ndarray
    curves: tuple[Curve, ...]

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages (T, N) at voltages (T, N)."""
        messages = np.empty(voltage.shape)
        for curve, members in self.parts(voltage.shape[1]):
            messages[:, members] = curve(voltage[:, members])
        return messages

    @property
    def values(self) -> np.ndarray:
        """(K,) values of all curves at their knots, one curve after the other."""
        return np.concatenate([curve.values for curve in self.curves])

    @property
    def size(self) -> int:
        """Knots of a curve, on average."""
        return len(self.values) // len(self.curves)

    def parts(self, n_neurons: int) -> list[tuple[Curve, np.ndarray]]:
        """Curves, and the senders that have each."""
        del n_neurons
        return [(curve, np.flatnonzero(self.group == c)) for c, curve in enumerate(self.curves)]

    def with_values(self, values: np.ndarray) -> "CurveSet":
        """The same knots with other values (K,)."""
        pieces = np.split(values, np.cumsum([curve.size for curve in self.curves])[:-1])
        return self._with([c.with_values(v) for c, v in zip(self.curves, pieces, strict=True)])

    def refined(self, n_new: int) -> "CurveSet":
        """The same curves on more knots."""
        return self._with([curve.refined(n_new) for curve in self.curves])

    def settled(self, sample: np.ndarray) -> "CurveSet":
        """Offsets and scales as `spline.settle_gauge` has them, from voltages (T, N)."""
        return self._with([settle_gauge(c, sample[:, m].ravel()) for c, m in self.parts(sample.shape[1])])

    def _with(self, curves: list[Curve]) -> "CurveSet":
        return replace(self, curves=tuple(curves))


@dataclass(frozen=True, eq=False)
class TypedFit:
    """A circuit with message functions of groups of senders, or of pairs of groups.

    Attributes:
        circuit: coefficients of every neuron.
        receiver: (N,) group of every neuron as a receiver, 0 .. R-1.
        tables: the functions of the groups of senders, for every group of receivers.
    """

    circuit: LinearCircuit
    receiver: np.ndarray
    tables: list[GroupCurves]

    @property
    def curves(self) -> MessageFunction | GroupMessages:
        """The messages."""
        return self.tables[0] if len(self.tables) == 1 else GroupMessages(self.receiver, self.tables)

    @property
    def n_types(self) -> int:
        """Groups of senders."""
        return len(self.tables[0].curves)


def first_set(
    group: np.ndarray, on_grid: Callable[[np.ndarray], np.ndarray], sample: np.ndarray, n_knots: int
) -> CurveSet:
    """Curves of groups as the means of their members' functions, which are stated in one unit.

    Args:
        group: (N,) group of every neuron.
        on_grid: maps voltages (P,) to functions (P, N).
        sample: (T, N) voltages [a.u.].
        n_knots: knots of a curve.
    """
    curves = []
    for c in range(int(group.max()) + 1):
        knots = initial_knots(sample[:, group == c], n_knots)
        curves.append(SmoothCurve(knots, on_grid(knots)[:, group == c].mean(1)))
    return CurveSet(group, tuple(curves)).settled(sample)


def fit_curve_set(
    frames: Frames,
    wiring: Wiring,
    curves: CurveSet,
    sample: np.ndarray,
    target: str,
    own: OwnTerms,
    n_knots: int = 40,
    n_rounds: int = 12,
    curve_frames: int = 4000,
    curve_neurons: int = 40,
    monotone: bool = True,
    tolerance: float = 1e-4,
    steps: KeptSteps = NOT_KEPT,
) -> tuple[CurveSet, list[dict[str, float]]]:
    """The curves of all groups, and one row per round; arguments as in `spline.fit_spline`.

    Args:
        frames: a split of a recording, of which all frames count.
        wiring: the inputs of the equations that may be used.
        curves: where to start.
        sample: (T, N) voltages that settle scale and offset [a.u.].
        target: "observed" or "drift".
        own: terms of every neuron's own voltage.
        n_knots: knots of a curve to start with.
        n_rounds: most rounds.
        curve_frames: frames of each round.
        curve_neurons: equations of each round.
        monotone: keep the curves non-decreasing.
        tolerance: stop when the mean log residual variance improves by less per round.
        steps: keeps and shows rounds, whose score is the mean log residual variance.
    """
    part = some_targets(wiring, curve_neurons)

    def solved(message: CurveSet, floor: float) -> LinearCircuit:
        return solve(accumulate(frames, part, message, target, curve_frames, own=own), part, floor=floor)

    def stepped(now: CurveSet, circuit: Callable[[], LinearCircuit]) -> CurveSet:
        step = steps.once(lambda: curve_step(frames, part, now, circuit(), target, curve_frames, monotone, own))
        return now.with_values(now.values + step).settled(sample)

    fed = np.flatnonzero(part.in_degree > 0)
    best, history = improved(
        curves, fed, solved, stepped, n_knots, n_rounds, tolerance, steps, min(FIRST_FLOOR, len(FLOORS) - 1)
    )
    return best.settled(sample), history
