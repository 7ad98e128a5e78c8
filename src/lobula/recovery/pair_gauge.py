r"""What messages that depend on both ends of an edge say about weights, leaks and rests.

A message g_ij(v_i, v_j) may trade with the rest of the target's equation: any part of it that is a line in v_i alone is
a leak, any constant an offset. By convention the leak is what a silent source leaves: g_ij(v_i, 0) = o + l_ij v_i is
taken out. What remains is linearised with respect to the source at visited states,

.. math:: g_{ij}(v_i, v_j) - l_{ij} v_i \approx o_{ij} + s_{ij}\, G(v_j)

with G the mean over all edges, in the gauge of `recovery.gauge`: G(0) = 0, and the scale of a rectifier. Then s_ij is
part of the weight, l_ij of the target's leak, o_ij of its offset. Where all pairs share one function, s, l and o are
the same for all edges: weights are comparable, and differ by what the synapses are and not by where neurons were.
"""

from dataclasses import dataclass, replace

import numpy as np

from lobula.data.wiring import Wiring
from lobula.recovery.gauge import N_ROUNDS, population_curve
from lobula.regression.curve import PiecewiseLinear, merge_close, rectifier_slope
from lobula.regression.edge_messages import EdgeMessages
from lobula.regression.ridge import LinearCircuit

MOST_FRAMES = 150
SAMPLE_EDGES = 5_000
"""Edges that make the population's curve."""
BLOCK_EDGES = 20_000
SILENT = 1e-9
"""Variance of G(v_j), as a share of what is usual, below which an edge has no scale of its own."""


