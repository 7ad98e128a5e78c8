r"""Message functions of their own for groups of sources: cell types, or single neurons.

A group's function is the shared one and a deviation, g_c(v) = g(v) + sum_k d_ck phi_k(v), with hat functions phi_k on
few knots where the group's voltages are. All deviations are found together, by the variable projection of `spline`,

.. math:: \min_\delta \sum_i w_i \| r_i - P_i^\perp M_i \delta \|^2 + \lambda (d + \delta)^T S (d + \delta), \qquad
          (M_i)_{t,ck} = \sum_{j \in c} \theta_{ij}\, \phi_{ck}(v_j(t)),

with a prior that pulls towards the shared function (S is the identity and the curvature) and whose strength lambda
maximises the evidence. So a source that says little keeps the shared function, and what weights can do as well, scale
and offset, stays with the weights. Reference for lambda: MacKay (1992), Bayesian interpolation.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.wiring import Wiring
from lobula.kernels.hats import fill
from lobula.regression.curve import PiecewiseLinear, merge_close
from lobula.regression.curve_step import SHORTEST, misfit, projected_normal, some_targets
from lobula.regression.gram import (
    Frames,
    accumulate,
    add_product,
    block_arrays,
    frame_blocks,
    stimulated,
    write_own_columns,
)
from lobula.regression.ridge import LinearCircuit, solve
from lobula.regression.threads import in_parallel, neuron_major, workspace

logger = logging.getLogger(__name__)

FIRST_SPREAD = 0.3
"""Prior standard deviation of a deviation, as a share of the messages', before the data are asked."""
CURVATURE = 1.0
SAMPLE_FRAMES = 2000
CERTAIN = 3.0
"""A group keeps a function of its own if that explains more than chance by this many standard deviations."""


@dataclass(frozen=True, eq=False)
class GroupCurves:
    """One message function per group of neurons.

    Attributes:
        group: (N,) group of every neuron.
        curves: the function of every group.
    """

    group: np.ndarray
    curves: list[PiecewiseLinear]

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """Messages (T, N) at voltages (T, N)."""
        by_neuron, order = np.ascontiguousarray(np.transpose(voltage)), np.argsort(self.group, kind="stable")
        bounds = np.searchsorted(self.group[order], np.arange(len(self.curves) + 1))
        result = np.empty(by_neuron.shape)

        def look_up(c: int) -> None:
            members = order[bounds[c] : bounds[c + 1]]
            result[members] = self.curves[c](by_neuron[members])

        in_parallel(look_up, len(self.curves))
        return result.T


