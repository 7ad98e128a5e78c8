"""Signal networks written out once more, number by number in double precision, straight from the equations."""

from collections.abc import Callable

import numpy as np

from lobula.connectome import Connectome

PSI: dict[str, Callable[[float], float]] = {
    "tanh": lambda x: float(np.tanh(x)),
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + float(np.exp(-x))),
    "saturating": lambda x: max(x, 0.0) / (1 + max(x, 0.0)),
    "softplus": lambda x: float(np.log1p(np.exp(x))),
    "squared": lambda x: max(x, 0.0) ** 2 if x < 1 else 2 * x - 1,
}


def dense(network: Connectome) -> np.ndarray:
    """(N, N) W[post, pre], filled edge by edge."""
    matrix = np.zeros((network.n_neurons, network.n_neurons))
    for (pre, post), weight in zip(network.wiring.edge_index.T, network.weight, strict=True):
        matrix[post, pre] = weight
    return matrix


def right_hand_side(
    network: Connectome, u: np.ndarray, e: np.ndarray, p: np.ndarray | None = None, time: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """du/dt and dp/dt, each (N,), in loops over neurons and their inputs."""
    n, weight, model = network.n_neurons, dense(network), network.equation.model
    rows = network.equation.table
    if model == "N3":
        share = (1 - np.cos(2 * np.pi * time / network.equation.drift_period)) / 2
        rows = [(1 - share) * rows[k] + share * rows[(k + 1) % len(rows)] for k in range(len(rows))]
    own = [dict(zip(network.equation.names, rows[k], strict=True)) for k in network.cell_type]
    psi = [PSI[network.equation.message_functions[k]] for k in network.cell_type]
    p = np.ones(n) if p is None else p
    du, dp = np.empty(n), np.zeros(n)
    for i, q in enumerate(own):
        total = 0.0
        for j, r in enumerate(own):
            if model in ("N2", "N3", "N6", "N11"):
                message = psi[j](u[j])
            elif model == "N4":
                message = psi[j]((u[j] - r["h"]) / r["w"])
            elif model == "N5":
                message = psi[j]((u[j] - r["h"]) / q["w"]) - u[j] * np.log(r["w"]) / 50
            else:
                message = psi[j](u[j] / q["t"])
            total += weight[i, j] * message
        if model in ("N6", "N7"):
            dp[i] = (1 - p[i]) / q["tau"] - q["alpha"] * p[i] * abs(u[i])
        leak, offset = (q["a"], q["b"]) if model in ("N4", "N5") else (q["c"], 0.0)
        du[i] = -leak * u[i] + offset + q.get("s", 0.0) * np.tanh(u[i]) + q["g"] * p[i] * total + e[i]
    return du, dp
