"""The closed-form rungs as a train stage: fit, and keep what recovery needs."""

import csv
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lobula.config.experiment import ExperimentConfig
from lobula.data.atomic import atomic_write_bytes
from lobula.data.kept_steps import KeptSteps
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, MissingInputError, StoreError
from lobula.kernels import get_activation
from lobula.regression import LinearCircuit, PiecewiseLinear, SplineFit, fit_circuit, fit_spline, solver_for
from lobula.regression.changing_curve import Search, fit_changing_spline
from lobula.regression.curve_set import TypedFit
from lobula.regression.edge_messages import GroupMessages, MessageFunction
from lobula.regression.receiver_curves import fit_receiver_curves
from lobula.regression.thinned import Thinned
from lobula.regression.update_form import Prepared, prepare
from lobula.regression.varying import Change, fit_changing
from lobula.regression.widths import Widths, find_widths
from lobula.training.distributed import process_device
from lobula.training.own_messages import fit_own_messages, load_own
from lobula.training.typed_messages import all_pairs, fit_typed_messages, load_typed, save_typed

ROUNDS, WIDTHS = "rounds.npy", "widths.npz"


def train_ridge(
    recording: Recording, config: ExperimentConfig, out: Path, on_block: Callable[[int], None] | None = None
) -> LinearCircuit:
    """Evidence ridge with the message function that section `ridge` assumes; writes circuit.npz."""
    shape = get_activation(config.ridge.activation)
    message: MessageFunction | GroupMessages = shape
    frames, target = recording["train"], config.training.target
    device = process_device(config.training.device)
    form = prepare(config.update.form, frames, recording.wiring, target, config.update.n_knots)
    most, solver, update = config.ridge.max_frames, solver_for(config.prior, recording), config.update
    if update.varying == "none":
        circuit = fit_circuit(frames, form.wiring, message, target, most, on_block, device, form.own, solver)
    else:
        if config.ridge.widths == "receiver":
            widths = find_widths(frames, form.wiring, shape, target, form.own)
            out.mkdir(parents=True, exist_ok=True)
            widths.save(out / WIDTHS)
            message = widths.messages(shape)
        change = Change(update.varying, update.drift_period)
        circuit = fit_changing(frames, form.wiring, message, change, target, most, form.own)
    circuit = form.finish(circuit, message)
    out.mkdir(parents=True, exist_ok=True)
    circuit.save(out / "circuit.npz")
    return circuit


def ridge_messages(config: ExperimentConfig, out: Path) -> MessageFunction | GroupMessages:
    """The messages of what `train_ridge` wrote.

    Raises:
        StoreError: if a file is truncated.
    """
    shape = get_activation(config.ridge.activation)
    return Widths.load(out / WIDTHS).messages(shape) if config.ridge.widths == "receiver" else shape


def train_spline(
    recording: Recording,
    config: ExperimentConfig,
    out: Path,
    on_round: Callable[[int, float], None] = lambda round_, score: None,
) -> SplineFit:
    """Circuit and message function, of all neurons or also of groups; writes circuit.npz, curve.npz and history.csv.

    Rounds are kept in rounds.npy: called again after it was killed, with the same inputs, a fit goes on after the last.
    """
    steps = KeptSteps(out / ROUNDS, _inputs(recording, config), on_round)
    settings, frames, target = config.spline, recording["train"], config.training.target
    check_sharing(config, recording.wiring)
    form = prepare(config.update.form, frames, recording.wiring, target, config.update.n_knots)
    update = config.update
    if update.varying == "none":
        fit = _spline(recording, config, form, steps)
    else:
        search = Search.of(frames, target, Change(update.varying, update.drift_period), form.own, settings)
        fitted = fit_receiver_curves if settings.sharing == "receiver" else fit_changing_spline
        fit = fitted(search, form.wiring, steps)
    fit = replace(fit, circuit=form.finish(fit.circuit, fit.curve))
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(fit.own, TypedFit):  # of receivers, found together
        own = replace(fit.own, circuit=form.finish(fit.own.circuit, fit.own.curves))
        save_typed(own, out)
        fit = replace(fit, own=own)
    elif settings.sharing != "all" and is_typed(config, recording.wiring):
        fit = replace(fit, own=fit_typed_messages(recording, config, fit, form, out, steps))
    elif settings.sharing != "all":
        fit = replace(fit, own=fit_own_messages(recording, config, fit, out, steps))
    _save(fit, out)
    return fit


