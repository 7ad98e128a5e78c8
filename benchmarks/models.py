"""What each model is for, on random circuits of 40 neurons that need it, and what a training step costs.

    python benchmarks/models.py run pairs rank curves --seeds 0 1 2
    python benchmarks/models.py run cost --extents 1 2
    python benchmarks/models.py table pairs rank curves

Messages of the circuits: `pairs` tanh(max(v_j, 0)) (1 - tanh(v_i) / 2); `rank` max(v_j, 0) with weights of rank 2
between all pairs and the observed target; `curves` tanh(gain v_j) with three gains.

One file per study and seed in benchmarks/results/models/, with machine, versions and processor time; what is there
already is skipped. `cost` belongs on a machine that does nothing else.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import lobula
from lobula.config import ExperimentConfig
from lobula.data import Recording, Wiring
from lobula.data.atomic import atomic_write_json
from lobula.data.provenance import device_facts, versions
from lobula.data.streams import Streams
from lobula.metrics import line_fit
from lobula.models import Scales, registry
from lobula.recovery import recover_gnn, recover_spline
from lobula.recovery.gauge import find_gauge, sample_voltage
from lobula.regression import circuit_predictor, fit_circuit, fit_spline, held_out_error
from lobula.regression.own_curves import fit_own_curves
from lobula.training import train

logger = logging.getLogger("benchmark")
RESULTS = Path(__file__).parent / "results" / "models"
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


def cost(extent: int) -> Iterator[Row]:
    """Milliseconds of a training step (batch 8, forwards and backwards) on the fly's optic lobe."""
    wiring = lobula.optic_lobe(extent).wiring
    for name in registry.names():
        model = registry.build(name, ExperimentConfig().model, wiring, Scales(1.0, 1.0, 1.0), Streams(0))
        voltage = torch.randn(8, wiring.n_neurons)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            model(voltage, voltage).square().sum().backward()
            times.append(time.perf_counter() - began)
        yield name, {"N": wiring.n_neurons, "E": wiring.n_edges, "ms per step": 1e3 * float(np.median(times))}


STUDIES: dict[str, Callable[[int], Iterator[Row]]] = {"pairs": pairs, "rank": rank, "curves": curves, "cost": cost}
"""Rows of a study for a seed; for `cost`, for an extent."""
WORST: dict[str, Callable[[list[float]], float]] = {
    "W fit R²": min,
    "slope": lambda slopes: max(slopes, key=lambda slope: abs(slope - 1.0)),
    "held-out log error": max,
}


def run(args: argparse.Namespace) -> None:
    """Computes and stores what has no result yet."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for study in args.studies:
        name, numbers = ("extent", args.extents) if study == "cost" else ("seed", args.seeds)
        for number in numbers:
            file = RESULTS / f"{study}-{name}{number}.json"
            if file.exists():
                logger.info("%s is complete, skipped", file.name)
                continue
            began = time.process_time()
            rows = dict(STUDIES[study](number))
            about = {"study": study, name: number, "date": datetime.now(UTC).isoformat(timespec="seconds")}
            about |= {"machine": device_facts(), "versions": versions(), "processor_s": time.process_time() - began}
            atomic_write_json(file, about | {"rows": rows})
            logger.info("%s: %.0f s of processor time", file.name, about["processor_s"])


def table(args: argparse.Namespace) -> None:
    """Markdown: mean over seeds (worst), per row; of `cost`, every extent by itself."""
    for study in args.studies:
        results = [json.loads(file.read_text())["rows"] for file in sorted(RESULTS.glob(f"{study}-*.json"))]
        if not results:
            raise SystemExit(f"{RESULTS / study}-*.json: nothing there, expected results; `run {study}` first")
        for runs in [[rows] for rows in results] if study == "cost" else [results]:
            columns = list(next(iter(runs[0].values())))
            print(f"\n| {study}, {len(runs)} seeds | " if study != "cost" else f"\n| {study} | ", end="")
            print(f"{' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|")
            for row in runs[0]:
                cells = [cell(column, [rows[row][column] for rows in runs]) for column in columns]
                print(f"| {row} | {' | '.join(cells)} |")


def cell(column: str, values: list[float]) -> str:
    """Mean, and the worst in brackets where there are several."""
    mean = near_one(float(np.mean(values)))
    return f"{mean} ({near_one(WORST[column](values))})" if len(values) > 1 else mean


def near_one(value: float) -> str:
    """A number; what is missing to 1 where four digits would not show it."""
    return f"1 - {1 - value:.0e}" if 0.9995 <= value < 1 else f"{value:.4g}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fit, show = commands.add_parser("run", help="compute and store"), commands.add_parser("table", help="print tables")
    for command, call in ((fit, run), (show, table)):
        command.add_argument("studies", nargs="+", choices=STUDIES)
        command.set_defaults(call=call)
    fit.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    fit.add_argument("--extents", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    logger.setLevel(logging.INFO)
    args.call(args)


if __name__ == "__main__":
    main()
