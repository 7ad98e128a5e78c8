"""Studies of signal networks: recipes x seeds, each simulated, fitted and scored; what is there already is skipped.

    OMP_NUM_THREADS=2 python benchmarks/signal_study.py run fill --seeds 0 1 2
    python benchmarks/signal_study.py table fill
    python benchmarks/signal_study.py plot fill

One file per row and seed in benchmarks/results/signal/<study>-<row>-seed<k>.json, with settings, machine, versions and
wall time; recordings live in a temporary directory. Rows fit the exact derivative (target drift) unless they say
otherwise. Killed, the same command goes on.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import lobula
from lobula import pipeline
from lobula.data.atomic import atomic_write_bytes, atomic_write_json
from lobula.data.provenance import device_facts, versions
from lobula.figures import LIGHT, study_curve

logger = logging.getLogger("benchmark")
FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "signal"
IMAGES = FOLDER.parent / "docs" / "images"
HEADER = ("row", "target", "rung", "seeds", "W fit R2 (worst)", "slope", "tau (worst)", "types (worst)", "rollout r")
RUNGS = ("ceiling", "ridge", "spline")
FEW = ("simulation.n_frames=20000", "spline.curve_frames=8000")
FILLS = (1, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05)
STUDIES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "fill": {
        f"{fill:g}": ("signal-n2", (*FEW, f"signal.fill={fill}")) for fill in (1, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05)
    },
    "frames": {
        f"{n}": ("signal-n2", (f"simulation.n_frames={n}", f"spline.curve_frames={min(n, 8000)}"))
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
    "size": {f"{n}": ("signal-n2", (*FEW, f"signal.n_neurons={n}")) for n in (100, 300, 1_000, 2_000)},
    "gain": {
        f"{g:g}": (
            "signal-n2",
            (*FEW, f"signal.parameters=[[{g},1,1],[{g},2,1],[{g},1,2],[{g},2,2]]"),
        )
        for g in (5.0, 10.0, 20.0)
    },
}
"""Rows by study: recipe and settings."""


def run(args: argparse.Namespace) -> None:
    """Runs every row and seed that has no result yet."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for row in args.rows or STUDIES[args.study]:
            recipe, settings = STUDIES[args.study][row]
            file = RESULTS / f"{args.study}-{row.replace(' ', '-')}-seed{seed}.json"
            overrides = [*settings, *args.set]
            known = json.loads(file.read_text()) if file.exists() else None
            if known is not None and known["overrides"] == overrides:
                logger.info("%s is complete, skipped", file.name)
                continue
            if known is not None:
                raise SystemExit(f"{file.name}: made with other settings, expected those of this call; move it away")
            with tempfile.TemporaryDirectory() as folder:
                atomic_write_json(file, one_run(recipe, overrides, row, seed, Path(folder)))


def one_run(recipe: str, overrides: list[str], row: str, seed: int, folder: Path) -> dict:
    """Scores of one row and seed."""
    seeds = [f"simulation.seed={seed}", f"training.seed={seed}"]
    config, began = lobula.load_config(recipe, overrides=[*overrides, *seeds]), time.perf_counter()
    pipeline.simulate(config, folder, progress=False)
    pipeline.train(config, folder, progress=False)
    pipeline.recover(config, folder, progress=False)
    scores = pipeline.score(config, folder, progress=False)
    stages = json.loads((folder / "run.json").read_text())["stages"]
    logger.info("%s %s seed %d: %.0f s", recipe, row, seed, time.perf_counter() - began)
    return {
        "recipe": recipe,
        "overrides": overrides,
        "row": row,
        "seed": seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_facts(),
        "versions": versions(),
        "wall_s": {name: stage.get("wall_s") for name, stage in stages.items()},
        "scores": scores,
    }


def load(study: str) -> dict[str, list[dict]]:
    """Results by row, in the order of the study."""
    found: dict[str, list[dict]] = {}
    for row in STUDIES[study]:
        files = sorted(RESULTS.glob(f"{study}-{row.replace(' ', '-')}-seed*.json"))
        if files:
            found[row] = [json.loads(file.read_text()) for file in files]
    if not found:
        raise SystemExit(f"{RESULTS / study}-*.json: nothing there, expected results; `run {study}` first")
    return found


def table(args: argparse.Namespace) -> None:
    """Markdown: median and worst over seeds, per row and rung, beside the ceiling."""
    print(f"| {' | '.join(HEADER)} |")
    print("|---" * len(HEADER) + "|")
    for row, results in load(args.study).items():
        for rung in RUNGS:
            scores = [r["scores"][rung] for r in results if r["scores"].get(rung)]
            if scores:
                cells = [row, results[0]["scores"]["target"], rung, str(len(scores)), *figures(scores)]
                print(f"| {' | '.join(cells)} |")


def figures(scores: list[dict]) -> list[str]:
    """Cells of a line: weights, slope, time constants, cell types, rollout."""

    def spread(values: list[float]) -> str:
        return f"{statistics.median(values):.5f} ({min(values):.5f})"

    slopes = [s["W"]["slope"] for s in scores]
    cells = [spread([s["W"]["fit_r2"] for s in scores])]
    cells.append(f"{statistics.median(slopes):.4f} [{min(slopes):.4f}, {max(slopes):.4f}]")
    cells.append(spread([s["tau"]["fit_r2"] for s in scores]))
    learned = "cell_types" in scores[0]
    cells.append(spread([s["cell_types"]["accuracy"] for s in scores]) if learned else "-")
    cells.append(spread([s["prediction"]["rollout_pearson"] for s in scores]) if learned else "-")
    return cells


def plot(args: argparse.Namespace) -> None:
    """W fit R2 by row: median and range over seeds of every rung."""
    results = load(args.study)
    values = {
        rung: [[r["scores"][rung]["W"]["fit_r2"] for r in runs if r["scores"].get(rung)] for runs in results.values()]
        for rung in RUNGS
    }
    figure, _ = study_curve(list(results), values, args.study, LIGHT)
    out = args.out or IMAGES / f"signal-{args.study}.png"
    atomic_write_bytes(out, LIGHT.save(figure, "png"))
    print(out)


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
