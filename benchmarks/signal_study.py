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
otherwise. Killed, the same command goes on. A row that comes to the settings of another study's is not run again: its
file names that one's.
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

from signal_rows import FRAMES_PER_STEP, STUDIES, UNROLLED

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
            if twin := same_run(recipe, overrides, seed):
                logger.info("%s: the same run as %s", file.name, twin)
                atomic_write_json(file, {"same_as": twin, "overrides": overrides})
                continue
            with tempfile.TemporaryDirectory() as folder:
                one = one_training if args.study == "recurrence" else one_run
                atomic_write_json(file, one(recipe, overrides, row, seed, Path(folder)))


def same_run(recipe: str, overrides: list[str], seed: int) -> str | None:
    """The file of another study's row that comes to the same settings."""
    config = lobula.load_config(recipe, overrides=overrides)
    for file in sorted(RESULTS.glob(f"*-seed{seed}.json")):
        other = json.loads(file.read_text())
        if other.get("recipe") == recipe and lobula.load_config(recipe, overrides=other["overrides"]) == config:
            return file.name
    return None


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
            results = [json.loads(file.read_text()) for file in files]
            found[row] = [json.loads((RESULTS / r["same_as"]).read_text()) if "same_as" in r else r for r in results]
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

    def spread(values: list[float | None]) -> str:
        """Median and worst; a truth without spread, or no edge that counts as identifiable, has no fit R2."""
        known = [value for value in values if value is not None]
        return f"{near_one(statistics.median(known))} ({near_one(min(known))})" if known else "-"

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
