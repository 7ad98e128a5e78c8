"""Studies of signal networks: recipes x seeds, each simulated, fitted and scored; what is there already is skipped.

    OMP_NUM_THREADS=2 python benchmarks/signal_study.py run fill --seeds 0 1 2
    python benchmarks/signal_study.py table fill
    python benchmarks/signal_study.py plot fill

The study `recurrence` trains the graph network on 200 neurons, half of all pairs connected: rows are time_step x loss,
neural ODE and noise added while unrolling, on recordings with and without process noise. Every row has the same budget:
as many optimiser steps, each of 64 frames seen (batch x time_step).

    OMP_NUM_THREADS=1 python benchmarks/signal_study.py run recurrence --seeds 0 1 2

One file per row and seed in benchmarks/results/signal/<study>-<row>-seed<k>.json, with settings, machine, versions and
wall time; recordings live in a temporary directory. Rows fit the exact derivative (target drift) unless they say
otherwise. Killed, the same command goes on.
"""

import argparse
import json
import logging
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import lobula
from lobula import pipeline
from lobula.data import Recording
from lobula.data.atomic import atomic_write_bytes, atomic_write_json
from lobula.data.provenance import device_facts, versions
from lobula.figures import LIGHT, study_curve, study_panels
from lobula.recovery import recover_gnn
from lobula.scoring import (
    choose_rollouts,
    circuit_facts,
    in_gauge,
    score_ceiling,
    score_estimates,
    score_prediction,
)
from lobula.simulation.truth import Truth
from lobula.training import train

logger = logging.getLogger("benchmark")
FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "signal"
IMAGES = FOLDER.parent / "docs" / "images"
HEADER = (
    *("row", "target", "rung", "seeds", "W fit R2 (worst)", "slope", "W, identifiable (share)", "tau (worst)"),
    *("types (worst)", "rollout r", "horizon [Lyapunov times]"),
)
CIRCUIT_HEADER = (
    *("row", "seeds", "spectral radius of W, g W", "effective rank, 99 %", "Lyapunov exponent [1/s]"),
    "processor time, all stages [s]",
)
RUNGS = ("ceiling", "ridge", "spline", "gnn")
FEW = ("simulation.n_frames=20000", "spline.curve_frames=8000")
FILLS = (1, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05)
FRAMES_PER_STEP = 64
UNROLLED = (1, 4, 16, 32, 64)
"""Steps in time of the study `recurrence`."""
SMALL_NET = (
    *("simulation.n_frames=10000", "model.hidden_dim=32", "model.hidden_dim_update=32", "training.ode_method=midpoint"),
    *("model.g_phi_shared=yes", "training.target=observed", "training.n_steps=400", "training.rounds=0"),
    *("training.gauss_newton_steps=0", "training.lr=5e-3", "training.lr_W=1e-2", "training.estimators=[gnn]"),
)


def unrolled(frames: int, loss: str = "end", regime: str = "recurrent", noise: float = 0.0) -> tuple[str, ...]:
    """Settings of a row of the study `recurrence`."""
    sizes = (f"training.time_step={frames}", f"training.batch_size={FRAMES_PER_STEP // frames}")
    return (*sizes, f"training.regime={regime}", f"training.recurrent_loss={loss}", f"training.recurrent_noise={noise}")


