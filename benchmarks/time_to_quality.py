"""How long until the weights are as good as they get: fitting time against W fit R2 as a share of the ceiling.

    python benchmarks/time_to_quality.py run --seeds 0 1 2 3 4
    python benchmarks/time_to_quality.py table

Every variant fits the same recordings (observed target, sigma .05), one after the other in one process; a seed's result
goes to benchmarks/results/time-to-quality/<recipe>-seed<k>.json, in a folder of its own with --name. Fitting includes
refits and the choice by held-out frames, not simulating and scoring.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import lobula
from lobula import pipeline
from lobula.data.provenance import code_state, device_facts, versions

RESULTS = Path(__file__).parent / "results" / "time-to-quality"
WANTED = 0.97
VARIANTS: dict[str, tuple[str, dict]] = {
    "spline": ("spline", {}),
    "gnn, no rounds": ("gnn", {"training.rounds": 0}),
    "gnn, 200 steps, no rounds": ("gnn", {"training.rounds": 0, "training.n_steps": 200}),
    "gnn, 100 steps, no rounds": ("gnn", {"training.rounds": 0, "training.n_steps": 100}),
    "gnn, 200 steps of batch 32, no rounds": (
        "gnn",
        {"training.rounds": 0, "training.n_steps": 200, "training.batch_size": 32},
    ),
}


def run(args: argparse.Namespace) -> None:
    """Fits every variant on every seed that has no result yet."""
    folder_of_results = RESULTS / args.name
    folder_of_results.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        file = folder_of_results / f"{args.recipe}-seed{seed}.json"
        if not file.exists():
            with tempfile.TemporaryDirectory() as folder:
                file.write_text(json.dumps(one_seed(args.recipe, seed, Path(folder), args.variants), indent=1) + "\n")


def one_seed(recipe: str, seed: int, folder: Path, variants: Sequence[str]) -> dict:
    """Seconds and scores of some variants on one recording."""
    seeds = {"simulation.seed": seed, "training.seed": seed, "recovery.n_cell_types": 65}
    base = lobula.load_config(recipe).with_values(seeds)
    pipeline.simulate(base, folder / "data", progress=False)
    result: dict = {"recipe": recipe, "seed": seed, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    result |= {"machine": device_facts(), "versions": versions(), "code": code_state(), "variants": {}}
    recording = {"simulation.recording": str(folder / "data" / "recording.zarr")}
    for number, name in enumerate(variants):
        estimator, values = VARIANTS[name]
        config = base.with_values({**recording, "training.estimators": [estimator], **values})
        out, began = folder / str(number), time.perf_counter()
        pipeline.train(config, out, progress=False)
        seconds = time.perf_counter() - began
        pipeline.recover(config, out, progress=False)
        scores = pipeline.score(config, out, progress=False)
        own = {q: scores[estimator][q]["fit_r2"] for q in ("W", "tau", "v_rest")}
        ceiling = {q: scores["ceiling"][q]["fit_r2"] for q in ("W", "tau", "v_rest")}
        result["variants"][name] = {"seconds": seconds, "fit_r2": own, "ceiling": ceiling}
    return result


def table(args: argparse.Namespace) -> None:
    """Markdown: median over seeds, and range or worst."""
    results = [json.loads(f.read_text()) for f in sorted((RESULTS / args.name).glob(f"{args.recipe}-seed*.json"))]
    print("| variant | seeds | seconds | W / ceiling, median (worst) | at least .97 | V_rest / ceiling |")
    print("|---|---|---|---|---|---|")
    for name in VARIANTS:
        rows = [r["variants"][name] for r in results if name in r["variants"]]
        if not rows:
            continue
        w, rest = ([r["fit_r2"][q] / r["ceiling"][q] for r in rows] for q in ("W", "v_rest"))
        seconds = [r["seconds"] for r in rows]
        share = f"{sum(x >= WANTED for x in w)} of {len(w)}"
        cells = [
            f"{statistics.median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})",
            f"{statistics.median(w):.4f} ({min(w):.4f})",
            share,
        ]
        cells.append(f"{statistics.median(rest):.4f} ({min(rest):.4f})")
        print(f"| {name} | {len(rows)} | {' | '.join(cells)} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("run", help="fit and score")
    fit.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    fit.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    fit.set_defaults(call=run)
    show = commands.add_parser("table", help="print the table")
    show.set_defaults(call=table)
    for command in (fit, show):
        command.add_argument("--recipe", default="fly-small")
        command.add_argument("--name", default=".", help="folder of the results, beside the others")
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
