"""Recovery over seeds: simulate once per seed, fit every rung to both targets, score beside the ceiling.

    python benchmarks/recovery.py run --name sigma-005 --set simulation.process_noise=0.05 --seeds 0 1 2 3 4
    python benchmarks/recovery.py table sigma-005 sigma-05 sigma-0
    python benchmarks/recovery.py changes FOLDER        # of the same files, made with other code
    python benchmarks/recovery.py published

Results go to benchmarks/results/recovery/<name>-seed<k>.json, one file per seed, with machine and versions; what
is there already is skipped, estimator by estimator. Recordings live in a temporary directory and are deleted.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import lobula
from lobula import pipeline
from lobula.data.provenance import device_facts, versions
from lobula.data.recording import Recording
from lobula.kernels import get_activation
from lobula.metrics import compare_weights, rung_label
from lobula.recovery.tables import IDENTIFIABLE_RESOLUTION
from lobula.regression import accumulate, solve
from lobula.regression.ridge import SILENT_STD
from lobula.simulation.truth import Truth

logger = logging.getLogger("benchmark")
RESULTS = Path(__file__).parent / "results" / "recovery"
HEADER = (
    *("setting", "target", "rung", "seeds", "W fit R2", "slope", "W, identifiable (share)", "tau", "V_rest"),
    "largest gap to ceiling",
)
RUNGS = ("ceiling", "ridge-standardised", "ridge", "spline", "gnn")
QUANTITIES = ("W", "tau", "v_rest")
PUBLISHED = {
    "0": (".926", ".528", ".088", "-", ".997"),
    ".05": (".985", ".989", ".310", ".887", ".779"),
    ".5": (".990", "1.000", ".789", ".91", ".173"),
}
"""By process noise: fit R2 of W, tau and V_rest, accuracy of cell types, rollout r; full size, drift, 128,000 steps."""
OURS = {
    "0": ("gs-noise-free", "sigma-0", "full-000-sigma-0"),
    ".05": ("gs", "sigma-005", "full-000-sigma-005"),
    ".5": ("gs-noise-05", "sigma-05", "full-000-sigma-05"),
}
"""By process noise: results of the published protocol and of our defaults on the small circuit, and of our defaults on
the whole with the published parameters."""


def run(args: argparse.Namespace) -> None:
    """Fits and scores every seed, target and estimator that has no result yet."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        file = RESULTS / f"{args.name}-seed{seed}.json"
        known = json.loads(file.read_text()) if file.exists() else {"targets": {}}
        missing = {t: [e for e in args.estimators if e not in known["targets"].get(t, {})] for t in args.targets}
        missing = {target: names for target, names in missing.items() if names}
        if not missing:
            logger.info("%s is complete, skipped", file.name)
            continue
        with tempfile.TemporaryDirectory() as folder:
            result = one_seed(args, seed, missing, Path(folder))
        result["targets"] = {
            target: merged(known["targets"].get(target, {}), result["targets"].get(target, {}))
            for target in dict.fromkeys([*known["targets"], *result["targets"]])
        }
        file.write_text(json.dumps(result, indent=1) + "\n")
        logger.info("wrote %s", file.name)


def merged(old: dict, new: dict) -> dict:
    """Scores of one target from two calls; the ceiling is the same computation in both."""
    return old | new | {"wall_s": old.get("wall_s", {}) | new.get("wall_s", {})}


def one_seed(args: argparse.Namespace, seed: int, missing: dict[str, list[str]], folder: Path) -> dict:
    """The missing rungs and targets on one recording."""
    seeds = [f"simulation.seed={seed}", f"training.seed={seed}"]
    base = lobula.load_config(args.recipe, overrides=[*seeds, *args.set])
    pipeline.simulate(base, folder / "data", progress=False)
    result: dict = {"name": args.name, "recipe": args.recipe, "overrides": args.set, "seed": seed, "targets": {}}
    result |= {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_facts(),
        "versions": versions(),
    }
    for target, estimators in missing.items():
        values = {"training.target": target, "simulation.recording": str(folder / "data" / "recording.zarr")}
        config = base.with_values({**values, "training.estimators": estimators})
        out, began = folder / target, time.perf_counter()
        pipeline.train(config, out, progress=False)
        pipeline.recover(config, out, progress=False)
        scores = pipeline.score(config, out, progress=False)
        stages = json.loads((out / "run.json").read_text())["stages"]
        scores["ridge-standardised"] = {"W": standardised_ridge(folder / "data", target)}
        scores["wall_s"] = {name: stage.get("wall_s") for name, stage in stages.items()}
        result["targets"][target] = scores
        logger.info("%s seed %d %s: %.0f s", args.name, seed, target, time.perf_counter() - began)
    return result