@dataclass(frozen=True, eq=False)
class OwnFit:
    """A circuit with message functions of its groups.

    Attributes:
        circuit: coefficients of every neuron.
        curves: the functions.
        is_own: (G,) whether a group's function differs from the shared one.
        history: one row per round: mean log residual variance, step, prior standard deviation of deviations.
    """

    circuit: LinearCircuit
    curves: GroupCurves
    is_own: np.ndarray
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Deviations:
    """Deviations of all groups from a shared curve: values (G, K) on knots (G, K)."""

    shared: PiecewiseLinear
    group: np.ndarray
    knots: np.ndarray
    values: np.ndarray
    monotone: bool

    def curves(self) -> GroupCurves:
        return GroupCurves(self.group, [self._curve(*pair) for pair in zip(self.knots, self.values, strict=True)])

    def _curve(self, at: np.ndarray, deviation: np.ndarray) -> PiecewiseLinear:
        if not deviation.any():
            return self.shared
        knots = merge_close(np.concatenate([self.shared.knots, at]))
        values = self.shared(knots) + np.interp(knots, at, deviation)
        if self.monotone:  # the mean of the nearest rising curves above and below
            values = (np.maximum.accumulate(values) + np.minimum.accumulate(values[::-1])[::-1]) / 2
        return PiecewiseLinear(knots, values)

    def moved(self, values: np.ndarray) -> "_Deviations":
        return _Deviations(self.shared, self.group, self.knots, values, self.monotone)

    def locate(self, voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Interval and position in it, 0..1, on the knots of each neuron's group, (N, T)."""
        index, fraction = np.empty(voltage.shape, dtype=np.int64), np.empty(voltage.shape)

        def task(j: int) -> None:
            knots = self.knots[self.group[j]]
            index[j] = np.clip(np.searchsorted(knots, voltage[j], side="right") - 1, 0, len(knots) - 2)
            left = knots[index[j]]
            fraction[j] = np.clip((voltage[j] - left) / (knots[index[j] + 1] - left), 0.0, 1.0)

        in_parallel(task, len(voltage))
        return index, fraction


def fit_own_curves(
    frames: Frames,
    wiring: Wiring,
    shared: PiecewiseLinear,
    group: np.ndarray,
    target: str = "observed",
    n_knots: int = 12,
    n_rounds: int = 12,
    max_frames: int | None = None,
    curve_frames: int = 4000,
    curve_neurons: int = 1500,
    monotone: bool = True,
    tolerance: float = 1e-4,
    steps: KeptSteps = NOT_KEPT,
) -> OwnFit:
    """Fits a circuit and a message function per group of sources.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        shared: the function that all neurons share (`spline.fit_spline`), where each group starts.
        group: (N,) group of every neuron, 0 .. G-1.
        target: "observed" or "drift".
        n_knots: knots of a deviation.
        n_rounds: most Gauss-Newton rounds.
        max_frames: frames of the final solve (None: all).
        curve_frames: frames of each round, spread over the recording.
        curve_neurons: equations that determine the functions (a random sample of the neurons that have inputs).
        monotone: keep every function non-decreasing.
        tolerance: stop when the mean log residual variance improves by less per round.
        steps: keeps and shows rounds, whose score is the mean log residual variance.
    """
    part = some_targets(wiring, curve_neurons)
    fed = np.flatnonzero(part.in_degree > 0)
    knots = _own_knots(frames, group, n_knots, target)
    here = best = _Deviations(shared, group, knots, np.zeros_like(knots), monotone)
    prior, stepped_from = _Prior.start(n_knots, _spread(frames, shared, target)), None
    best_score, step, history, direction = np.inf, 1.0, [], np.zeros_like(knots)
    solved, normal = _equations(frames, part, target, curve_frames)
    for round_ in range(n_rounds):
        score = float(steps.once(lambda now: misfit(solved(now), fed), here))
        history.append({"round": round_, "score": score, "step": step, "spread": prior.strength**-0.5})
        steps.on_round(round_, score)
        gain = best_score - score
        if gain > 0:
            best, best_score = here, score
        if gain > tolerance:
            step, stepped_from = 1.0, best
            *flat, strength = steps.once(lambda now, prior: normal(now).next_step(prior, now.values), best, prior)
            direction, prior = np.array(flat).reshape(knots.shape), replace(prior, strength=float(strength))
        elif gain > 0 or step <= SHORTEST:
            break
        else:
            step *= 0.3
        here = best.moved(best.values + step * direction)
    is_own = np.zeros(len(knots), bool)
    if stepped_from is not None:
        is_own = steps.once(lambda: normal(stepped_from).is_certain(prior, best.values))
    curves = best.moved(np.where(is_own[:, None], best.values, 0.0)).curves()
    return OwnFit(solve(accumulate(frames, wiring, curves, target, max_frames), wiring), curves, is_own, history)


def _equations(
    frames: Frames, wiring: Wiring, target: str, max_frames: int
) -> tuple[Callable[[_Deviations], LinearCircuit], Callable[[_Deviations], "_Normal"]]:
    """The circuit for some deviations, and the normal equations there; the last of each is at hand."""
    fed = np.flatnonzero(wiring.in_degree > 0)

    @lru_cache(1)
    def solved(now: _Deviations) -> LinearCircuit:
        return solve(accumulate(frames, wiring, now.curves(), target, max_frames), wiring)

    @lru_cache(1)
    def normal(now: _Deviations) -> _Normal:
        return _normal(frames, wiring, now, solved(now), target, max_frames, fed)

    return solved, normal


def _own_knots(frames: Frames, group: np.ndarray, n_knots: int, target: str) -> np.ndarray:
    """(G, K) knots between the rarest voltages of every group, denser where it is more often."""
    blocks = [frames.voltage(span.start, span.stop) for span in frame_blocks(frames, target, SAMPLE_FRAMES, 200)]
    voltage, share = np.concatenate(blocks).astype(np.float64), np.linspace(0.005, 0.995, n_knots)
    knots = np.empty((int(group.max()) + 1, n_knots))
    for c in range(len(knots)):
        quantiles = np.quantile(voltage[:, group == c], share) if np.any(group == c) else share
        even = np.linspace(quantiles[0], max(quantiles[-1], quantiles[0] + 1e-3), n_knots)
        knots[c] = (quantiles + even) / 2
    return knots


def _spread(frames: Frames, shared: PiecewiseLinear, target: str) -> float:
    """Standard deviation of the messages."""
    span = next(iter(frame_blocks(frames, target, 500)))
    return float(shared(frames.voltage(span.start, span.stop)).std())


@dataclass(frozen=True)
class _Prior:
    """lambda and S of the deviations."""

    strength: float
    shape: np.ndarray

    @classmethod
    def start(cls, n_knots: int, spread: float) -> "_Prior":
        bend = np.diff(np.eye(n_knots), 2, axis=0)
        return cls(1.0 / (FIRST_SPREAD * max(spread, 1e-12)) ** 2, np.eye(n_knots) + CURVATURE * bend.T @ bend)

    def updated(self, normal: "_Normal", values: np.ndarray) -> "_Prior":
        """The strength that the present deviations speak for; as it is before there are any."""
        size = float(np.einsum("gk,kl,gl->", values, self.shape, values))
        determined = float(normal.determined(self).sum())
        if size <= 0 or determined <= 0:
            return self
        return _Prior(float(np.clip(determined / size, self.strength / 100, self.strength * 100)), self.shape)


@dataclass(frozen=True, eq=False)
class _Normal:
    """Normal equations of all deviations, kept equation by equation.

    Attributes:
        places: per equation, the groups (m,) among its inputs.
        matrices: per equation, (m K, m K).
        rhs: (G, K).
        blocks: (G, K, K) diagonal blocks of the sum.
    """

    places: list[np.ndarray]
    matrices: list[np.ndarray]
    rhs: np.ndarray
    blocks: np.ndarray

    def __call__(self, deviation: np.ndarray) -> np.ndarray:
        """(G, K) product with a deviation (G, K)."""
        result = np.zeros_like(deviation)
        for place, matrix in zip(self.places, self.matrices, strict=True):
            result[place] += (matrix @ deviation[place].ravel()).reshape(len(place), -1)
        return result

    def step(self, prior: _Prior, values: np.ndarray) -> np.ndarray:
        """(G, K) change of the deviations, by conjugate gradients with the diagonal blocks as preconditioner."""
        shape, size = values.shape, values.size
        strength = prior.strength * prior.shape
        near = np.linalg.inv(self.blocks + strength)

        def product(flat: np.ndarray) -> np.ndarray:
            deviation = flat.reshape(shape)
            return (self(deviation) + deviation @ strength).ravel()

        def solved_nearly(flat: np.ndarray) -> np.ndarray:
            return np.einsum("gkl,gl->gk", near, flat.reshape(shape)).ravel()

        solution, _ = cg(
            LinearOperator((size, size), product, dtype=float),
            (self.rhs - values @ strength).ravel(),
            rtol=1e-6,
            maxiter=200,
            M=LinearOperator((size, size), solved_nearly, dtype=float),
        )
        return solution.reshape(shape)

    def next_step(self, prior: _Prior, values: np.ndarray) -> np.ndarray:
        """(G K + 1,) change of the deviations with the strength of the prior that they speak for, and that strength."""
        prior = prior.updated(self, values)
        return np.append(self.step(prior, values), prior.strength)

    def determined(self, prior: _Prior) -> np.ndarray:
        """(G,) how many numbers of each group the data decide, of K."""
        strength = prior.strength * prior.shape
        return np.trace(np.linalg.solve(self.blocks + strength, self.blocks), axis1=1, axis2=2)

    def is_certain(self, prior: _Prior, values: np.ndarray) -> np.ndarray:
        """(G,) whether a deviation explains more than chance would."""
        explained = np.einsum("gk,gkl,gl->g", values, self.blocks, values)
        free = self.determined(prior)
        return explained > free + CERTAIN * np.sqrt(2 * free)


def _normal(
    frames: Frames,
    wiring: Wiring,
    here: _Deviations,
    circuit: LinearCircuit,
    target: str,
    max_frames: int,
    fed: np.ndarray,
) -> _Normal:
    """Normal equations at the present deviations, all circuits re-fitted (Kaufman)."""
    n_knots, curves = here.knots.shape[1], here.curves()
    grams: list[np.ndarray | None] = [None] * wiring.n_neurons
    inputs = [wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]] for i in fed]
    among = [np.unique(here.group[sources], return_inverse=True) for sources in inputs]
    for span in frame_blocks(frames, target, max_frames):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        has = stimulated(wiring, external is not None)
        v = neuron_major(voltage)
        parts = v, None if external is None else external.T, y.T, here.locate(v), neuron_major(curves(voltage))

        def add(row: int, parts=parts, has=has) -> None:
            v, external, y, located, h = parts
            i, sources = int(fed[row]), inputs[row]
            theta = circuit.theta[wiring.indptr[i] : wiring.indptr[i + 1]]
            width = len(among[row][0]) * n_knots
            x = workspace(v.shape[1], width + len(sources) + 3 + int(has[i]))
            fill(x, width, sources, among[row][1] * n_knots, theta, located, h)
            write_own_columns(x, i, v[i], external[i] if has[i] else None, y[i])
            add_product(grams, i, x.T)

        in_parallel(add, len(fed))
    return _assembled(grams, circuit, wiring, fed, [place for place, _ in among], here.knots.shape)


