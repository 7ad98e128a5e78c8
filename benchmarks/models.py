"""What each model is for, on random circuits of 40 neurons that need it, and what a training step costs.

    python benchmarks/models.py pairs | rank | curves --seeds 0 1 2
    python benchmarks/models.py cost --extents 1 2

Messages of the circuits: `pairs` tanh(max(v_j, 0)) (1 - tanh(v_i) / 2); `rank` max(v_j, 0) with weights of rank 2
between all pairs and the observed target; `curves` tanh(gain v_j) with three gains. Prints a table, mean over seeds.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import lobula
from lobula.config import ExperimentConfig
from lobula.data import Recording, Wiring
from lobula.data.streams import Streams
from lobula.metrics import line_fit
from lobula.models import Scales, registry
from lobula.recovery import recover_gnn, recover_spline
from lobula.recovery.gauge import find_gauge, sample_voltage
from lobula.regression import circuit_predictor, fit_circuit, fit_spline, held_out_error
from lobula.regression.own_curves import fit_own_curves
from lobula.training import train

N, IN_DEGREE, DT, NOISE = 40, 6, 0.02, 0.3
GAINS = np.array([0.5, 1.5, 4.0])[np.arange(N) % 3]
Row = tuple[str, dict[str, float]]


def circuit(
    weight: np.ndarray, message: Callable[[np.ndarray, np.ndarray], np.ndarray], n_frames: int, seed: int
) -> tuple[np.ndarray, Recording]:
    """True weights (E,) and a recording with drift; message(source (1, N), target (N, 1)) -> (N, N) or (1, N)."""
    rng = np.random.default_rng([seed, 1])
    post, pre = np.nonzero(weight)
    wiring = Wiring.from_edges(np.stack([pre, post]), N)
    tau, rest = rng.uniform(0.05, 0.2, N), rng.normal(0.3, 0.2, N)
    voltage, drift, v = *np.empty((2, n_frames, N), "f4"), rest.copy()
    for t in range(n_frames):
        voltage[t] = v
        drift[t] = (-v + rest + (weight * message(v[None], v[:, None])).sum(1)) / tau
        v = v + DT * drift[t] + NOISE * rng.standard_normal(N)
    return weight[wiring.post, wiring.pre], Recording.from_arrays(voltage, wiring, DT, None, drift)


def sparse_weight(seed: int) -> np.ndarray:
    """(N, N) with six inputs per neuron."""
    rng = np.random.default_rng(seed)
    weight = np.zeros((N, N))
    for i in range(N):
        inputs = rng.choice(np.delete(np.arange(N), i), IN_DEGREE, replace=False)
        weight[i, inputs] = rng.normal(0.0, 0.6 / np.sqrt(IN_DEGREE), IN_DEGREE)
    return weight


def pairs(seed: int) -> Iterator[Row]:
    """flyvis_A and flyvis_B where messages depend on the target."""

    def driven(source: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.tanh(np.maximum(source, 0)) * (1 - 0.5 * np.tanh(target))

    true, recording = circuit(sparse_weight(seed), driven, 5000, seed)
    for name in ("flyvis_A", "flyvis_B"):
        estimates = gnn(recording, {"model.name": name, "training.target": "drift", "training.n_steps": 300})
        yield name, weight_scores(true, estimates) | {"held-out log error": estimates.notes["held_out_log_error"]}


def rank(seed: int) -> Iterator[Row]:
    """Ridge, and networks with free weights and with weights of rank 2, at three numbers of frames."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(N, 2)) @ rng.normal(size=(2, N)) / np.sqrt(2 * N)
    np.fill_diagonal(weight, 0.0)
    steps = {"training.n_steps": 300, "training.lr": 5e-3, "training.lr_W": 2e-2, "model.w_init": "randn_scaled"}
    for n_frames in (500, 1500, 5000):
        true, recording = circuit(weight, lambda source, target: np.maximum(source, 0), n_frames, seed)
        free = fit_circuit(recording["train"], recording.wiring, lambda v: np.maximum(v, 0))
        slope, r2 = line_fit(true, free.weight(recording.wiring))
        yield f"ridge, {n_frames:,} frames", {"W fit R²": r2, "slope": slope}
        for name, value in (("free", None), ("rank 2", 2)):
            estimates = gnn(recording, {**steps, "model.rank": value})
            yield f"flyvis_A, {name}, {n_frames:,} frames", weight_scores(true, estimates)


