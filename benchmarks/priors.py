"""What priors on the weights add: one recording per seed, fitted under every prior, and under wrong annotations.

    python benchmarks/priors.py run --name frames-1000 --set simulation.n_frames=1000 --seeds 0 1 2
    python benchmarks/priors.py table frames-500 frames-1000

Results go to benchmarks/results/priors/<name>-seed<k>.json; priors that are there already are skipped. Recordings live
in a temporary directory and are deleted.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import lobula
from lobula import pipeline
from lobula.config import ExperimentConfig
from lobula.data.annotations import annotate
from lobula.data.provenance import device_facts, versions
from lobula.data.recording import Recording

logger = logging.getLogger("benchmark")
RESULTS = Path(__file__).parent / "results" / "priors"
PRIORS = {
    "none": [],
    "counts": ["synapse_counts=true"],
    "signs": ["sign=known"],
    "signs-inferred": ["sign=inferred"],
    "soft": ["tied=soft"],
    "counts+signs": ["synapse_counts=true", "sign=known"],
    "counts+soft": ["synapse_counts=true", "tied=soft"],
    "counts+hard": ["synapse_counts=true", "tied=hard"],
    "counts+soft+signs": ["synapse_counts=true", "tied=soft", "sign=known"],
    "counts+soft+inferred": ["synapse_counts=true", "tied=soft", "sign=inferred"],
    "counts+hard+signs": ["synapse_counts=true", "tied=hard", "sign=known"],
}
WRONG = {"counts": "n_synapses", "signs": "sign", "counts+soft": "cell_type", "counts+hard": "cell_type"}
"""Controls: what is shuffled among neurons or edges; of the signs, 30 % are flipped."""
FIXED = ("scoring.rollout_steps=20", "scoring.n_rollouts=1", "recovery.n_cell_types=65")


def run(args: argparse.Namespace) -> None:
    """Fits and scores every seed and prior that has no result yet."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        file = RESULTS / f"{args.name}-seed{seed}.json"
        known = json.loads(file.read_text()) if file.exists() else {"scores": {}}
        wanted = [*args.priors, *(f"{name} wrong" for name in WRONG if args.controls and name in args.priors)]
        missing = [name for name in wanted if name not in known["scores"]]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = one_seed(args, seed, missing, Path(folder))
        facts = {"name": args.name, "overrides": args.set, "seed": seed, "machine": device_facts()}
        facts |= {"versions": versions(), "scores": known["scores"] | found}
        file.write_text(json.dumps(facts, indent=1) + "\n")


def one_seed(args: argparse.Namespace, seed: int, names: list[str], folder: Path) -> dict:
    """Scores of a recording under some priors, controls last: they change its annotations."""
    seeds = [f"simulation.seed={seed}", f"training.seed={seed}"]
    base = lobula.load_config("fly-small", overrides=[*FIXED, *args.set, *seeds])
    pipeline.simulate(base, folder / "data", progress=False)
    recording = folder / "data" / "recording.zarr"
    values = {"simulation.recording": str(recording), "training.estimators": args.estimators}
    right, found = Recording.open(recording).annotations, {}
    for name in sorted(names, key=lambda name: name.endswith("wrong")):
        prior, wrong = name.removesuffix(" wrong"), name.endswith("wrong")
        annotate_with(recording, vars(right) if not wrong else vars(right) | shuffled(vars(right), WRONG[prior]))
        settings = [f"prior.{setting}" for setting in PRIORS[prior]]
        config = lobula.load_config("fly-small", overrides=[*FIXED, *args.set, *seeds, *settings])
        found[name] = scored(config.with_values(values), folder / name)
        shown = {rung: round(found[name][rung]["W"]["fit_r2"], 4) for rung in args.estimators}
        logger.info("%s seed %d %s: %s", args.name, seed, name, shown)
    return found


def scored(config: ExperimentConfig, out: Path) -> dict:
    """Scores of one fit, and its seconds by stage."""
    began = time.perf_counter()
    pipeline.train(config, out, progress=False)
    trained = time.perf_counter() - began
    pipeline.recover(config, out, progress=False)
    return pipeline.score(config, out, progress=False) | {"train_s": round(trained, 2)}


def shuffled(known: dict, name: str) -> dict:
    """A wrong annotation in place of a right one."""
    rng = np.random.default_rng(0)
    if name == "sign":
        return {"sign": known["sign"] * np.where(rng.random(len(known["sign"])) < 0.3, -1, 1)}
    return {name: rng.permutation(known[name])}


def annotate_with(recording: Path, known: dict) -> None:
    """Writes annotations that are in the order of the wiring."""
    order = np.argsort(Recording.open(recording).wiring.edge_order)
    annotate(recording, known["cell_type"], known["n_synapses"][order], known["sign"])


def table(args: argparse.Namespace) -> None:
    """Markdown: median (lowest, highest) over seeds of W, and medians of tau, V_rest and signs, per prior and rung."""
    print(
        "| recording | prior | rung | seeds | W fit R² | slope | sign accuracy | tau | V_rest | ceiling W | train s |"
    )
    print("|---" * 11 + "|")
    for name in args.names:
        results = [json.loads(f.read_text())["scores"] for f in sorted(RESULTS.glob(f"{name}-seed*.json"))]
        for prior in [*PRIORS, *(f"{control} wrong" for control in WRONG)]:
            rows = [scores[prior] for scores in results if prior in scores]
            for rung in [rung for rung in ("ridge", "spline", "gnn") if rows and rung in rows[0]]:
                print(row(name, prior, rung, rows))


def row(name: str, prior: str, rung: str, rows: list[dict]) -> str:
    """One line of the table."""

    def middle(*path: str) -> float:
        values = [r[path[0]][path[1]][path[2]] for r in rows]
        return statistics.median(values)

    weights = [r[rung]["W"]["fit_r2"] for r in rows]
    cells = [name, prior, rung, str(len(rows))]
    cells.append(f"{statistics.median(weights):.3f} ({min(weights):.3f}, {max(weights):.3f})")
    figures = (("W", "slope"), ("W", "sign_accuracy"), ("tau", "fit_r2"), ("v_rest", "fit_r2"))
    cells += [f"{middle(rung, *path):.3f}" for path in figures]
    cells += [f"{middle('ceiling', 'W', 'fit_r2'):.3f}", f"{statistics.median(r['train_s'] for r in rows):.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("run", help="fit and score")
    fit.add_argument("--name", required=True)
    fit.add_argument("--set", action="append", default=[])
    fit.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    fit.add_argument("--estimators", nargs="+", default=["ridge"])
    fit.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    fit.add_argument("--controls", action="store_true", help="also fit with wrong annotations")
    fit.set_defaults(call=run)
    show = commands.add_parser("table", help="print the table")
    show.add_argument("names", nargs="+")
    show.set_defaults(call=table)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.call(args)


if __name__ == "__main__":
    main()