def _assembled(
    grams: list[np.ndarray | None],
    circuit: LinearCircuit,
    wiring: Wiring,
    fed: np.ndarray,
    places: list[np.ndarray],
    shape: tuple[int, int],
) -> _Normal:
    """The equations' own regressors projected out, weighted by inverse residual variances."""
    variance, n_knots = circuit.residual_std**2, shape[1]
    weights = 1.0 / (variance + 1e-3 * np.median(variance[fed]) + 1e-12)
    matrices, parts = [np.zeros(0)] * len(fed), [np.zeros(0)] * len(fed)

    def task(row: int) -> None:
        i = fed[row]
        normal, rhs = projected_normal(grams[i], len(places[row]) * n_knots, circuit, i, wiring)
        matrices[row], parts[row] = weights[i] * normal, weights[i] * rhs

    in_parallel(task, len(fed))
    rhs, blocks = np.zeros(shape), np.zeros((*shape, n_knots))
    for place, matrix, part in zip(places, matrices, parts, strict=True):
        rhs[place] += part.reshape(-1, n_knots)
        own = matrix.reshape(len(place), n_knots, len(place), n_knots)
        blocks[place] += np.einsum("ckcl->ckl", own)
    return _Normal(places, matrices, rhs, (blocks + blocks.transpose(0, 2, 1)) / 2)
