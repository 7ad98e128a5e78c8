"""Least squares that knows the form of a signal network: exact on the true edges, lost on transposed ones.

    python benchmarks/signal_oracle.py --neurons 1000 --fill 0.75

For every neuron, dv/dt is regressed on psi(v_j) of the neurons that are said to send to it, tanh(v_i), v_i and 1. The
published collapse at three quarters of all connections is what a transposed list of edges does to this regression.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np

import lobula
from lobula.metrics import compare
from lobula.simulation import SignalCircuit


@dataclass(frozen=True)
class Products:
    """What least squares needs to know of a recording.

    Attributes:
        gram: (2N + 1, 2N + 1) products of psi(v), v and 1, summed over frames.
        target: (2N + 1, N) their products with dv/dt.
    """

    gram: np.ndarray
    target: np.ndarray


def record(network: lobula.Connectome, n_frames: int, seed: int = 0, burn_in: int = 500) -> np.ndarray:
    """(T, N) float32 voltage, without noise and without a stimulus."""
    return lobula.integrate(network, burn_in + n_frames, seed=seed)[burn_in:]


def products(network: lobula.Connectome, voltage: np.ndarray, block: int = 5_000) -> Products:
    """Products of regressors, and with the exact dv/dt, in double precision; psi is tanh."""
    circuit, n = SignalCircuit(network), network.n_neurons
    gram, target = np.zeros((2 * n + 1, 2 * n + 1)), np.zeros((2 * n + 1, n))
    for first in range(0, len(voltage), block):
        frames = voltage[first : first + block]
        drift = circuit.drift(frames, np.zeros((len(frames), 0), dtype=np.float32))
        v = frames.astype(np.float64)
        regressors = np.concatenate([np.tanh(v), v, np.ones((len(v), 1))], axis=1)
        gram += regressors.T @ regressors
        target += regressors.T @ drift.astype(np.float64)
    return Products(gram, target)


def regress(sums: Products, connected: np.ndarray) -> np.ndarray:
    """(N, N) effective weights by least squares on a support (N, N) bool, rows postsynaptic."""
    n = len(connected)
    length = np.sqrt(np.diag(sums.gram))
    gram, target = sums.gram / np.outer(length, length), sums.target / length[:, None]
    weight = np.zeros((n, n))
    for i in range(n):
        inputs = np.flatnonzero(connected[i])
        used = np.concatenate([inputs, [i, n + i, 2 * n]])
        solved = np.linalg.solve(gram[np.ix_(used, used)], target[used, i])
        weight[i, inputs] = solved[: len(inputs)] / length[inputs]
    return weight


def main() -> None:
    """Prints fit R2 on the true and on the transposed support, over all pairs of neurons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=1_000)
    parser.add_argument("--fill", type=float, default=0.75)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network = lobula.signal_network(options.neurons, fill=options.fill, seed=options.seed)
    begin = time.perf_counter()
    sums = products(network, record(network, options.frames, options.seed))
    print(f"{options.neurons:,} neurons, {options.frames:,} frames: {time.perf_counter() - begin:.1f} s")
    true = network.wiring.csr(network.effective_weight).toarray()
    connected = network.wiring.connected
    for name, support in (("true", connected), ("transposed", connected.T)):
        begin = time.perf_counter()
        found = regress(sums, support)
        scores = compare(true.ravel(), found.ravel(), outlier_threshold=np.inf)
        facts = f"fit R2 {scores['fit_r2']:.5f}, slope {scores['slope']:.4f}, R2 {scores['r2']:.5f}"
        error = np.abs(found - true).max()
        print(f"{name:>10} edges: {facts}, largest error {error:.1e} ({time.perf_counter() - begin:.0f} s)")


if __name__ == "__main__":
    main()
