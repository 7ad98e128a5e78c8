"""The closed-form rungs as a train stage: fit, and keep what recovery needs."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lobula.config.experiment import ExperimentConfig
from lobula.data.recording import Recording
from lobula.errors import ConfigError, MissingInputError, StoreError
from lobula.kernels import get_activation
from lobula.regression import LinearCircuit, PiecewiseLinear, SplineFit, fit_circuit, fit_spline, solver_for
from lobula.regression.update_form import prepare
from lobula.training.distributed import process_device
from lobula.training.own_messages import fit_own_messages, load_own


def train_ridge(
    recording: Recording, config: ExperimentConfig, out: Path, on_block: Callable[[int], None] | None = None
) -> LinearCircuit:
    """Evidence ridge with the message function that section `ridge` assumes; writes circuit.npz."""
    message = get_activation(config.ridge.activation)
    frames, target = recording["train"], config.training.target
    device = process_device(config.training.device)
    form = prepare(config.update.form, frames, recording.wiring, target, config.update.n_knots)
    most, solver = config.ridge.max_frames, solver_for(config.prior, recording)
    circuit = fit_circuit(frames, form.wiring, message, target, most, on_block, device, form.own, solver)
    circuit = form.finish(circuit, message)
    out.mkdir(parents=True, exist_ok=True)
    circuit.save(out / "circuit.npz")
    return circuit


def train_spline(
    recording: Recording,
    config: ExperimentConfig,
    out: Path,
    on_round: Callable[[int, float], None] = lambda round_, score: None,
) -> SplineFit:
    """Circuit and message function, of all neurons or also of groups; writes circuit.npz, curve.npz and history.csv."""
    settings, frames = config.spline, recording["train"]
    check_sharing(config)
    form = prepare(config.update.form, frames, recording.wiring, config.training.target, config.update.n_knots)
    fit = fit_spline(
        frames,
        form.wiring,
        target=config.training.target,
        n_knots=settings.n_knots,
        n_rounds=settings.n_rounds,
        max_frames=settings.max_frames,
        curve_frames=settings.curve_frames,
        curve_neurons=settings.curve_neurons,
        monotone=settings.monotone,
        tolerance=settings.tolerance,
        on_round=on_round,
        own=form.own,
        start=settings.start,
        basis=settings.basis,
        solver=solver_for(config.prior, recording),
    )
    fit = replace(fit, circuit=form.finish(fit.circuit, fit.curve))
    out.mkdir(parents=True, exist_ok=True)
    fit.circuit.save(out / "circuit.npz")
    with (out / "curve.npz").open("wb") as file:
        np.savez(file, knots=fit.curve.knots, values=fit.curve.values, visited=np.array(fit.visited))
    with (out / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(fit.history[0]))
        writer.writeheader()
        writer.writerows(fit.history)
    if settings.sharing == "all":
        return fit
    return replace(fit, own=fit_own_messages(recording, config, fit, out, on_round))


def check_sharing(config: ExperimentConfig) -> None:
    """Check that functions of groups are asked for only where they are implemented.

    Raises:
        ConfigError: with own terms of the update, or a prior on the weights.
    """
    if config.spline.sharing != "all" and (config.update.form != "linear" or config.prior.is_active):
        raise ConfigError(
            f"spline.sharing: got {config.spline.sharing} with update.form={config.update.form} and prior "
            f"{config.prior.label or 'off'}, expected update.form=linear and no prior; or set spline.sharing=all"
        )


def load_spline(out: Path) -> SplineFit:
    """Reads what `train_spline` wrote.

    Raises:
        MissingInputError: if there is nothing.
        StoreError: if a file is truncated.
    """
    path = out / "curve.npz"
    if not path.exists():
        raise MissingInputError(f"spline: {path} does not exist; run the train stage with estimator spline first")
    try:
        with np.load(path) as arrays:
            curve = PiecewiseLinear(arrays["knots"], arrays["values"])
            low, high = (float(x) for x in arrays["visited"])
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"spline: {path} is truncated or foreign ({type(error).__name__}); train again") from error
    return SplineFit(LinearCircuit.load(out / "circuit.npz"), curve, (low, high), own=load_own(out))
