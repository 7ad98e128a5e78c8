"""Two stages against one: does training f_theta and embeddings first, after a joint stage, help V_rest at equal cost?

    OMP_NUM_THREADS=1 python benchmarks/two_stage.py run --seeds 0 1 2 3 4
    python benchmarks/two_stage.py table
    python benchmarks/two_stage.py plot

Recipe gs-two-stage on the small fly circuit, shortened to 6,400 steps, L1 penalties off: per seed one recording, and on
it a training in two stages and one with `training.two_stage=false` of as many steps. A seed's results go to
benchmarks/results/two-stage/<name>-seed<k>.json, training by training; what is there already is skipped.
"""

import argparse
import json
import logging
import statistics
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

import lobula
from lobula import pipeline
from lobula.config import ExperimentConfig
from lobula.data.atomic import atomic_write_bytes, atomic_write_json
from lobula.data.provenance import device_facts, versions
from lobula.figures import LIGHT, training_in_phases
from lobula.metrics import curves_over_seeds, difference

logger = logging.getLogger("benchmark")
FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results" / "two-stage"
IMAGE = FOLDER.parent / "docs" / "images" / "two-stage.png"
RECIPE = "gs-two-stage"
L1_PENALTIES = ("g_phi_weight_L1", "f_theta_weight_L1", "W_L1")
SETTINGS = (
    *("connectome.extent=3", "simulation.n_frames=32000", "training.augmentation=1", "training.validation_every=320"),
    *(f"training.coeff_{name}{end}=0" for name in L1_PENALTIES for end in ("", "_rate")),
    "recovery.n_cell_types=65",
)
TRAININGS = {"two stages": True, "one stage": False}
QUANTITIES = {"vrest_r2": "V_rest", "connectivity_r2": "W", "tau_r2": "tau"}
COLUMNS = ("iteration", "phase", *QUANTITIES, "loss", "validation")
HEADER = ("fit R2", "step", "seeds", *TRAININGS, "two - one stage (95 % interval)")