def _inputs(recording: Recording, config: ExperimentConfig) -> str:
    """A digest of what the rounds of a spline follow from."""
    frames, wiring = recording["train"], recording.wiring
    settings = config.digest("spline", "update", "prior", "recovery"), config.training.target
    digest = hashlib.sha256(repr((*settings, frames.n_frames, frames.dt)).encode())
    last = frames.n_frames - 1
    for array in (wiring.pre, wiring.post, frames.voltage(0, 1), frames.voltage(last, last + 1)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _save(fit: SplineFit, out: Path) -> None:
    """Writes what all neurons share; curve.npz last, as it says that the fit is whole."""
    fit.circuit.save(out / "circuit.npz")
    with (out / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in fit.history for name in row)))
        writer.writeheader()
        writer.writerows(fit.history)
    buffer = io.BytesIO()
    np.savez(buffer, knots=fit.curve.knots, values=fit.curve.values, visited=np.array(fit.visited))
    atomic_write_bytes(out / "curve.npz", buffer.getvalue())


def _spline(recording: Recording, config: ExperimentConfig, form: Prepared, steps: KeptSteps) -> SplineFit:
    """One message function of all neurons, of a circuit that stays the same."""
    settings, frames, target = config.spline, recording["train"], config.training.target
    return fit_spline(
        frames,
        form.wiring,
        target=target,
        n_knots=settings.n_knots,
        n_rounds=settings.n_rounds,
        max_frames=settings.max_frames,
        curve_frames=settings.curve_frames,
        curve_neurons=settings.curve_neurons,
        monotone=settings.monotone,
        tolerance=settings.tolerance,
        steps=steps,
        own=form.own,
        start=settings.start,
        basis=settings.basis,
        solver=solver_for(config.prior, recording),
        curve_source=Thinned.to(frames, target, settings.curve_frames) if is_typed(config, form.wiring) else None,
    )


def is_typed(config: ExperimentConfig, wiring: Wiring) -> bool:
    """Whether functions of groups are those of `typed_messages`: of densely connected circuits, with own terms."""
    kind, absolute = config.spline.sharing, config.update.weights == "absolute"
    return kind == "pair" or (kind == "type" and absolute and (config.update.form != "linear" or all_pairs(wiring)))


def check_sharing(config: ExperimentConfig, wiring: Wiring) -> None:
    """Check that functions of groups are asked for only where they are implemented.

    Raises:
        ConfigError: with own terms of the update where not all pairs are connected, or a prior on the weights.
    """
    sharing, form, weights = config.spline.sharing, config.update.form, config.update.weights
    if sharing in ("all", "receiver"):
        return
    if config.prior.is_active:
        raise ConfigError(
            f"spline.sharing: got {sharing} with prior {config.prior.label}, expected none; or set spline.sharing=all"
        )
    if sharing == "pair" and weights != "absolute":
        raise ConfigError(
            f"spline.sharing: got pair with update.weights={weights}, expected update.weights=absolute: functions that "
            "depend on the receiver have a unit for each"
        )
    if form != "linear" and not is_typed(config, wiring):
        raise ConfigError(
            f"spline.sharing: got {sharing} with update.form={form} and update.weights={weights}, expected "
            "update.form=linear, or sharing type or pair with update.weights=absolute; or set spline.sharing=all"
        )
    if is_typed(config, wiring) and not all_pairs(wiring):
        raise ConfigError(
            f"spline.sharing: got {sharing} with update.form={form} and {wiring.n_edges:,} connections of "
            f"{wiring.n_neurons:,} neurons, expected all pairs of them; set spline.sharing=all, or update.form=linear "
            "and sharing=type"
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
    return SplineFit(LinearCircuit.load(out / "circuit.npz"), curve, (low, high), own=load_typed(out) or load_own(out))