def recurrence_rows() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Rows of the study `recurrence`."""
    ways = {"1 end": unrolled(1)}
    ways |= {f"{frames} {loss}": unrolled(frames, loss) for frames in UNROLLED[1:] for loss in ("end", "dense")}
    ways |= {f"16 dense + noise {noise:g}": unrolled(16, "dense", noise=noise) for noise in (0.05, 0.5)}
    ways["16 neural ODE"] = unrolled(16, regime="neural_ode")
    return {
        f"sigma {sigma:g}, {name}": ("signal-small", (*SMALL_NET, f"simulation.process_noise={sigma}", *settings))
        for sigma in (0, 0.05)
        for name, settings in ways.items()
    }


def models() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Rows of the study `models`: message functions of types (1,000 neurons) and circuits that change."""
    alone, typed = "training.estimators=[spline]", {name: f"signal-{name.lower()}" for name in ("N4", "N5", "N11")}
    rows = {name: (recipe, (*FEW, alone)) for name, recipe in typed.items()}
    rows |= {f"{name}, 100000 frames": (recipe, (alone,)) for name, recipe in typed.items()}
    changing = {f"{name}, 200 neurons": (name, "signal.n_neurons=200") for name in ("N3", "N6", "N7")}
    changing["N6, 1000 neurons"] = ("N6", "signal.n_neurons=1000")
    warm = ("training.estimators=[spline,gnn]", "training.warm_start=spline", "training.batch_size=8")
    rows["N2, network from the spline"] = ("signal-n2", (*FEW, *warm))
    rows["N2, network from random values"] = ("signal-n2", (*FEW, "training.estimators=[gnn]"))
    return rows | {
        row: (f"signal-{name.lower()}", ("simulation.n_frames=20000", size)) for row, (name, size) in changing.items()
    }


def large(n_neurons: int) -> tuple[str, ...]:
    """Settings of a large circuit: ridge, trials of 100 frames, four times as many frames as neurons."""
    trials = ("simulation.trial_frames=100", "signal.burn_in=0", f"simulation.n_frames={4 * n_neurons}")
    few = ("simulation.n_frames_validation=1000", "simulation.n_frames_test=1000", "training.estimators=[ridge]")
    return (f"signal.n_neurons={n_neurons}", *trials, *few)


STUDIES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "fill": {f"{fill:g}": ("signal-n2", (*FEW, f"signal.fill={fill}")) for fill in FILLS},
    "fill-observed": {
        f"{fill:g}": (
            "signal-n2",
            (*FEW, f"signal.fill={fill}", "training.target=observed", "training.estimators=[ridge]"),
        )
        for fill in FILLS
    },
    "frames": {
        f"{n}": ("signal-n2", (f"simulation.n_frames={n}", "spline.curve_frames=8000"))
        for n in (10_000, 20_000, 50_000, 100_000)
    },
    "noise": {
        f"{sigma:g} {target}": (
            "signal-n2",
            (*FEW, f"simulation.process_noise={sigma}", f"training.target={target}"),
        )
        for sigma in (0, 0.05, 0.5)
        for target in ("drift", "observed")
    },
    "size": {f"{n}": ("signal-n2", (*FEW, f"signal.n_neurons={n}")) for n in (100, 300, 1_000, 2_000)}
    | {f"{n}, short trials": ("signal-n2", large(n)) for n in (2_000, 4_000, 8_000)},
    "gain": {
        f"{g:g}": (
            "signal-n2",
            (*FEW, f"signal.parameters=[[{g},1,1],[{g},2,1],[{g},1,2],[{g},2,2]]"),
        )
        for g in (5.0, 10.0, 20.0)
    },
    "types": {
        f"{n}": ("signal-n2", (*FEW, f"signal.parameters={[[10, 1 + k % 2, 1 + k // 2] for k in range(n)]}"))
        for n in (1, 2, 4, 8)
    },
    "connectivity": {
        "Gaussian": ("signal-n2", (*FEW, "signal.connectivity=gaussian")),
        "rank 20": ("signal-n2", (*FEW, "signal.connectivity=low_rank", "signal.rank=20")),
        "Dale, half excitatory": ("signal-n2", (*FEW, "signal.dale_law=true", "signal.dale_factor=0.5")),
        "Dale, four fifths excitatory": ("signal-n2", (*FEW, "signal.dale_law=true", "signal.dale_factor=0.8")),
    },
    "models": models(),
    "recurrence": recurrence_rows(),
}
"""Rows by study: recipe and settings."""