def curves(seed: int) -> Iterator[Row]:
    """One message function for all, per true type, per neuron."""
    true, recording = circuit(sparse_weight(seed), lambda source, target: np.tanh(GAINS * source), 5000, seed)
    frames, wiring = recording["train"], recording.wiring
    true = true * find_gauge(sample_voltage(frames), lambda v: np.tanh(GAINS * v)).scale[wiring.pre]
    shared = fit_spline(frames, wiring, "drift")
    error = held_out_error(
        circuit_predictor(shared.circuit, shared.curve, wiring), recording["validation"], wiring, "drift"
    )
    settings = ExperimentConfig().recovery
    scores = weight_scores(true, recover_spline(recording, shared, "drift", settings))
    yield "one for all", scores | {"held-out log error": error}
    for name, group in (("per type", np.arange(N) % 3), ("per neuron", np.arange(N))):
        own = fit_own_curves(frames, wiring, shared.curve, group, "drift")
        predict = circuit_predictor(own.circuit, own.curves, wiring)
        fit = type(shared)(shared.circuit, shared.curve, shared.visited, own=own)
        scores = weight_scores(true, recover_spline(recording, fit, "drift", settings))
        yield name, scores | {"held-out log error": held_out_error(predict, recording["validation"], wiring, "drift")}


def gnn(recording: Recording, values: dict) -> lobula.Estimates:
    """Trains and reads out with a small network."""
    small = {"training.rounds": 2, "training.round_steps": 80, "model.hidden_dim": 32, "model.hidden_dim_update": 32}
    config = ExperimentConfig().with_values({**small, **values})
    with tempfile.TemporaryDirectory() as folder:
        return recover_gnn(recording, train(recording, config, Path(folder)), config.training.target, config.recovery)


def weight_scores(true: np.ndarray, estimates: lobula.Estimates) -> dict[str, float]:
    """Fit R2 and slope of the weights."""
    slope, r2 = line_fit(true, estimates.edges["weight"].to_numpy())
    return {"W fit R²": r2, "slope": slope}


def cost(extents: list[int]) -> Iterator[Row]:
    """Milliseconds of a training step (batch 8, forwards and backwards) on the fly's optic lobe."""
    for extent in extents:
        wiring = lobula.optic_lobe(extent).wiring
        for name in registry.names():
            model = registry.build(name, ExperimentConfig().model, wiring, Scales(1.0, 1.0, 1.0), Streams(0))
            voltage = torch.randn(8, wiring.n_neurons)
            times = []
            for _ in range(5):
                began = time.perf_counter()
                model(voltage, voltage).square().sum().backward()
                times.append(time.perf_counter() - began)
            facts = {"N": wiring.n_neurons, "E": wiring.n_edges, "ms per step": 1e3 * float(np.median(times))}
            yield f"{name}, extent {extent}", facts


def table(runs: list[list[Row]]) -> str:
    """Mean over seeds in Markdown."""
    columns = list(runs[0][0][1])
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for rows in zip(*runs, strict=True):
        means = [np.mean([values[column] for _, values in rows]) for column in columns]
        lines.append(f"| {rows[0][0]} | " + " | ".join(f"{mean:.4g}" for mean in means) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs one of the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["pairs", "rank", "curves", "cost"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--extents", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if args.what == "cost":
        print(table([list(cost(args.extents))]))
        return
    run = {"pairs": pairs, "rank": rank, "curves": curves}[args.what]
    print(table([list(run(seed)) for seed in args.seeds]))


if __name__ == "__main__":
    main()
