"""Starting the network from a spline fit: its curve, its weights, its time constants."""

import logging

import numpy as np
import torch

from lobula.data.split import Split
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring
from lobula.models.graph_network import GraphNetwork
from lobula.models.low_rank import set_weight
from lobula.regression.curve import PiecewiseLinear
from lobula.regression.spline import SplineFit
from lobula.training.adam import Adam

logger = logging.getLogger(__name__)
N_STEPS = 600
FRAMES_PER_STEP = 4
LEARNING_RATE = 5e-3
SPREAD = 0.3  # of every neuron's own standard deviation: slopes must be seen around the visited states


def start_from_spline(model: GraphNetwork, spline: SplineFit, wiring: Wiring, split: Split, streams: Streams) -> None:
    """Sets the weights to the spline's, and makes both networks repeat its curve and equations at visited states.

    A message network of rectifiers can be the curve itself (`write_curve`); others are trained to repeat it. The curve
    is raised to be positive where the network squares its output; the offset goes into the update.

    Args:
        model: changed in place.
        spline: where to start.
        wiring: the known graph.
        split: training frames.
        streams: random streams; "init" is used.
    """
    curve, circuit = spline.curve, spline.circuit
    gain = model.message_gain
    weight = circuit.weight(wiring) if gain is None else circuit.theta / gain
    floor = min(float(curve.values.min()), 0.0) if model.config.g_phi_positive else 0.0
    offset = floor * np.bincount(wiring.post, weight, wiring.n_neurons)
    set_weight(model, torch.as_tensor(weight, dtype=torch.float32))
    if writable(model):
        write_curve(model, curve)
    matrix, rng = wiring.csr(weight), streams.generator("init", "warm start")
    visited = split.voltage(0, min(2000, split.n_frames))
    rows = split.stimulus(0, len(visited))
    spread = SPREAD * visited.std(0)
    networks = [*model.update_mlp.parameters(), model.embedding]
    networks += [] if writable(model) else model.message_mlp.parameters()
    optimiser = Adam([{"params": networks, "lr": LEARNING_RATE}])
    for step in range(N_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / N_STEPS)
        chosen = rng.integers(0, len(visited), FRAMES_PER_STEP)
        voltage = visited[chosen] + spread * rng.standard_normal((FRAMES_PER_STEP, wiring.n_neurons))
        external = np.zeros_like(voltage) if rows is None else wiring.spread(rows[chosen])
        message = curve(voltage) - floor
        summed = (matrix @ message.T).T
        wanted = circuit.k * voltage + circuit.c + circuit.q * external + circuit.own(voltage)
        wanted = wanted + (-circuit.k if gain is None else gain) * (summed + offset)
        v, m, e, s, y = (torch.as_tensor(x, dtype=torch.float32) for x in (voltage, message, external, summed, wanted))
        error = ((model.messages_between(v, v) - carried(model, m)) / model.scales.voltage).square().mean()
        error = error + ((model.update(v, s, e) - y) / model.scales.target).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    logger.info("warm start from spline: error %.2e", float(error.detach()))


def carried(model: GraphNetwork, message: torch.Tensor) -> torch.Tensor:
    """Messages (B, N) of the sources as the model gives them: (B, E) where there is one per edge."""
    return message[:, model.pattern.pre] if model.sees_target else message


def writable(model: GraphNetwork) -> bool:
    """Whether the message network can be a piecewise-linear curve that all neurons share."""
    config = model.config
    rectifiers = config.activation == "relu" and config.n_layers > 1 and not config.g_phi_positive
    return rectifiers and config.g_phi_shared != "no" and config.hidden_dim >= 3


@torch.no_grad()
def write_curve(model: GraphNetwork, curve: PiecewiseLinear) -> None:
    """Makes the message network equal to a curve, and shared by all neurons.

    g(v) = g_0 + s_0 (v - k_0) + sum_k (s_k - s_{k-1}) relu(v - k_k): one hidden unit per knot, a pair for the first,
    passed on unchanged by further layers. Units that are left keep their random weights and have no say until training
    gives them one.
    """
    network, scale = model.message_mlp, model.scales.voltage
    curve = curve.simplified(model.config.hidden_dim)
    knots, slopes, n = curve.knots[:-1] / scale, curve.slopes, len(curve.knots)
    sign = np.r_[-1.0, np.ones(n - 1)]
    place = np.r_[knots[0], knots]
    size = np.r_[-slopes[0], slopes[0], np.diff(slopes)]
    network.scalars.weight[:n, 0] = torch.as_tensor(sign, dtype=torch.float32)
    network.see_source_only()
    network.embedding.bias[:n] = torch.as_tensor(-sign * place, dtype=torch.float32)
    for layer in network.hidden[:-1]:
        layer.weight[:n], layer.bias[:n] = 0.0, 0.0
        layer.weight[:n, :n] = torch.eye(n)
    last = network.hidden[-1]
    last.weight.zero_()
    last.weight[0, :n] = torch.as_tensor(size, dtype=torch.float32)
    last.bias.fill_(float(curve.values[0]) / scale)
    model.mark_shared()