def run(args: argparse.Namespace) -> None:
    """Runs every row and seed that has no result yet."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for row in args.rows or STUDIES[args.study]:
            recipe, settings = STUDIES[args.study][row]
            file = RESULTS / f"{args.study}-{slug(row)}-seed{seed}.json"
            overrides = [*settings, *args.set]
            known = json.loads(file.read_text()) if file.exists() else None
            if known is not None and known["overrides"] == overrides:
                logger.info("%s is complete, skipped", file.name)
                continue
            if known is not None:
                raise SystemExit(f"{file.name}: made with other settings, expected those of this call; move it away")
            with tempfile.TemporaryDirectory() as folder:
                one = one_training if args.study == "recurrence" else one_run
                atomic_write_json(file, one(recipe, overrides, row, seed, Path(folder)))


def slug(row: str) -> str:
    """A row's name in file names."""
    return "".join(c for c in row.replace(" ", "-") if c.isalnum() or c in "-.")


def one_run(recipe: str, overrides: list[str], row: str, seed: int, folder: Path) -> dict:
    """Scores of one row and seed."""
    seeds = [f"simulation.seed={seed}", f"training.seed={seed}"]
    config, began = lobula.load_config(recipe, overrides=[*overrides, *seeds]), time.process_time()
    pipeline.simulate(config, folder, progress=False)
    pipeline.train(config, folder, progress=False)
    pipeline.recover(config, folder, progress=False)
    scores = pipeline.score(config, folder, progress=False)
    stages = json.loads((folder / "run.json").read_text())["stages"]
    spent = time.process_time() - began
    logger.info("%s %s seed %d: %.0f s of processor time", recipe, row, seed, spent)
    cost = {"wall_s": {name: stage.get("wall_s") for name, stage in stages.items()}, "processor_s": spent}
    cost["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # of all rows so far
    return facts(recipe, overrides, row, seed) | cost | {"scores": scores}


def facts(recipe: str, overrides: list[str], row: str, seed: int) -> dict:
    """What every result says of itself."""
    about = {"recipe": recipe, "overrides": overrides, "row": row, "seed": seed}
    about |= {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    return about | {"machine": device_facts(), "versions": versions()}


def one_training(recipe: str, overrides: list[str], row: str, seed: int, folder: Path) -> dict:
    """Scores of the graph network before and after the refit, the ceiling, and processor time."""
    seeds = [f"simulation.seed={seed}", f"training.seed={seed}"]
    config = lobula.load_config(recipe, overrides=[*overrides, *seeds])
    pipeline.simulate(config, folder, progress=False)
    recording = Recording.open(folder / "recording.zarr")
    truth = in_gauge(Truth.load(folder / "truth.zarr"), recording, config.update)
    clock: list[tuple[int, float]] = []
    began = time.process_time()
    model = train(
        recording,
        config,
        folder / "gnn",
        progress=lambda step, total, numbers: clock.append((step, time.process_time())),
    )
    trained = time.process_time() - began
    steps, seconds = clock[-1][0] - clock[0][0], clock[-1][1] - clock[0][1]
    rollouts, target = choose_rollouts(recording, config), config.training.target
    about, ceiling = circuit_facts(truth, recording), score_ceiling(recording, truth, config, None)
    scores = {"target": target, "circuit": about, "ceiling": ceiling.scores}
    for name, readout in (("before refit", "on_distribution"), ("after refit", "refit")):
        settings = config.with_values({"recovery.readout": readout}).recovery
        estimates = recover_gnn(recording, model, target, settings, config.update)
        scores[name] = score_estimates(estimates, truth, ceiling.identifiable, config)
        exponent = about["lyapunov_exponent"]
        scores[name]["prediction"] = score_prediction(estimates, recording, rollouts, target, exponent)[0]
    cost = {"train_s": trained, "step_ms": 1e3 * seconds / max(steps, 1), "frames_per_step": FRAMES_PER_STEP}
    logger.info("%s seed %d: %.0f s of processor time", row, seed, time.process_time() - began)
    return facts(recipe, overrides, row, seed) | {"processor": cost, "scores": scores}


def load(study: str) -> dict[str, list[dict]]:
    """Results by row, in the order of the study."""
    found: dict[str, list[dict]] = {}
    for row in STUDIES[study]:
        files = sorted(RESULTS.glob(f"{study}-{slug(row)}-seed*.json"))
        if files:
            found[row] = [json.loads(file.read_text()) for file in files]
    if not found:
        raise SystemExit(f"{RESULTS / study}-*.json: nothing there, expected results; `run {study}` first")
    return found


def table(args: argparse.Namespace) -> None:
    """Markdown: median and worst over seeds, per row and rung, beside the ceiling."""
    if args.study == "recurrence":
        recurrence_table(load(args.study))
        return
    print(f"| {' | '.join(HEADER)} |")
    print("|---" * len(HEADER) + "|")
    for row, results in load(args.study).items():
        for rung in RUNGS:
            scores = [r["scores"][rung] for r in results if r["scores"].get(rung)]
            if scores:
                cells = [row, results[0]["scores"]["target"], rung, str(len(scores)), *figures(scores)]
                print(f"| {' | '.join(cells)} |")
    circuit_table(load(args.study))


def recurrence_table(results: dict[str, list[dict]]) -> None:
    """Markdown: median over seeds [least, most] of W, rollouts and cost, and below it the best row per goal."""
    goals: dict[str, Callable[[dict], float]] = {
        "W before": lambda r: r["scores"]["before refit"]["W"]["fit_r2"],
        "slope": lambda r: r["scores"]["before refit"]["W"]["slope"],
        "W after": lambda r: r["scores"]["after refit"]["W"]["fit_r2"],
        "ceiling": lambda r: r["scores"]["ceiling"]["W"]["fit_r2"],
        "one-step r": lambda r: r["scores"]["before refit"]["prediction"]["one_step_pearson"],
        "rollout r": lambda r: r["scores"]["before refit"]["prediction"]["rollout_pearson"],
        "horizon [s]": lambda r: r["scores"]["before refit"]["prediction"]["horizon_s"],
        "types": lambda r: r["scores"]["before refit"]["cell_types"]["accuracy"],
        "types by chance": lambda r: r["scores"]["before refit"]["cell_types"]["chance_accuracy"],
        "types after": lambda r: r["scores"]["after refit"]["cell_types"]["accuracy"],
        "rollout r after": lambda r: r["scores"]["after refit"]["prediction"]["rollout_pearson"],
        "ms per step": lambda r: r["processor"]["step_ms"],
        "train [s]": lambda r: r["processor"]["train_s"],
    }
    print(f"| row | seeds | {' | '.join(goals)} |")
    print("|---" * (len(goals) + 2) + "|")
    middle: dict[str, dict[str, float]] = {name: {} for name in goals}
    for row, runs in results.items():
        cells = []
        for name, value in goals.items():
            values = [value(r) for r in runs]
            middle[name][row] = statistics.median(values)
            cells.append(f"{middle[name][row]:.4g} [{min(values):.3g}, {max(values):.3g}]")
        print(f"| {row} | {len(runs)} | {' | '.join(cells)} |")
    for sigma in dict.fromkeys(row.partition(",")[0] for row in results):
        for name in ("W before", "W after", "one-step r", "rollout r", "horizon [s]"):
            of = {row: value for row, value in middle[name].items() if row.startswith(f"{sigma},")}
            best = max(of, key=lambda row: of[row])
            print(f"\nbest {name}: {best} ({of[best]:.4g})")


def figures(scores: list[dict]) -> list[str]:
    """Cells of a line: weights, slope, time constants, cell types, rollout."""

    def spread(values: list[float]) -> str:
        return f"{near_one(statistics.median(values))} ({near_one(min(values))})"

    slopes, parts = [s["W"]["slope"] for s in scores], [s["W"]["identifiable"] for s in scores]
    cells = [spread([s["W"]["fit_r2"] for s in scores])]
    cells.append(f"{statistics.median(slopes):.5f} [{min(slopes):.5f}, {max(slopes):.5f}]")
    share = statistics.median(p["share"] for p in parts)
    cells.append(f"{spread([p['fit_r2'] for p in parts])} ({100 * share:.1f} %)")
    cells.append(spread([s["tau"]["fit_r2"] for s in scores]))
    if "cell_types" not in scores[0]:
        return [*cells, "-", "-", "-"]
    cells.append(spread([s["cell_types"]["accuracy"] for s in scores]))
    foretold = [s["prediction"] for s in scores]
    cells.append(spread([p["rollout_pearson"] for p in foretold]))
    bound = "at least " if max(p["horizon_censored"] for p in foretold) >= 0.5 else ""
    return [*cells, bound + f"{statistics.median(p['horizon_lyapunov'] for p in foretold):.2f}"]


def near_one(value: float) -> str:
    """A score; what is missing to 1 where five digits would not show it."""
    return f"{value:.5f}" if value < 0.9999 or value == 1 else f"1 - {1 - value:.0e}"


def circuit_table(results: dict[str, list[dict]]) -> None:
    """Markdown: what the circuits of every row are like, and what they cost; median over seeds."""
    print(f"\n| {' | '.join(CIRCUIT_HEADER)} |")
    print("|---" * len(CIRCUIT_HEADER) + "|")
    for row, runs in results.items():
        facts = [run["scores"]["circuit"] for run in runs]

        def middle(name: str, facts: list[dict] = facts) -> float:
            known = [f[name] for f in facts if f[name] is not None]  # no eigenvalues of large circuits
            return statistics.median(known) if known else math.nan

        cells = [row, str(len(runs)), f"{middle('spectral_radius_W'):.2f}, {middle('spectral_radius_gW'):.2f}"]
        cells += [f"{middle('effective_rank_99'):g}", f"{middle('lyapunov_exponent'):.2f}"]
        cells.append(f"{statistics.median(run['processor_s'] for run in runs):.0f}")
        print(f"| {' | '.join(cells)} |")


def plot(args: argparse.Namespace) -> None:
    """W fit R2 by row, of every rung; for recurrence weights, rollout and cost against the steps that are unrolled."""
    results = load(args.study)
    if args.study == "recurrence":
        figure, _ = study_panels(UNROLLED, recurrence_scores(results), "time_step", LIGHT)
    else:
        values = {
            rung: [
                [r["scores"][rung]["W"]["fit_r2"] for r in runs if r["scores"].get(rung)] for runs in results.values()
            ]
            for rung in RUNGS
        }
        figure, _ = study_curve(list(results), values, args.study, LIGHT)
    out = args.out or IMAGES / f"signal-{args.study}.png"
    atomic_write_bytes(out, LIGHT.save(figure, "png"))
    print(out)


def recurrence_scores(results: dict[str, list[dict]]) -> dict[str, dict[str, list[list[float]]]]:
    """Scores of the network as trained, by score and by noise and loss, for the steps in `UNROLLED`."""
    scores: dict[str, Callable[[dict], float]] = {
        "fit R² of W": lambda r: r["scores"]["before refit"]["W"]["fit_r2"],
        "rollout r": lambda r: r["scores"]["before refit"]["prediction"]["rollout_pearson"],
        "processor time [s]": lambda r: r["processor"]["train_s"],
    }
    found: dict[str, dict[str, list[list[float]]]] = {}
    for name, value in scores.items():
        found[name] = {}
        for sigma in ("sigma 0", "sigma 0.05"):
            for loss in ("end", "dense"):
                rows = [f"{sigma}, {n} {loss if n > 1 else 'end'}" for n in UNROLLED]
                found[name][f"{sigma}, {loss}"] = [[value(r) for r in results.get(row, [])] for row in rows]
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("run", help="simulate, fit and score")
    show, draw = (
        commands.add_parser("table", help="print the table"),
        commands.add_parser("plot", help="draw the figure"),
    )
    for command, call in ((fit, run), (show, table), (draw, plot)):
        command.add_argument("study", choices=STUDIES)
        command.set_defaults(call=call)
    fit.add_argument("--rows", nargs="+", help="some rows of the study; all by default")
    fit.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    fit.add_argument("--set", action="append", default=[], help="further settings, for all rows")
    draw.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.call(args)


if __name__ == "__main__":
    main()
