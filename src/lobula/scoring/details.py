"""Scores in detail, as tables beside scores.json: by cell type, by size of weight, by neuron, by step of a rollout."""

from pathlib import Path

import pandas as pd

from lobula.data.atomic import atomic_write_bytes
from lobula.data.estimates import Estimates
from lobula.metrics.by_type import compare_groups, compare_sizes
from lobula.simulation.truth import Truth


def type_table(estimates: Estimates, truth: Truth) -> pd.DataFrame:
    """One row per cell type and quantity: the weights of its inputs and of its outputs, time constants, rests.

    Returns:
        Columns cell_type, quantity ("W in", "W out", "tau", "v_rest"), n, n_nonfinite, true_mean, learned_mean, rmse,
        slope, fit_r2.
    """
    circuit, neurons = truth.connectome, estimates.neurons
    names, kind, wiring = circuit.cell_type_names, circuit.cell_type, circuit.wiring
    weight = estimates.edges["weight"].to_numpy()
    pairs = {
        "W in": (circuit.weight, weight, kind[wiring.post]),
        "W out": (circuit.weight, weight, kind[wiring.pre]),
        "tau": (circuit.tau, neurons["tau"].to_numpy(), kind),
        "v_rest": (circuit.v_rest, neurons["v_rest"].to_numpy(), kind),
    }
    tables = []
    for quantity, (true, learned, group) in pairs.items():
        table = compare_groups(true, learned, group, len(names))
        table.insert(0, "quantity", quantity)
        table.insert(0, "cell_type", list(names))
        tables.append(table[table["n"] > 0])
    return pd.concat(tables, ignore_index=True)


def size_table(estimates: Estimates, truth: Truth) -> pd.DataFrame:
    """`metrics.by_type.compare_sizes` of the weights."""
    return compare_sizes(truth.connectome.weight, estimates.edges["weight"].to_numpy())


def write_tables(folder: Path, name: str, tables: dict[str, pd.DataFrame]) -> None:
    """Writes <folder>/<name>-<table>.csv, each at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, content in tables.items():
        text = content.to_csv(index=False, float_format="%.6g")
        atomic_write_bytes(folder / f"{name}-{table}.csv", text.encode())
