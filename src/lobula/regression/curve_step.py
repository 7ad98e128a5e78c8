"""One Gauss-Newton step of a message function whose circuit is solved in closed form, and what measures it."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.optimize import lsq_linear

from lobula.data.wiring import Wiring
from lobula.kernels.hats import fill
from lobula.regression.circuit import LinearCircuit
from lobula.regression.curve import Curve, PiecewiseLinear, rectifier_slope
from lobula.regression.dense_curve import basis_grams
from lobula.regression.gram import (
    NO_TERMS,
    Frames,
    add_product,
    block_arrays,
    frame_blocks,
    pairs_are_cheaper,
    stimulated,
    write_own_columns,
)
from lobula.regression.own_terms import OwnTerms
from lobula.regression.threads import in_parallel, neuron_major, workspace

if TYPE_CHECKING:
    from lobula.regression.curve_set import CurveSet

SHORTEST = 0.05
"""Of a step that is shortened until it helps."""


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


def some_targets(wiring: Wiring, n_targets: int, heard: np.ndarray | None = None) -> Wiring:
    """The wiring with the inputs of some neurons: the curve is shared, so a sample of equations determines it.

    Args:
        wiring: the graph.
        n_targets: neurons drawn at random.
        heard: neurons whose targets are added to these.
    """
    fed = np.flatnonzero(wiring.in_degree > 0)
    if len(fed) <= n_targets:
        return wiring
    chosen = np.random.default_rng(0).choice(fed, n_targets, replace=False)
    if heard is not None:
        chosen = np.union1d(chosen, wiring.post[np.isin(wiring.pre, heard)])
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
        v = neuron_major(voltage)
        parts = v, None if external is None else external.T, y.T, curve.locate(v), curve(v)

        def add(i: int, parts=parts, has=has) -> None:
            v, external, y, located, h = parts
            edges = slice(wiring.indptr[i], wiring.indptr[i + 1])
            inputs = wiring.pre[edges]
            x = workspace(v.shape[1], n_knots + len(inputs) + 3 + int(has[i]) + own.n_terms)
            fill(x, n_knots, inputs, np.zeros_like(inputs), theta[edges], located, h)
            write_own_columns(x, i, v[i], external[i] if has[i] else None, y[i], own)
            add_product(grams, i, x.T)

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
    weights = inverse_variances(circuit, neurons)
    parts: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0), np.zeros(0))] * len(neurons)

    def task(row: int) -> None:
        i = neurons[row]
        parts[row] = projected_normal(grams[i], n_basis, circuit, i, wiring)

    in_parallel(task, len(neurons))
    normal, rhs = np.zeros((n_basis, n_basis)), np.zeros(n_basis)
    for weight, (a, b) in zip(weights, parts, strict=True):
        normal += weight * a
        rhs += weight * b
    return normal, rhs


def inverse_variances(circuit: LinearCircuit, neurons: np.ndarray) -> np.ndarray:
    """(Q,) weights of some equations; none counts a thousand times as much as the middle one."""
    variance = circuit.residual_std[neurons] ** 2
    return 1.0 / (variance + 1e-3 * np.median(variance) + 1e-12)


def projected_normal(
    gram: np.ndarray, n_knots: int, circuit: LinearCircuit, i: int, wiring: Wiring
) -> tuple[np.ndarray, np.ndarray]:
    """M' P_perp M and M' P_perp r of one neuron, where P projects on its regressors with their ridge."""
    matrix, _ = shrunk(gram[n_knots:-1, n_knots:-1], circuit, i, wiring)
    factor = cho_factor(matrix, lower=True)
    cross = gram[:n_knots, n_knots:-1]
    solved = cho_solve(factor, np.column_stack([cross.T, gram[n_knots:-1, -1]]))
    return gram[:n_knots, :n_knots] - cross @ solved[:, :-1], gram[:n_knots, -1] - cross @ solved[:, -1]


def shrunk(products: np.ndarray, circuit: LinearCircuit, i: int, wiring: Wiring) -> tuple[np.ndarray, float]:
    """Products (p, p) of ``[messages, v, 1, (I), (own terms)]`` with the ridge of neuron i, and its lambda."""
    d = int(wiring.indptr[i + 1] - wiring.indptr[i])
    diagonal = np.diag(products)
    ridge = np.where(diagonal > 0, 1e-12 * diagonal, 1.0)
    strength = float(circuit.regularisation[i] * products[d + 1, d + 1])  # 1 is a column: its square counts frames
    ridge[:d] += strength
    return products + np.diag(ridge), strength


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
