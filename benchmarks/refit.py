"""Seconds of the refit of a whole circuit from a trained network, and what the machine gives at that hour.

    lobula run fly-noise-free --until train --out runs/free
    OMP_NUM_THREADS=2 python benchmarks/refit.py runs/free --frames 32000

As the last step of `recover`: the network is tabulated over the voltages that were visited, and all equations are
solved, once with every frame counted and once more with frames counted by how long residuals last
(`regression/redundancy.py`). Without the second solution in turns. Target observed. Nothing else should run.
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

import lobula
from lobula import pipeline
from lobula.bench.hardware import copy_rate, gemm_rate
from lobula.data import Recording
from lobula.data.atomic import atomic_write_json
from lobula.data.provenance import device_facts, versions
from lobula.errors import LobulaError
from lobula.models import message_function
from lobula.regression import fit_circuit
from lobula.regression.tabulate import tabulate


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory with a trained network")
    parser.add_argument("--frames", type=int, default=32_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file; default: benchmarks/results/speed/<date>-refit.json")
    args = parser.parse_args()
    config, store = lobula.load_config(str(args.run / "config.yaml")), args.run / "recording.zarr"
    recording = Recording.open(store)
    model, wiring = pipeline.load_model(recording, config, args.run / "models" / "gnn"), recording.wiring
    turns = []
    for _ in range(args.repeats):
        for second in (True, False):
            rates, began = {"gemm_gflops": gemm_rate(), "copy_gb_s": copy_rate()}, time.perf_counter()
            split = Recording.open(store)["train"]  # without what an earlier turn has read
            table = tabulate(message_function(model), split.visited_range)
            tabulated = time.perf_counter() - began
            fit_circuit(split, wiring, table, "observed", args.frames, correlated=second)
            seconds = time.perf_counter() - began
            turns.append({"second_solution": second, "seconds": seconds, "table_seconds": tabulated, **rates})
            print(turns[-1], flush=True)
    about = {"neurons": wiring.n_neurons, "edges": wiring.n_edges, "frames": args.frames}
    about |= {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_facts(),
        "versions": versions(),
    }
    out = args.out or Path(__file__).parent / "results" / "speed" / f"{datetime.now(UTC):%Y-%m-%d}-refit.json"
    atomic_write_json(out, about | {"turns": turns})
    print(out)


if __name__ == "__main__":
    try:
        main()
    except LobulaError as error:
        raise SystemExit(f"error: {error}") from None
