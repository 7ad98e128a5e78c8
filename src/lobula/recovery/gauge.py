r"""What the data cannot fix, fixed by convention: scale and offset of the messages.

Messages, weights and resting potentials may trade: (g, W, V) and (s g + b, W/s, V - ...) predict the same. Every
neuron's messages are compared with the curve of the population, g_j(v) = o_j + s_j G(v), over the voltages that j
visited; G has G(0) = 0 and the scale of a rectifier (`rectifier_slope`). Then W_ij = -theta_ij s_j / k_i in units
of G, and the offset of every message moves into the resting potential.
"""

from dataclasses import dataclass

import numpy as np

from lobula.data.split import Split
from lobula.regression.curve import rectifier_slope
from lobula.regression.edge_messages import GroupMessages
from lobula.regression.gram import MessageFunction

N_BINS = 400
N_ROUNDS = 4
SAMPLE_FRAMES = 600
RANGE_POINTS = 257


@dataclass(frozen=True)
class Gauge:
    """Scale and offset of every neuron's messages against the population curve.

    Attributes:
        scale: (N,) s_j, times the global slope; (R N,) where messages depend on the group of the target.
        offset: (N,) or (R N,) message that means "zero".
        visited: voltages between which 99.8 % of the recording lies [a.u.].
    """

    scale: np.ndarray
    offset: np.ndarray
    visited: tuple[float, float]


def sample_voltage(split: Split, n_frames: int = SAMPLE_FRAMES, n_blocks: int = 10) -> np.ndarray:
    """(T, N) frames from evenly spaced stretches of a split."""
    length = max(1, min(n_frames, split.n_frames) // n_blocks)
    starts = np.linspace(0, split.n_frames - length, n_blocks).astype(int)
    return np.concatenate([split.voltage(s, s + length) for s in np.unique(starts)])


def find_gauge(voltage: np.ndarray, message: MessageFunction) -> Gauge:
    """Gauge of messages that differ between neurons, over visited voltages.

    Args:
        voltage: (T, N) sample of the recording [a.u.].
        message: g, (T, N) -> (T, N).
    """
    v = np.asarray(voltage, dtype=np.float64)
    g = np.asarray(message(voltage), dtype=np.float64)
    low, high = (float(x) for x in np.quantile(v, [0.001, 0.999]))
    order = np.argsort(v, axis=None)
    scale, shift = np.ones(v.shape[1]), np.zeros(v.shape[1])
    for _ in range(N_ROUNDS):
        curve_v, curve_g = population_curve(v, (g - shift) / scale, order)
        reference = np.interp(v, curve_v, curve_g)
        centred = reference - reference.mean(0)
        variance = np.einsum("tn,tn->n", centred, centred)
        active = variance > 1e-9 * len(v)
        slope = np.einsum("tn,tn->n", centred, g)[active] / variance[active]
        scale[active] = np.where(np.abs(slope) > 1e-6, slope, 1.0)
        shift = g.mean(0) - scale * reference.mean(0)
    zero = float(np.interp(0.0, curve_v, curve_g))
    return Gauge(scale * rectifier_slope(v, reference), shift + scale * zero, (low, high))


def shared_gauge(voltage: np.ndarray, message: MessageFunction | GroupMessages, unit_slope: bool = False) -> Gauge:
    """Gauge of a message function that all neurons share: its own units, counted from g(0).

    Args:
        voltage: (T, N) sample of the recording [a.u.].
        message: g, (T, N) -> (T, N).
        unit_slope: scale to a rectifier's, as `find_gauge` does, because g's own unit means nothing.
    """
    n = voltage.shape[1]
    low, high = (float(x) for x in np.quantile(voltage, [0.001, 0.999]))
    scale = rectifier_slope(voltage, np.asarray(message(voltage), dtype=np.float64)) if unit_slope else 1.0
    zero = np.asarray(message(np.zeros((1, n))), dtype=np.float64)[0]
    return Gauge(np.full(len(zero), scale), zero, (low, high))


def range_gauge(
    voltage: np.ndarray, visited: tuple[np.ndarray, np.ndarray], message: MessageFunction | GroupMessages
) -> Gauge:
    """Gauge of messages in units of half their range over what a neuron visited: 1 for a tanh that saturates.

    Every sender has its own unit, so that weights of senders with different message functions compare; one per group of
    targets, where messages depend on it. All frames count: a sender that leaves saturation in a few frames sends
    nothing in a sample of them, and its unit would be rounding.

    Args:
        voltage: (T, N) sample of the recording [a.u.].
        visited: lowest and highest voltage of every neuron in all frames, each (N,) [a.u.].
        message: g, (T, N) -> (T, N) or (T, R N).
    """
    low, high = (float(x) for x in np.quantile(voltage, [0.001, 0.999]))
    least, most = (np.asarray(x, dtype=np.float64) for x in visited)
    grid = least + (most - least) * np.linspace(0, 1, RANGE_POINTS)[:, None]
    messages = np.asarray(message(grid.astype(voltage.dtype)), dtype=np.float64)
    scale = (messages.max(0) - messages.min(0)) / 2
    zero = np.asarray(message(np.zeros((1, voltage.shape[1]))), dtype=np.float64)[0]
    return Gauge(np.where(scale > 0, scale, 1.0), zero, (low, high))


def population_curve(voltage: np.ndarray, messages: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean message against voltage over all neurons and frames, in bins of equal count: voltages and messages (B,)."""
    bins = np.array_split(order, min(N_BINS, len(order)))
    v, g = voltage.ravel(), messages.ravel()
    return np.array([v[b].mean() for b in bins]), np.array([g[b].mean() for b in bins])