def standardised_ridge(data: Path, target: str) -> dict:
    """Scores of W by the usual baseline: relu assumed, regressors scaled to standard deviation 1, evidence ridge.

    The usual prior; the ridge rung does better because its own sits on the weights.
    """
    recording, truth = Recording.open(data / "recording.zarr"), Truth.load(data / "truth.zarr")
    wiring = recording.wiring
    grams = accumulate(recording["train"], wiring, get_activation("relu"), target)
    scale = 1.0 / np.maximum(grams.message_std, SILENT_STD)
    scaled = []
    for i, gram in enumerate(grams.grams):
        inputs = wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]]
        factor = np.concatenate([scale[inputs], np.ones(len(gram) - len(inputs))])
        scaled.append(gram * factor[:, None] * factor)
    circuit = solve(replace(grams, grams=scaled), wiring)
    weight = circuit.weight(wiring) * scale[wiring.pre]
    return compare_weights(truth.connectome.weight, weight, circuit.resolution >= IDENTIFIABLE_RESOLUTION)


def table(args: argparse.Namespace) -> None:
    """Markdown: median and worst over seeds, per rung and target, beside the ceiling."""
    print(f"| {' | '.join(HEADER)} |")
    print("|---" * len(HEADER) + "|")
    for name in args.names:
        files = sorted(RESULTS.glob(f"{name}-seed*.json"))
        results = [json.loads(f.read_text()) for f in files]
        for target in ("observed", "drift"):
            scores = [r["targets"][target] for r in results if target in r["targets"]]
            for rung in RUNGS:
                rows = [s for s in scores if s.get(rung)]
                if rows:
                    print(row(name, target, rung, rows))


def row(name: str, target: str, rung: str, rows: list[dict]) -> str:
    """One line: median (worst) of every figure."""

    def spread(values: list[float]) -> str:
        return f"{statistics.median(values):.4f} ({min(values):.4f})"

    slopes = [r[rung]["W"]["slope"] for r in rows]
    known = [r[rung]["W"]["identifiable"]["fit_r2"] for r in rows]
    share = statistics.median(r[rung]["W"]["identifiable"]["share"] for r in rows)
    known_of = [q for q in QUANTITIES if q in rows[0][rung]]
    cells = [spread([r[rung][q]["fit_r2"] for r in rows]) if q in known_of else "-" for q in QUANTITIES]
    gap = "-"
    if rung != "ceiling":
        gap = f"{max(r['ceiling'][q]['fit_r2'] - r[rung][q]['fit_r2'] for r in rows for q in known_of):.4f}"
    slope = f"{statistics.median(slopes):.3f} [{min(slopes):.3f}, {max(slopes):.3f}]"
    identifiable = f"{spread(known)} ({100 * share:.1f} %)"
    line = [
        name,
        target,
        rung_label(rows[0], rung),
        str(len(rows)),
        cells[0],
        slope,
        identifiable,
        cells[1],
        cells[2],
        gap,
    ]
    return f"| {' | '.join(line)} |"


