r"""The spline rung: an unknown message function, shared by all neurons, found together with the circuit.

Variable projection: for a given curve g every neuron's equation is solved in closed form (`ridge`). The curve then
takes a Gauss-Newton step on the residual that those solutions leave,

.. math:: \min_{\delta} \sum_i w_i \, \| r_i - P_i^\perp M_i \delta \|^2, \qquad
          (M_i)_{tk} = \sum_j \theta_{ij}\, \phi_k(v_j(t))

with phi_k the hat functions of the knots, P_i^perp the projection off neuron i's own regressors and w_i its inverse
residual variance. It starts at g(v) = v and knows nothing of the true nonlinearity. Monotone curves have increments >=
0. Reference: Golub & Pereyra (1973); Kaufman (1975), A variable projection method for separable nonlinear least
    squares.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.optimize import lsq_linear

from lobula.data.wiring import Wiring
from lobula.regression.curve import (
    Curve,
    PiecewiseLinear,
    SmoothCurve,
    initial_knots,
    rectifier_slope,
)
from lobula.regression.dense_curve import basis_grams
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import (
    NO_TERMS,
    Frames,
    MessageFunction,
    accumulate,
    add_product,
    block_arrays,
    design_rows,
    frame_blocks,
    pairs_are_cheaper,
    stimulated,
)
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import LinearCircuit, Solver, solve
from lobula.regression.threads import in_parallel, neuron_major

if TYPE_CHECKING:
    from lobula.regression.curve_set import CurveSet, TypedFit
    from lobula.regression.own_curves import OwnFit

logger = logging.getLogger(__name__)

Shape = TypeVar("Shape", "Curve", "CurveSet")

FLOORS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 0.0)
"""Least lambda / n_frames of the first rounds: without noise, unbounded weights would make up for a wrong curve."""
SHORTEST = 0.05
FIRST_CURVES: tuple[float | None, ...] = (None, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""First curves to choose from: v (None), its rectifier (0), tanh of widths in standard deviations of the voltage."""
FIRST_FLOOR = 1e-5


@dataclass(frozen=True)
class SplineFit:
    """A fitted circuit with its message function.

    Attributes:
        circuit: coefficients of every neuron.
        curve: the message function, with offset and scale by `settle_gauge`.
        visited: (2,) voltages between which 99.8 % of the recording lies: outside, the curve is an extrapolation.
        history: one row per round: mean log residual variance, number of knots, step taken.
        own: circuit and functions where groups of neurons have their own; ``circuit`` and ``curve`` are then the start.
    """

    circuit: LinearCircuit
    curve: PiecewiseLinear
    visited: tuple[float, float]
    history: list[dict[str, float]] = field(default_factory=list)
    own: "OwnFit | TypedFit | None" = None