def run(args: argparse.Namespace) -> None:
    """Trains what has no result yet, and writes it training by training."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        file = RESULTS / f"{args.name}-seed{seed}.json"
        begun = {"recipe": RECIPE, "overrides": [*SETTINGS, *args.set], "seed": seed}
        result = json.loads(file.read_text()) if file.exists() else begun | {"trainings": {}}
        if {key: result[key] for key in begun} != begun:
            raise SystemExit(f"{file.name}: made with other settings, expected those of this call; give it a --name")
        missing = [name for name in TRAININGS if name not in result["trainings"]]
        if not missing:
            logger.info("%s is complete, skipped", file.name)
            continue
        config = seed_config(result["overrides"], seed)
        with tempfile.TemporaryDirectory() as folder:
            pipeline.simulate(config, Path(folder) / "data", progress=False)
            for name in missing:
                result["trainings"][name] = one_training(config, TRAININGS[name], Path(folder))
                atomic_write_json(file, result)
                logger.info("%s: %s, %.0f s", file.name, name, result["trainings"][name]["train_s"])


def seed_config(overrides: Sequence[str], seed: int) -> ExperimentConfig:
    """The recipe, shortened, with one seed for everything."""
    seeds = [f"simulation.seed={seed}", f"training.seed={seed}"]
    return lobula.load_config(RECIPE, overrides=[*overrides, *seeds])


def one_training(base: ExperimentConfig, two_stage: bool, folder: Path) -> dict:
    """Scores by step and of the read-out, and the seconds that training took."""
    recording = str(folder / "data" / "recording.zarr")
    config = base.with_values({"training.two_stage": two_stage, "simulation.recording": recording})
    out = folder / f"two-stage-{two_stage}"
    pipeline.train(config, out, progress=False)
    pipeline.recover(config, out, progress=False)
    scores = pipeline.score(config, out, progress=False)
    metrics = pd.read_csv(out / "models" / "gnn" / "metrics.csv")
    result = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    result |= {"machine": device_facts(), "versions": versions()}
    result["train_s"] = json.loads((out / "run.json").read_text())["stages"]["train gnn"]["wall_s"]
    result["metrics"] = metrics.reindex(columns=COLUMNS).to_dict("list")
    return result | {"scores": scores["gnn"], "ceiling": scores["ceiling"]}


def load(name: str) -> dict[str, dict[int, pd.DataFrame]]:
    """Scores by step of every training and seed that is there."""
    found: dict[str, dict[int, pd.DataFrame]] = {training: {} for training in TRAININGS}
    for file in sorted(RESULTS.glob(f"{name}-seed*.json")):
        result = json.loads(file.read_text())
        for training, content in result["trainings"].items():
            found[training][result["seed"]] = pd.DataFrame(content["metrics"])
    if not all(found.values()):
        raise SystemExit(f"{RESULTS / name}-seed*.json: expected results of both trainings; `run` them first")
    return found


def table(args: argparse.Namespace) -> None:
    """Markdown: median and range over seeds at the end of the joint stage, half way from there, and at the end."""
    results = load(args.name)
    print(f"| {' | '.join(HEADER)} |")
    print("|---" * len(HEADER) + "|")
    for quantity, label in QUANTITIES.items():
        for step, place in moments(next(iter(results["two stages"].values()))):
            values = {training: at_step(runs, quantity, step) for training, runs in results.items()}
            print(f"| {' | '.join(row(label, place, values))} |")


def moments(metrics: pd.DataFrame) -> list[tuple[int, str]]:
    """Steps of the table, with a word on each."""
    steps = metrics["iteration"]
    joint, last = int(steps[metrics["phase"] == "joint"].max()), int(steps.max())
    middle = int(steps.iloc[(steps - (joint + last) / 2).abs().argmin()])
    return [(joint, f"{joint:,} (end of joint)"), (middle, f"{middle:,}"), (last, f"{last:,}")]


def at_step(runs: dict[int, pd.DataFrame], quantity: str, step: int) -> dict[int, float]:
    """A score by seed."""
    values = {
        seed: metrics.set_index("iteration")[quantity].astype(float).get(step, np.nan) for seed, metrics in runs.items()
    }
    return {seed: float(value) for seed, value in values.items() if np.isfinite(value)}


def row(label: str, place: str, values: dict[str, dict[int, float]]) -> list[str]:
    """One line: medians with ranges, and the mean difference over seeds."""
    cells = [
        f"{statistics.median(v.values()):.3f} [{min(v.values()):.3f}, {max(v.values()):.3f}]" if v else "-"
        for v in values.values()
    ]
    found = difference(values["one stage"], values["two stages"])
    gain = "-" if found is None else f"{found.mean:+.3f}"
    if found is not None and found.low is not None:
        gain += f" ({found.low:+.3f} to {found.high:+.3f})"
    return [label, place, str(min(len(v) for v in values.values())), *cells, gain]


def plot(args: argparse.Namespace) -> None:
    """The trainings by step: median and range over seeds."""
    curves = {name: curves_over_seeds(list(runs.values()), list(QUANTITIES)) for name, runs in load(args.name).items()}
    figure, _ = training_in_phases(curves, LIGHT)
    atomic_write_bytes(args.out, LIGHT.save(figure, "png"))
    print(args.out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("run", help="train and score")
    fit.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    fit.add_argument("--set", action="append", default=[], help="further settings, with a --name of their own")
    fit.set_defaults(call=run)
    show = commands.add_parser("table", help="print the table")
    show.set_defaults(call=table)
    draw = commands.add_parser("plot", help="draw the figure")
    draw.add_argument("--out", type=Path, default=IMAGE)
    draw.set_defaults(call=plot)
    for command in (fit, show, draw):
        command.add_argument("--name", default="fly-small")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.call(args)


if __name__ == "__main__":
    main()