def changes(args: argparse.Namespace) -> None:
    """Markdown: by setting, target and rung, the fit R2 of later runs less the stored ones of the same seeds."""
    print("| setting | target | rung | seeds | change of W, largest fall | tau | V_rest | cell types |")
    print("|---" * 8 + "|")
    found: dict[tuple[str, str, str], list[tuple[dict, dict]]] = {}
    for file in sorted(args.folder.glob("*-seed*.json")):
        new, old = json.loads(file.read_text()), json.loads((RESULTS / file.name).read_text())
        for target, scores in new["targets"].items():
            before = old["targets"].get(target, {})
            for rung in RUNGS:
                if scores.get(rung) and before.get(rung):
                    key = (file.name.rpartition("-seed")[0], target, rung)
                    found.setdefault(key, []).append((before[rung], scores[rung]))
    for (name, target, rung), pairs in found.items():
        cells = [_fall([(old[q]["fit_r2"], new[q]["fit_r2"]) for old, new in pairs if q in new]) for q in QUANTITIES]
        types = [tuple(s.get("cell_types", {}).get("accuracy") for s in pair) for pair in pairs]
        cells.append(_fall([pair for pair in types if None not in pair]))
        print(f"| {name} | {target} | {rung} | {len(pairs)} | {' | '.join(cells)} |")


def published(_: argparse.Namespace) -> None:
    """Markdown: published figures, the published protocol here, and our defaults, both targets; median (worst)."""
    print("| sigma | | target | seeds | W fit R2 | tau | V_rest | cell types | rollout r |")
    print("|---" * 9 + "|")
    for sigma, figures in PUBLISHED.items():
        print(f"| {sigma} | published, full size | drift | | {' | '.join(figures)} |")
        protocol, small, whole = OURS[sigma]
        print(brief(sigma, "gnn, full size", whole, "drift", "gnn"), end="")
        print(brief(sigma, "gnn from the spline, full size", f"{whole}-warm", "drift", "gnn"), end="")
        print(brief(sigma, "spline, full size", f"{whole}-warm", "drift", "spline"), end="")
        for rung in ("ridge", "ceiling"):
            print(brief(sigma, f"{rung}, full size", whole, "drift", rung), end="")
        print(brief(sigma, "published protocol here", protocol, "drift", "gnn"), end="")
        for target in ("drift", "observed"):
            for rung in ("gnn", "spline", "ridge", "ceiling"):
                print(brief(sigma, rung, small, target, rung), end="")


def brief(sigma: str, label: str, name: str, target: str, rung: str) -> str:
    """One line of `published`; nothing where there are no results."""
    files = sorted(RESULTS.glob(f"{name}-seed*.json"))
    scores = [json.loads(file.read_text())["targets"].get(target, {}).get(rung) for file in files]
    rows = [s for s in scores if s]
    if not rows:
        return ""
    columns = [[r[q]["fit_r2"] for r in rows] for q in QUANTITIES]
    if rung != "ceiling":
        columns += [[r["cell_types"]["accuracy"] for r in rows], [r["prediction"]["rollout_pearson"] for r in rows]]
    cells = [f"{statistics.median(c):.4f} ({min(c):.4f})" for c in columns]
    cells += ["-"] * (5 - len(cells))
    return f"| {sigma} | {label} | {target} | {len(rows)} | {' | '.join(cells)} |\n"


def _fall(pairs: list[tuple[float, float]]) -> str:
    """Median change, and the largest fall."""
    differences = [new - old for old, new in pairs]
    return f"{statistics.median(differences):+.4f} ({min(differences):+.4f})" if differences else "-"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("run", help="fit and score")
    fit.add_argument("--name", required=True)
    fit.add_argument("--recipe", default="fly-small")
    fit.add_argument("--set", action="append", default=[])
    fit.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    fit.add_argument("--estimators", nargs="+", default=["ridge", "spline", "gnn"])
    fit.add_argument("--targets", nargs="+", default=["observed", "drift"])
    fit.set_defaults(call=run)
    show = commands.add_parser("table", help="print the table")
    show.add_argument("names", nargs="+")
    show.set_defaults(call=table)
    compare = commands.add_parser("changes", help="compare later results with the stored ones")
    compare.add_argument("folder", type=Path)
    compare.set_defaults(call=changes)
    commands.add_parser("published", help="print the table beside published figures").set_defaults(call=published)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.call(args)


if __name__ == "__main__":
    main()