def fit_spline(
    frames: Frames,
    wiring: Wiring,
    target: str = "observed",
    n_knots: int = 40,
    n_rounds: int = 12,
    max_frames: int | None = None,
    curve_frames: int = 4000,
    curve_neurons: int = 1500,
    monotone: bool = True,
    tolerance: float = 1e-4,
    on_round: Callable[[int, float], None] = lambda round_, score: None,
    own: OwnTerms = NO_TERMS,
    start: Literal["identity", "best"] = "identity",
    basis: Literal["linear", "cubic"] = "linear",
    solver: Solver = solve,
    curve_source: Frames | None = None,
) -> SplineFit:
    """Fits circuit and message function.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        target: "observed" or "drift".
        n_knots: knots to start with; refinement adds about as many again where the slope changes.
        n_rounds: most Gauss-Newton rounds.
        max_frames: frames of the final solve (None: all).
        curve_frames: frames of each curve round, spread over the recording.
        curve_neurons: equations that determine the curve (a random sample of the neurons that have inputs).
        monotone: keep g non-decreasing.
        tolerance: stop when the mean log residual variance improves by less per round.
        on_round: called with (round, mean log residual variance).
        own: terms of every neuron's own voltage.
        start: the curve to start from: v, or the best of `FIRST_CURVES`.
        basis: linear between knots, or cubic: closer to functions without a kink.
        solver: what solves for the circuit.
        curve_source: where the frames of curve rounds are from; None: stretches of ``frames``.
    """
    sample, part = voltage_sample(frames, target), some_targets(wiring, curve_neurons)
    source = frames if curve_source is None else curve_source

    def solved(message: MessageFunction, floor: float) -> LinearCircuit:
        return solver(accumulate(source, part, message, target, curve_frames, own=own), part, floor=floor)

    def stepped(curve: Curve, circuit: LinearCircuit) -> Curve:
        step = curve_step(source, part, curve, circuit, target, curve_frames, monotone, own)
        return settle_gauge(curve.with_values(curve.values + step), sample)

    first = FIRST_CURVES if start == "best" else FIRST_CURVES[:1]
    kind = SmoothCurve if basis == "cubic" else PiecewiseLinear
    trials = [first_curve(kind, width, initial_knots(sample, n_knots), float(sample.std())) for width in first]
    fed = np.flatnonzero(part.in_degree > 0)
    curve = min(trials, key=lambda trial: misfit(solved(trial, FIRST_FLOOR), fed)) if len(trials) > 1 else trials[0]
    curve, history = improved(curve, fed, solved, stepped, n_knots, n_rounds, tolerance, on_round)
    curve = settle_gauge(curve, sample)
    circuit = fit_circuit(frames, wiring, curve, target, max_frames, own=own, solver=solver)
    low, high = np.quantile(sample, [0.001, 0.999])
    return SplineFit(circuit, curve.as_linear(), (float(low), float(high)), history)


