"""Where a message function made of rectifiers bends."""

import numpy as np
import torch

from lobula.models.graph_network import SourceNetwork

RECTIFIERS = {"relu": 0.0, "leaky_relu": 0.01}
"""Activation: slope below 0."""


@torch.no_grad()
def bends(model: SourceNetwork, low: float, high: float) -> np.ndarray:
    """(B,) ascending voltages [a.u.] between low and high, both included, where the shared message function may bend.

    Between the bends of one layer the input of the next is a straight line, so its zeros are found exactly. Networks
    of smooth activations have none.
    """
    network, scale = model.message_mlp, float(model.scales.voltage)
    below = RECTIFIERS.get(network.activation)
    x = torch.tensor([low / scale, high / scale], dtype=torch.float64)
    if below is None:
        return scale * x.numpy()
    embedding = model.message_embedding[0].double()
    slope, offset = network.scalars.weight[:, 0].double(), network.embedding.bias.double()
    offset = offset + network.embedding.weight.double() @ embedding
    for depth in range(len(network.hidden)):
        z = x[:, None] * slope + offset
        for layer in network.hidden[:depth]:
            z = torch.nn.functional.leaky_relu(z, below) @ layer.weight.double().T + layer.bias.double()
        left, right = z[:-1], z[1:]
        crosses = left * right < 0
        zeros = x[:-1, None] + (x[1:] - x[:-1])[:, None] * left / (left - right)
        x = torch.cat([x, zeros[crosses]]).unique()
    return scale * x.numpy()