@dataclass(frozen=True)
class PairGauge:
    """The linearised messages of every edge.

    Attributes:
        scale: (E,) s_ij.
        leak: (E,) l_ij.
        offset: (E,) o_ij [a.u.].
        curve: G.
    """

    scale: np.ndarray
    leak: np.ndarray
    offset: np.ndarray
    curve: PiecewiseLinear

    def settle(
        self, k: np.ndarray, c: np.ndarray, theta: np.ndarray, wiring: Wiring
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Leak and offset (N,) and coefficients (E,) in units of G, from those of the fitted messages."""
        leak, offset = (np.bincount(wiring.post, theta * x, wiring.n_neurons) for x in (self.leak, self.offset))
        return k + leak, c + offset, theta * self.scale

    def circuit(self, fitted: LinearCircuit, wiring: Wiring) -> LinearCircuit:
        """The fitted circuit in units of G; uncertainties are scaled, the gauge itself is taken as certain."""
        k, c, theta = self.settle(fitted.k, fitted.c, fitted.theta, wiring)
        factor = np.abs(self.scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight_stderr = fitted.weight_stderr * factor * np.abs(fitted.k / k)[wiring.post]
        theta_stderr = fitted.theta_stderr * factor
        return replace(fitted, k=k, c=c, theta=theta, theta_stderr=theta_stderr, weight_stderr=weight_stderr)


def find_pair_gauge(voltage: np.ndarray, message: EdgeMessages, wiring: Wiring) -> PairGauge:
    """Gauge of messages on edges, over visited voltages.

    Args:
        voltage: (T, N) sample of the recording [a.u.]; at most 150 frames are used.
        message: the messages; with a table, all pairs share one function.
        wiring: the graph.
    """
    chosen = np.unique(np.linspace(0, len(voltage) - 1, min(MOST_FRAMES, len(voltage))).astype(int))
    v = np.asarray(voltage, dtype=np.float64)[chosen]
    return _shared(v, message, wiring) if message.table is not None else _own(v, message, wiring)


def _shared(v: np.ndarray, message: EdgeMessages, wiring: Wiring) -> PairGauge:
    """One scale, leak and offset for all edges."""
    pre, post = _sampled(wiring)
    source, target = v[:, pre], v[:, post]
    silent = message.evaluate(np.zeros_like(v), v, pre, post)
    leak = float(_slope(target.reshape(-1, 1), silent.reshape(-1, 1))[0])
    g = message.evaluate(v, v, pre, post) - leak * target
    curve, scale, offset = _settled(*population_curve(source, g, np.argsort(source, axis=None)), source)
    one = np.ones(wiring.n_edges)
    return PairGauge(scale * one, leak * one, offset * one, curve)


def _own(v: np.ndarray, message: EdgeMessages, wiring: Wiring) -> PairGauge:
    """Scale, leak and offset edge by edge."""
    curve, typical = _population(v, message, wiring)
    found = np.empty((3, wiring.n_edges))
    for start in range(0, wiring.n_edges, BLOCK_EDGES):
        part = slice(start, start + BLOCK_EDGES)
        g, leak = _without_leak(v, message, wiring.pre[part], wiring.post[part])
        scale, offset = _lines(curve(v[:, wiring.pre[part]]), g)
        found[:, part] = np.where(np.isfinite(scale), scale, typical), leak, offset
    return PairGauge(found[0], found[1], found[2], curve)


def _population(v: np.ndarray, message: EdgeMessages, wiring: Wiring) -> tuple[PiecewiseLinear, float]:
    """G and the typical scale, from a sample of the edges whose scales and offsets are evened out."""
    pre, post = _sampled(wiring)
    g, _ = _without_leak(v, message, pre, post)
    source = v[:, pre]
    order = np.argsort(source, axis=None)
    scale, offset = np.ones(len(pre)), np.zeros(len(pre))
    for _ in range(N_ROUNDS):
        curve, _, _ = _settled(*population_curve(source, (g - offset) / scale, order), source)
        scale, offset = _lines(curve(source), g)
        scale = np.where(np.isfinite(scale) & (np.abs(scale) > 1e-6), scale, 1.0)
    return curve, float(np.median(scale))


def _sampled(wiring: Wiring) -> tuple[np.ndarray, np.ndarray]:
    """Ends of at most `SAMPLE_EDGES` edges."""
    if wiring.n_edges <= SAMPLE_EDGES:
        return wiring.pre, wiring.post
    edges = np.sort(np.random.default_rng(0).choice(wiring.n_edges, SAMPLE_EDGES, replace=False))
    return wiring.pre[edges], wiring.post[edges]


def _without_leak(
    v: np.ndarray, message: EdgeMessages, pre: np.ndarray, post: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Messages (T, E) without their part that is a line in the target's voltage, and its slope (E,)."""
    leak = _slope(v[:, post], message.evaluate(np.zeros_like(v), v, pre, post))
    return message.evaluate(v, v, pre, post) - leak * v[:, post], leak


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(E,) slopes of lines y ~ x, each (T, E)."""
    centred = x - x.mean(0)
    return (centred * y).sum(0) / np.maximum((centred**2).sum(0), 1e-12)


def _settled(at: np.ndarray, mean: np.ndarray, source: np.ndarray) -> tuple[PiecewiseLinear, float, float]:
    """A curve through bins (B,) with the gauge of `find_gauge`, and the scale and offset that were taken out."""
    knots = merge_close(np.unique(at))
    curve = PiecewiseLinear(knots, np.interp(knots, at, mean))
    slope, zero = rectifier_slope(source, curve(source)), float(curve(np.zeros(1))[0])
    slope = slope if abs(slope) > 1e-9 else 1.0
    return curve.with_values((curve.values - zero) / slope), slope, zero


def _lines(curve: np.ndarray, message: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset (E,) of messages against the curve, each argument (T, E); NaN and the mean where it is still."""
    centred = curve - curve.mean(0)
    variance = (centred**2).mean(0)
    moves = variance > SILENT * max(float(np.median(variance)), 1e-30)
    scale = (centred * message).mean(0) / np.where(moves, variance, 1.0)
    offset = message.mean(0) - np.where(moves, scale, 0.0) * curve.mean(0)
    return np.where(moves, scale, np.nan), offset
