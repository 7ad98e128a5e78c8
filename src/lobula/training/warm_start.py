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
ROWS = 256


def start_from_spline(model: CircuitGNN, spline: SplineFit, wiring: Wiring, split: Split, streams: Streams) -> None:
    """Sets the weights to the spline's and trains both networks to repeat its curve and its update, before any
    recording.

    The message curve is raised to be positive where the network squares its output; the offset goes into the update.
    """
    curve, circuit = spline.curve, spline.circuit
    low, high = float(curve.knots[0]), float(curve.knots[-1])
    floor = min(float(curve.values.min()), 0.0) if model.config.g_phi_positive else 0.0
    with torch.no_grad():
        model.weight.copy_(torch.as_tensor(circuit.weight(wiring), dtype=torch.float32))
    leak, rest = (torch.as_tensor(x, dtype=torch.float32) for x in (circuit.k, circuit.c))
    gain = torch.as_tensor(circuit.q, dtype=torch.float32)
    offset = torch.as_tensor(floor * np.bincount(wiring.post, circuit.weight(wiring), wiring.n_neurons)).float()
    networks = [*model.message_mlp.parameters(), *model.update_mlp.parameters(), model.embedding]
    optimiser = torch.optim.Adam(networks, lr=5e-3)
    rng = streams.generator("init", "warm start")
    visited = split.voltage(0, min(2000, split.n_frames))
    for step in range(N_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - step / N_STEPS) + 1e-5
        uniform = rng.uniform(low, high, (4, wiring.n_neurons))
        voltage = np.where(rng.random(uniform.shape) < 0.5, uniform, visited[rng.integers(0, len(visited), 4)])
        v = torch.as_tensor(voltage, dtype=torch.float32)
        message = torch.as_tensor(curve(voltage) - floor, dtype=torch.float32)
        summed = torch.randn(v.shape, generator=torch.Generator().manual_seed(step)) * model.scales.voltage
        external = torch.as_tensor(rng.random(v.shape), dtype=torch.float32)
        wanted = leak * (v - summed - offset) + rest + gain * external
        error = ((model.message(v) - message) / model.scales.voltage).square().mean()
        error = error + ((model.update(v, summed, external) - wanted) / model.scales.target).square().mean()
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        optimiser.step()
    logger.info("warm start from spline: error %.2e", float(error.detach()))
