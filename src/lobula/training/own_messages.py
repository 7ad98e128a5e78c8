"""Message functions of cell types or of neurons, kept where they predict held-out frames better than one for all.

Cell types are clusters of what the shared fit recovered (`recovery.cell_types`): no truth, and no labels, are needed.
"""

import json
import logging
from pathlib import Path

import numpy as np

from lobula.config.experiment import ExperimentConfig
from lobula.data.atomic import atomic_write_json
from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.recording import Recording
from lobula.recovery.cell_types import find_cell_types, neuron_features
from lobula.regression import LinearCircuit, SplineFit
from lobula.regression.held_out import circuit_predictor, held_out_errors
from lobula.regression.own_curves import GroupCurves, OwnFit, fit_own_curves
from lobula.training.curve_files import load_curves, save_curves

logger = logging.getLogger(__name__)

LEAST_GAIN = 5e-3
"""Of the held-out log error: below, own functions fitted noise as readily as sources, and weights became worse."""
CIRCUIT, CURVES, FACTS = "own_circuit.npz", "own_curves.npz", "sharing.json"


def fit_own_messages(
    recording: Recording,
    config: ExperimentConfig,
    shared: SplineFit,
    out: Path,
    steps: KeptSteps = NOT_KEPT,
) -> OwnFit | None:
    """Fits a function per group of sources, by `spline.sharing`; writes it, and sharing.json on what came of it.

    Returns:
        The fit, or None if held-out frames are not predicted better than with one function for all, by half a percent
        of the squared error and one standard error over the neurons.
    """
    settings, wiring, target = config.spline, recording.wiring, config.training.target
    group = source_groups(recording, config, shared)
    own = fit_own_curves(
        recording["train"], wiring, shared.curve, group, target,
        n_knots=settings.own_knots, n_rounds=settings.n_rounds, max_frames=settings.max_frames,
        curve_frames=settings.curve_frames, curve_neurons=settings.curve_neurons, monotone=settings.monotone,
        tolerance=settings.tolerance, steps=steps,
    )  # fmt: skip
    before, after = (
        held_out_errors(circuit_predictor(circuit, message, wiring), recording["validation"], wiring, target)
        for circuit, message in ((shared.circuit, shared.curve), (own.circuit, own.curves))
    )
    gain = before - after
    kept = bool(own.is_own.any() and gain.mean() > max(gain.std() / np.sqrt(len(gain)), LEAST_GAIN))
    facts: dict[str, object] = {"asked": settings.sharing, "kept": kept}
    facts |= {"n_groups": len(own.is_own), "n_own": int(own.is_own.sum())}
    facts |= {"held_out_log_error_shared": float(before.mean()), "held_out_log_error_own": float(after.mean())}
    logger.info(
        "message functions: %d of %d groups have their own, held-out error %.5f against %.5f with one for all: %s",
        facts["n_own"], facts["n_groups"], after.mean(), before.mean(), "kept" if kept else "one for all is kept",
    )  # fmt: skip
    if kept:
        save_own(own, out)
    atomic_write_json(out / FACTS, facts)
    return own if kept else None


def source_groups(recording: Recording, config: ExperimentConfig, shared: SplineFit) -> np.ndarray:
    """(N,) group of every neuron, 0 .. G-1: itself, or its cluster."""
    wiring, circuit = recording.wiring, shared.circuit
    if config.spline.sharing == "neuron":
        return np.arange(wiring.n_neurons)
    weight = circuit.weight(wiring)
    features = neuron_features(wiring, weight, circuit.tau, circuit.v_rest, None)
    types = find_cell_types(wiring, features, weight, config.recovery.n_cell_types)
    return np.unique(types.gmm, return_inverse=True)[1]


def save_own(own: OwnFit, out: Path) -> None:
    """Writes own_circuit.npz and own_curves.npz."""
    own.circuit.save(out / CIRCUIT)
    save_curves(out / CURVES, own.curves.curves, group=own.curves.group, is_own=own.is_own)


def load_own(out: Path) -> OwnFit | None:
    """Reads what `save_own` wrote; None if there is nothing.

    Raises:
        StoreError: if a file is truncated.
    """
    path = out / CURVES
    if not path.exists():
        return None
    curves, (group, is_own) = load_curves(path, "group", "is_own")
    return OwnFit(LinearCircuit.load(out / CIRCUIT), GroupCurves(group, curves), is_own)


def sharing_facts(out: Path) -> dict[str, object]:
    """What sharing.json says, for the notes of estimates; nothing where all neurons were to share one function."""
    path = out / FACTS
    return {"sharing": json.loads(path.read_text())} if path.exists() else {}
