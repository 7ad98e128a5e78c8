"""Starting the network from a spline fit: its curve, its weights, its time constants."""

import logging

import numpy as np
import torch

from lobula.data.split import Split
from lobula.data.streams import Streams
from lobula.data.wiring import Wiring
from lobula.models.circuit_gnn import CircuitGNN
from lobula.regression.spline import SplineFit

logger = logging.getLogger(__name__)
N_STEPS = 600
FRAMES_PER_STEP = 4
LEARNING_RATE = 5e-3
SPREAD = 0.3  # of every neuron's own standard deviation: slopes must be seen around the visited states


def start_from_spline(model: CircuitGNN, spline: SplineFit, wiring: Wiring, split: Split, streams: Streams) -> None:
    """Sets the weights to the spline's, trains both networks to repeat its curve and equations at visited states.

    The message curve is raised to be positive where the network squares its output; the offset goes into the update.

    Args:
        model: changed in place.
        spline: where to start.
        wiring: the known graph.
        split: training frames.
        streams: random streams; "init" is used.
    """
    curve, circuit = spline.curve, spline.circuit
    weight = circuit.weight(wiring)
    floor = min(float(curve.values.min()), 0.0) if model.config.g_phi_positive else 0.0
    offset = floor * np.bincount(wiring.post, weight, wiring.n_neurons)
    with torch.no_grad():
        model.weight.copy_(torch.as_tensor(weight, dtype=torch.float32))
    matrix, rng = wiring.csr(weight), streams.generator("init", "warm start")
    visited = split.voltage(0, min(2000, split.n_frames))
    rows = split.stimulus(0, len(visited))
    spread = SPREAD * visited.std(0)
    networks = [*model.message_mlp.parameters(), *model.update_mlp.parameters(), model.embedding]
    optimiser = torch.optim.Adam(networks, lr=LEARNING_RATE)
    for step in range(N_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / N_STEPS)
        chosen = rng.integers(0, len(visited), FRAMES_PER_STEP)
        voltage = visited[chosen] + spread * rng.standard_normal((FRAMES_PER_STEP, wiring.n_neurons))
        external = np.zeros_like(voltage) if rows is None else wiring.spread(rows[chosen])
        message = curve(voltage) - floor
        summed = (matrix @ message.T).T
        wanted = circuit.k * (voltage - summed - offset) + circuit.c + circuit.q * external
        v, m, e, s, y = (torch.as_tensor(x, dtype=torch.float32) for x in (voltage, message, external, summed, wanted))
        error = ((model.message(v) - m) / model.scales.voltage).square().mean()
        error = error + ((model.update(v, s, e) - y) / model.scales.target).square().mean()
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        optimiser.step()
    logger.info("warm start from spline: error %.2e", float(error.detach()))
