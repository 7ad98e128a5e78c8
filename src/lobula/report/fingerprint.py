"""The figures of a run that a check compares: its scores, and what they may hide of training and estimates.

A score can be blind to a fault: a doubled penalty or an embedding that never moved may cost nothing that a score sees.
So a check also looks at the training's losses at fixed steps, at the size of the estimates, and at how far the
embedding went.
"""

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.errors import MissingInputError, StoreError
from lobula.metrics import QUANTITIES, Direction, Quantity, rungs_of
from lobula.training import new_model, new_penalties

_LOSSES = ("loss", "prediction", "validation")
_NO_FIGURES = ("epoch", "iteration", "phase", "connectivity_r2", "vrest_r2", "tau_r2")  # names, and online scores
_ESTIMATES = (
    Quantity("weight_mean", "mean weight", "same", 0.002, 0.1),
    Quantity("weight_abs_mean", "mean absolute weight", "same", 0.002, 0.05),
    Quantity("tau_median", "median tau [s]", "same", 0.0, 0.05),
    Quantity("v_rest_median", "median V_rest", "same", 0.01, 0.05),
    Quantity("message_rms", "size of the message curve", "same", 0.0, 0.05),
    Quantity("residual_std", "median residual", "lower", 0.0, 0.01),
    Quantity("residual_std_driven", "median residual of neurons with external input", "lower", 0.0, 0.01),
    Quantity("input_gain", "median gain q tau of the external input", "same", 0.0, 0.02),
)
_EMBEDDING = (
    Quantity("change", "median distance of a neuron's embedding from its start", "same", 0.005, 0.1),
    Quantity("spread", "standard deviation of the embeddings", "same", 0.005, 0.1),
)


@dataclass(frozen=True)
class Figure:
    """A figure of a run.

    Attributes:
        quantity: what it is; its name says which rung, for example "gnn.train.loss@40".
        value: finite.
    """

    quantity: Quantity
    value: float


def run_figures(run: Path, config: ExperimentConfig) -> dict[str, Figure]:
    """All figures of a run by name; what a run does not have, or has as no finite number, is left out.

    Args:
        run: run directory with scores.json, models/ and estimates/.
        config: its config.

    Raises:
        MissingInputError: if a stage has not run.
        StoreError: if a file cannot be read.
    """
    found = [*score_figures(run / "scores.json"), *estimate_figures(run, config)]
    if "gnn" in config.training.estimators:
        found += [*training_figures(run / "models" / "gnn" / "metrics.csv"), *network_figures(run, config)]
    return {figure.quantity.name: figure for figure in found if math.isfinite(figure.value)}


def score_figures(path: Path) -> Iterable[Figure]:
    """Figures of a scores.json, for example "gnn.W.fit_r2"."""
    try:
        scores: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise StoreError(f"{path}: cannot be read ({cause}), expected scores; run the score stage again") from cause
    for rung in rungs_of(scores):
        for quantity in QUANTITIES:
            value = quantity.of(scores[rung])
            if value is not None:
                yield Figure(_named(quantity, rung), value)


def training_figures(path: Path) -> Iterable[Figure]:
    """Loss, its parts and validation at fixed steps: first, middle and last row of the first phase, last of others.

    The first row repeats from one machine to the next; later ones depend on every rounding before them.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: does not exist, expected the log of a training; run the train stage again")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    phases: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        phases.setdefault(row["phase"], []).append(row)
    for number, members in enumerate(phases.values()):
        chosen = [0, len(members) // 2, -1] if number == 0 else [-1]
        for row in {members[k]["iteration"]: members[k] for k in chosen}.values():
            for name, text in row.items():
                if text and name not in _NO_FIGURES:
                    label = f"{name} after {row['iteration']} steps"
                    is_loss = name in _LOSSES
                    floors = (0.0, 0.05) if is_loss else (1e-4, 0.1)
                    key = f"gnn.train.{name}@{row['iteration']}"
                    better: Direction = "lower" if is_loss else "same"
                    yield Figure(Quantity(key, label, better, *floors, repeats=row is rows[0]), float(text))


def estimate_figures(run: Path, config: ExperimentConfig) -> Iterable[Figure]:
    """Sizes of what every rung recovered, for example "ridge.estimates.tau_median"; no truth needed."""
    for rung in config.training.estimators:
        estimates = Estimates.load(run / "estimates" / f"{rung}.zarr")
        weight, column = _finite(estimates.edges["weight"].to_numpy()), estimates.wiring.stimulus_column
        tau, v_rest, residual = (estimates.neurons[name].to_numpy() for name in ("tau", "v_rest", "residual_std"))
        driven = np.zeros(len(tau), dtype=bool) if column is None else column >= 0
        values = (
            weight.mean(),
            np.abs(weight).mean(),
            np.median(_finite(tau)),
            np.median(_finite(v_rest)),
            np.sqrt(np.mean(np.square(_finite(estimates.curve_message)))),
            np.median(_finite(residual)),
            np.median(_finite(residual[driven])),
            np.median(_finite((estimates.dynamics["q"] * tau)[driven])),
        )
        for quantity, value in zip(_ESTIMATES, values, strict=True):
            yield Figure(_named(quantity, f"{rung}.estimates"), float(value))


def network_figures(run: Path, config: ExperimentConfig) -> Iterable[Figure]:
    """Penalties on the untrained network, and how far its embeddings (N, D) went from there and from each other."""
    recording = Recording.open(Path(config.simulation.recording or run / "recording.zarr"))
    model = new_model(recording, config)
    penalties = new_penalties(recording, config, model)
    penalties.at_step(0, torch.device("cpu"))
    with torch.no_grad():
        parts = penalties(model, torch.from_numpy(recording["train"].voltage(0, 1)))
    for name, part in parts.items():
        label = f"{name} of the untrained network"
        yield Figure(Quantity(f"gnn.start.{name}", label, "same", 1e-6, 0.05, repeats=True), float(part))
    if not model.learns_messages:
        return
    start = model.embedding.detach().double().numpy()
    neurons = Estimates.load(run / "estimates" / "gnn.zarr").neurons
    end = neurons[[f"embedding_{d}" for d in range(start.shape[1])]].to_numpy()
    values = (np.median(np.linalg.norm(end - start, axis=1)), np.sqrt(end.var(0).sum()))
    for quantity, value in zip(_EMBEDDING, values, strict=True):
        yield Figure(_named(quantity, "gnn.embedding"), float(value))


def _named(quantity: Quantity, prefix: str) -> Quantity:
    return replace(quantity, name=f"{prefix}.{quantity.name}", label=f"{prefix.split('.')[0]} {quantity.label}")


def _finite(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    return finite if len(finite) else np.array([np.nan])