def improved(
    curve: Shape,
    fed: np.ndarray,
    solved: Callable[[Shape, float], LinearCircuit],
    stepped: Callable[[Shape, LinearCircuit], Shape],
    n_knots: int,
    n_rounds: int,
    tolerance: float,
    on_round: Callable[[int, float], None],
    first_floor: int = 0,
) -> tuple[Shape, list[dict[str, float]]]:
    """Gauss-Newton rounds, with steps that are shortened where they do not help and knots added on the way.

    Args:
        curve: where to start.
        fed: neurons whose equations count.
        solved: the circuit for a curve and a floor under lambda / n_frames.
        stepped: the curve after a whole Gauss-Newton step.
        n_knots: as in `fit_spline`.
        n_rounds: most rounds.
        tolerance: as in `fit_spline`.
        on_round: called with (round, mean log residual variance).
        first_floor: which of `FLOORS` to start with.

    Returns:
        The best curve and one row per round.
    """
    history: list[dict[str, float]] = []
    best, best_score, step, level, direction = curve, np.inf, 1.0, first_floor, np.zeros(0)
    for round_ in range(n_rounds):
        circuit = solved(curve, FLOORS[level])
        score = misfit(circuit, fed)
        row = {"round": round_, "score": score, "n_knots": curve.size, "step": step, "floor": FLOORS[level]}
        history.append(row)
        on_round(round_, score)
        if score > best_score + tolerance:
            if step <= SHORTEST:
                break
            step *= 0.3
            curve = best.with_values(best.values + step * direction)
            continue
        converged = best_score - score < tolerance
        if converged and level >= len(FLOORS) - 1 and curve.size >= 2 * n_knots:
            break
        best, best_score, step = curve, score, 1.0
        if converged or round_ in (2, 4, 6):
            best = curve.refined(max(n_knots // 4, 2))
        curve = stepped(best, circuit)
        direction = curve.values - best.values
        level, best_score = (level + 1, np.inf) if level < len(FLOORS) - 1 else (level, best_score)
    return best, history


def first_curve(kind: type[Curve], width: float | None, knots: np.ndarray, scale: float) -> Curve:
    """A curve of `FIRST_CURVES`, of some kind, for voltages of that standard deviation [a.u.]."""
    if width is None:
        return kind(knots, knots.copy())
    values = np.maximum(knots, 0.0) if width == 0 else np.tanh(knots / (width * scale)) * width * scale
    return kind(knots, values)


def voltage_sample(frames: Frames, target: str, size: int = 200_000) -> np.ndarray:
    """(S,) voltages of all neurons, drawn from frames spread over the recording."""
    rows = [frames.voltage(span.start, span.stop)[::50].ravel() for span in frame_blocks(frames, target, 8000)]
    return np.random.default_rng(0).permutation(np.concatenate(rows))[:size].astype(np.float64)


def misfit(circuit: LinearCircuit, neurons: np.ndarray) -> float:
    """Mean log residual variance of some neurons: the profile likelihood of the curve."""
    return float(np.mean(np.log(circuit.residual_std[neurons] ** 2 + 1e-12)))


def settle_gauge(curve: Curve, sample: np.ndarray) -> Curve:
    """Fixes what no data can: offset (g(0) = 0) and scale (a rectifier's, see `rectifier_slope`).

    Args:
        curve: any curve.
        sample: (S,) voltages of the recording.
    """
    slope = rectifier_slope(sample, curve(sample))
    offset = float(curve(np.array([0.0]))[0])
    return curve.with_values((curve.values - offset) / (slope if abs(slope) > 1e-6 else 1.0))


def some_targets(wiring: Wiring, n_targets: int) -> Wiring:
    """The wiring with the inputs of at most ``n_targets`` neurons: the curve is shared, so a sample of equations
    determines it."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    if len(fed) <= n_targets:
        return wiring
    chosen = np.random.default_rng(0).choice(fed, n_targets, replace=False)
    keep = np.isin(wiring.post, chosen)
    return Wiring.from_edges(
        wiring.edge_index[:, keep], wiring.n_neurons, wiring.stimulus_column, n_columns=wiring.n_columns
    )


def curve_step(
    frames: Frames,
    wiring: Wiring,
    curve: "Curve | CurveSet",
    circuit: LinearCircuit,
    target: str,
    max_frames: int,
    monotone: bool,
    own: OwnTerms = NO_TERMS,
) -> np.ndarray:
    """(K,) change of the knot values that lowers the weighted residual most, all circuits re-fitted (Kaufman)."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    if isinstance(curve, PiecewiseLinear) and not pairs_are_cheaper(wiring, own):
        grams = hat_grams(frames, wiring, curve, circuit.theta, target, max_frames, own)
    else:
        grams = basis_grams(frames, wiring, curve, circuit.theta, target, max_frames, own)
    normal, rhs = weighted_normal(grams, len(curve.values), circuit, wiring, fed)
    return bounded_step(normal, rhs, [part for part, _ in curve.parts(wiring.n_neurons)], monotone)


def hat_grams(
    frames: Frames,
    wiring: Wiring,
    curve: PiecewiseLinear,
    theta: np.ndarray,
    target: str,
    max_frames: int,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """As `dense_curve.basis_grams`, for sparse circuits and hat functions, of which two act at a voltage."""
    n_knots, fed = len(curve.knots), np.flatnonzero(wiring.in_degree > 0)
    grams: list[np.ndarray | None] = [None] * wiring.n_neurons
    for span in frame_blocks(frames, target, max_frames):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        has = stimulated(wiring, external is not None)
        v, y = neuron_major(voltage), neuron_major(y)
        index, fraction = curve.locate(v)
        h = curve(v)
        e = None if external is None else neuron_major(external)
        offsets = np.arange(v.shape[1]) * n_knots

        def add(i: int, v=v, y=y, index=index, fraction=fraction, h=h, e=e, has=has, offsets=offsets) -> None:
            edges = slice(wiring.indptr[i], wiring.indptr[i + 1])
            inputs = wiring.pre[edges]
            share = theta[edges, None]
            cell = (index[inputs] + offsets).ravel()
            right = (share * fraction[inputs]).ravel()
            left = np.broadcast_to(share, fraction[inputs].shape).ravel() - right
            size = len(offsets) * n_knots
            basis = np.bincount(cell, left, size) + np.bincount(cell + 1, right, size + 1)[:size]
            rows = design_rows(i, wiring, h, v, e if has[i] else None, y, own=own)
            stacked = np.concatenate([basis.reshape(-1, n_knots).T, rows])
            add_product(grams, i, stacked)

        in_parallel(lambda k: add(fed[k]), len(fed))
    return grams


def weighted_normal(
    grams: list[np.ndarray | None], n_basis: int, circuit: LinearCircuit, wiring: Wiring, neurons: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations (K, K) and (K,) of the basis, summed over neurons with inverse residual variances.

    Args:
        grams: per neuron (p, p) products of ``[basis (K), messages, v, 1, (I), y]``.
        n_basis: K.
        circuit: the solution that the basis starts from.
        wiring: its graph.
        neurons: which equations count.
    """
    variance = circuit.residual_std**2
    weights = 1.0 / (variance + 1e-3 * np.median(variance[neurons]) + 1e-12)
    parts: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0), np.zeros(0))] * len(neurons)

    def task(row: int) -> None:
        i = neurons[row]
        parts[row] = projected_normal(grams[i], n_basis, circuit, i, wiring)

    in_parallel(task, len(neurons))
    normal, rhs = np.zeros((n_basis, n_basis)), np.zeros(n_basis)
    for i, (a, b) in zip(neurons, parts, strict=True):
        normal += weights[i] * a
        rhs += weights[i] * b
    return normal, rhs


def projected_normal(
    gram: np.ndarray, n_knots: int, circuit: LinearCircuit, i: int, wiring: Wiring
) -> tuple[np.ndarray, np.ndarray]:
    """M' P_perp M and M' P_perp r of one neuron, where P projects on its regressors with their ridge."""
    d = int(wiring.indptr[i + 1] - wiring.indptr[i])
    own = gram[n_knots:-1, n_knots:-1]
    ridge = np.zeros(len(own))
    ridge[:d] = circuit.regularisation[i] * own[d + 1, d + 1]
    diagonal = np.diag(own)
    ridge += np.where(diagonal > 0, 1e-12 * diagonal, 1.0)
    factor = cho_factor(own + np.diag(ridge), lower=True)
    cross = gram[:n_knots, n_knots:-1]
    solved = cho_solve(factor, np.column_stack([cross.T, gram[n_knots:-1, -1]]))
    return gram[:n_knots, :n_knots] - cross @ solved[:, :-1], gram[:n_knots, -1] - cross @ solved[:, -1]


def bounded_step(normal: np.ndarray, rhs: np.ndarray, curves: list[Curve], monotone: bool) -> np.ndarray:
    """Minimises d'Ad/2 - b'd with increments of the curves >= 0 if monotone; undetermined directions stay put."""
    typical = np.trace(normal) / len(rhs)
    values = np.concatenate([curve.values for curve in curves])
    smooth = block_diag(*(roughness(curve.knots) for curve in curves)) * (1e-7 * typical)
    system = normal + 1e-9 * typical * np.eye(len(rhs)) + smooth
    target = rhs - smooth @ values
    root = np.linalg.cholesky((system + system.T) / 2)
    to_values = block_diag(*(np.tril(np.ones((curve.size, curve.size))) for curve in curves))
    lower = np.full(len(rhs), -np.inf)
    if monotone:
        limits = [np.r_[-np.inf, -np.maximum(np.diff(curve.values), 0.0) - 1e-12] for curve in curves]
        lower = np.concatenate(limits)
    right, high = np.linalg.solve(root, target), np.full(len(rhs), np.inf)
    solution = lsq_linear(root.T @ to_values, right, bounds=(lower, high), method="bvls", tol=1e-12)
    return to_values @ solution.x


def roughness(knots: np.ndarray) -> np.ndarray:
    """(K, K) products of second differences, with a mean diagonal of 1."""
    k = len(knots)
    second = np.diff(np.eye(k), 2, axis=0) / np.minimum(np.diff(knots)[1:], np.diff(knots)[:-1])[:, None]
    smooth = second.T @ second
    return smooth / max(np.trace(smooth) / k, 1e-300)
