"""Reading a circuit out of a trained network by its slopes: the published read-out and one at visited states."""

from dataclasses import dataclass

import numpy as np
import torch

from lobula.data.recording import Recording
from lobula.models import GraphNetwork
from lobula.recovery.gauge import Gauge
from lobula.regression.edge_messages import MessageFunction
from lobula.regression.tabulate import NeuronCurves
from lobula.regression.update_form import closest_line

POINTS = 1000


@dataclass(frozen=True)
class Slopes:
    """The update function as a line: dv/dt = k v + c + q I + m * summed message, each (N,)."""

    k: np.ndarray
    c: np.ndarray
    q: np.ndarray
    m: np.ndarray


def visited_frames(recording: Recording, n_frames: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Voltage and external input (T, N) of frames spread over the training split."""
    split, wiring = recording["train"], recording.wiring
    starts = np.linspace(0, split.n_frames - n_frames // 8, 8).astype(int)
    voltage, external = [], []
    for start in starts:
        stop = start + n_frames // 8
        rows = split.stimulus(start, stop)
        voltage.append(split.voltage(start, stop))
        external.append(np.zeros_like(voltage[-1]) if rows is None else wiring.spread(rows))
    return torch.from_numpy(np.concatenate(voltage)), torch.from_numpy(np.concatenate(external).astype(np.float32))


def on_distribution(model: GraphNetwork, voltage: torch.Tensor, external: torch.Tensor) -> Slopes:
    """Median over visited frames of f's slopes and of what they leave."""
    value, dv, dm, di = model.linearise(voltage, external)
    with torch.no_grad():
        rest = value - dv * voltage - dm * model.summed_message(voltage) - di * external
    return Slopes(*(x.median(0).values.double().numpy() for x in (dv, rest, di, dm)))


def reference(model: GraphNetwork, voltage: torch.Tensor, external: torch.Tensor) -> tuple[Slopes, np.ndarray]:
    """The published read-out: f over mu +- 2 s at zero message and zero input, g over [max(mu - 2 s, 0), mu + 2 s].

    Returns:
        Slopes of f, and s_g (N,), the slope of g (1 where mu + s <= 0).
    """
    mean, spread = voltage.mean(0), voltage.std(0)
    grid = torch.linspace(0, 1, POINTS)[:, None]
    with torch.no_grad():
        v = mean - 2 * spread + 4 * spread * grid
        zero = torch.zeros_like(v)
        f_slope, f_offset = _line(
            v, torch.cat([model.update(a, b, b) for a, b in zip(v.split(50), zero.split(50), strict=True)])
        )
        low = (mean - 2 * spread).clamp(min=0)
        u = low + (mean + 2 * spread - low).clamp(min=1e-6) * grid
        g_slope, _ = _line(u, torch.cat([model.message(a) for a in u.split(50)]))
    g_slope[(mean + spread).numpy() <= 0] = 1.0
    frames = torch.linspace(0, len(voltage) - 1, 8).long()
    _, _, dm, di = model.linearise(voltage[frames], external[frames])
    slopes = Slopes(f_slope, f_offset, di.median(0).values.double().numpy(), dm.median(0).values.double().numpy())
    return slopes, g_slope


def own_line(model: GraphNetwork, voltage: np.ndarray, message: MessageFunction) -> tuple[np.ndarray, np.ndarray]:
    """k and c (N,) of the line k v + c + b g(v) closest to what neurons do by themselves, at voltages (T, N).

    For models that add the summed message to it: their update bends where the true one does, and a slope of it is no
    leak.
    """
    v = np.asarray(voltage, dtype=np.float64)
    k, c = closest_line(v, by_themselves(model, voltage), np.asarray(message(voltage), dtype=np.float64))
    return k, c


@torch.no_grad()
def by_themselves(model: GraphNetwork, voltage: np.ndarray) -> np.ndarray:
    """(T, N) update without messages and input at voltages (T, N) [a.u./s]."""
    frames = torch.from_numpy(np.ascontiguousarray(voltage, dtype=np.float32))
    parts = [model.update(v, torch.zeros_like(v), torch.zeros_like(v)) for v in frames.split(50)]
    return torch.cat(parts).double().numpy()


def own_curves(model: GraphNetwork, recording: Recording, k: np.ndarray, c: np.ndarray) -> NeuronCurves:
    """What neurons do by themselves beyond k v + c, as a table over the voltages that they visit."""
    low, high = (x.astype(np.float64) for x in recording["train"].visited_range)
    step = np.maximum(high - low, 1e-6) / (POINTS - 1)
    grid = low + step * np.arange(POINTS)[:, None]
    return NeuronCurves(low, step, by_themselves(model, grid) - k * grid - c)


def affine_r2(model: GraphNetwork, voltage: torch.Tensor, external: torch.Tensor) -> float:
    """Median over neurons of how much of f's output an affine function of (v, message, I) explains: 1 = f is affine."""
    with torch.no_grad():
        summed = model.summed_message(voltage)
        value = model.update(voltage, summed, external).double().numpy()
    columns = np.stack([x.double().numpy() for x in (voltage, summed, external)])
    columns = columns - columns.mean(1, keepdims=True)
    y = value - value.mean(0)
    normal = np.einsum("atn,btn->nab", columns, columns)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-12 * np.eye(3)
    solution = np.linalg.solve(normal, np.einsum("atn,tn->na", columns, y)[..., None])[..., 0]
    left = (y - np.einsum("na,atn->tn", solution, columns)).var(0)
    return float(np.median(1 - left / np.maximum(y.var(0), 1e-30)))


def weights_from(
    slopes: Slopes, weight: np.ndarray, pre: np.ndarray, post: np.ndarray, message_scale: np.ndarray
) -> np.ndarray:
    """(E,) W_ij = -W s_m(i) s_g(j) / k_i."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return -weight * slopes.m[post] * message_scale[pre] / slopes.k[post]


def rest_from(slopes: Slopes, weight: np.ndarray, pre: np.ndarray, post: np.ndarray, gauge: Gauge) -> np.ndarray:
    """(N,) resting potential, with the offsets of the messages moved into it."""
    offset = np.bincount(post, weight * gauge.offset[pre], len(slopes.k)) * slopes.m
    with np.errstate(divide="ignore", invalid="ignore"):
        return -(slopes.c + offset) / slopes.k


def _line(x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    x, y = x.double(), y.double()
    centred = x - x.mean(0)
    slope = (centred * y).sum(0) / centred.square().sum(0).clamp(min=1e-30)
    return slope.numpy(), (y.mean(0) - slope * x.mean(0)).numpy()
