"""From a fitted model to estimates of the circuit. Sees the recording and the model, never the truth."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lobula.config.prior import PriorConfig
from lobula.config.recovery import RecoveryConfig
from lobula.config.update import UpdateConfig
from lobula.data.estimates import DYNAMICS, Estimates
from lobula.data.pair_table import PairTable
from lobula.data.recording import Recording
from lobula.data.split import Split
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError
from lobula.models import GraphNetwork, learned_messages, message_function
from lobula.models.low_rank import low_rank
from lobula.recovery.curvature import curvature_left
from lobula.recovery.gauge import Gauge, find_gauge, range_gauge, sample_voltage, shared_gauge
from lobula.recovery.linearise import (
    Slopes,
    affine_r2,
    on_distribution,
    own_curves,
    own_line,
    reference,
    rest_from,
    visited_frames,
    weights_from,
)
from lobula.recovery.pair_gauge import find_pair_gauge
from lobula.recovery.tables import curve_table, edge_table, neuron_table, shared_table
from lobula.regression.curve import PiecewiseLinear
from lobula.regression.edge_messages import EdgeMessages, GroupMessages, MessageFunction, Messages, columns_of
from lobula.regression.fit import fit_circuit
from lobula.regression.held_out import Predictor, circuit_predictor, held_out_error
from lobula.regression.latent import fit_low_rank
from lobula.regression.prior import solver_for
from lobula.regression.ridge import LinearCircuit
from lobula.regression.spline import SplineFit
from lobula.regression.update_form import prepare
from lobula.regression.varying import Change, fit_changing

logger = logging.getLogger(__name__)

WORSE = 0.02
TABLE_POINTS = 1025
PER_LEAK = UpdateConfig()
NO_PRIOR = PriorConfig()


def recover_circuit(
    recording: Recording,
    circuit: LinearCircuit,
    message: MessageFunction | GroupMessages,
    method: str,
    target: str,
    config: RecoveryConfig,
    curve: PiecewiseLinear | None = None,
    embedding: np.ndarray | None = None,
    notes: dict[str, Any] | None = None,
    weight: np.ndarray | None = None,
    v_rest: np.ndarray | None = None,
    update: UpdateConfig = PER_LEAK,
    pair: PairTable | None = None,
) -> Estimates:
    """Estimates from a circuit that was solved with some message function.

    Args:
        recording: what was recorded.
        circuit: coefficients.
        message: its message function, (T, N) -> (T, N), or one per group of receivers.
        method: "ridge", "spline" or "gnn".
        target: "observed" or "drift".
        config: section `recovery`.
        curve: the message function, if one curve serves all neurons; else it is tabulated neuron by neuron.
        embedding: (N, D), if the model has one.
        notes: further facts for the estimates.
        weight, v_rest: (E,), (N,) instead of the circuit's own, from another read-out.
        update: section `update`.
        pair: the message function of both ends of an edge, if there is one; ``curve`` is then its mean over targets.
    """
    wiring, voltage = recording.wiring, sample_voltage(recording["train"])
    absolute, receiver = update.weights == "absolute", message.group if isinstance(message, GroupMessages) else None
    is_shared = (method == "ridge" and receiver is None) or curve is not None
    gauge = gauge_of(recording["train"], voltage, message, is_shared, method == "gnn", update)
    columns = columns_of(message, wiring)
    if weight is None:
        weight = (circuit.theta if absolute else circuit.weight(wiring)) * gauge.scale[columns]
    v_rest = rest_with_gauge(circuit, wiring, gauge, columns) if v_rest is None else v_rest
    curve = shared_table(message, voltage) if curve is None and is_shared else curve
    curve_voltage, curve_message = curve_table(curve, message, voltage)
    own, near = None if is_shared else message, message if pair is None else EdgeMessages.shared(pair)
    facts = {"visited": list(gauge.visited), "message_scale": float(np.median(gauge.scale)), **(notes or {})}
    facts |= own_voltage_notes(recording, circuit, near, target, facts)
    standing = np.asarray(message(voltage)).mean(0) - gauge.offset
    return Estimates(
        edges=edge_table(wiring, circuit, weight, gauge.scale[columns], absolute),
        neurons=neuron_table(wiring, circuit, weight, v_rest, embedding, config, voltage, standing[columns], own),
        dynamics=dynamics_of(circuit),
        curve_voltage=curve_voltage,
        curve_message=curve_message,
        wiring=wiring,
        dt=recording.dt,
        method=method,
        target=target,
        notes=facts,
        pair=pair,
        receiver=receiver,
        varying=circuit.varying,
    )


def recover_spline(
    recording: Recording,
    fit: SplineFit,
    target: str,
    config: RecoveryConfig,
    notes: dict[str, Any] | None = None,
    update: UpdateConfig = PER_LEAK,
) -> Estimates:
    """Estimates from a spline fit, with the message functions of groups where there are any."""
    rest: dict[str, Any] = {"notes": notes, "update": update}
    if fit.own is None:
        return recover_circuit(recording, fit.circuit, fit.curve, "spline", target, config, fit.curve, **rest)
    return recover_circuit(recording, fit.own.circuit, fit.own.curves, "spline", target, config, **rest)


def dynamics_of(circuit: LinearCircuit) -> dict[str, np.ndarray]:
    """Arrays of the fitted equation, as `Estimates` keeps them."""
    arrays = {name: getattr(circuit, name) for name in DYNAMICS}
    own = {} if circuit.own_curves is None else circuit.own_curves.arrays
    return arrays | {f"own_{name}": array for name, array in own.items()}


def recover_gnn(
    recording: Recording,
    model: GraphNetwork,
    target: str,
    config: RecoveryConfig,
    update: UpdateConfig = PER_LEAK,
    prior: PriorConfig = NO_PRIOR,
) -> Estimates:
    """Estimates from a trained network, by the read-out of the config.

    Raises:
        ConfigError: if the read-out is not defined for the model.
    """
    check_readout(model, config, update)
    voltage, external = visited_frames(recording)
    affinity = affine_r2(model, voltage, external)
    notes: dict[str, Any] = {"readout": config.readout, "affine_r2": affinity, "warnings": [], **prior_note(prior)}
    message = learned_messages(model, recording["train"].visited_range, TABLE_POINTS)
    embedding = model.embedding.detach().double().numpy() if model.learns_messages else None
    if config.readout == "refit":
        circuit = refitted(recording, model, message, target, config, update, prior)
        if update.varying == "none":  # else single frames do not tell a prediction
            notes |= compare_with_network(recording, model, circuit, message, target, affinity)
        if isinstance(message, EdgeMessages):
            return recover_pairs(recording, circuit, message, target, config, embedding, notes)
        curve = shared_curve(model, recording)
        notes["g_phi_shared"] = curve is not None
        return recover_circuit(
            recording, circuit, message, "gnn", target, config, curve, embedding, notes, update=update
        )
    wiring = recording.wiring
    learned = model.weight.detach().double().numpy()
    if isinstance(message, EdgeMessages):
        circuit = circuit_from_slopes(on_distribution(model, voltage, external), learned, wiring)
        return recover_pairs(recording, circuit, message, target, config, embedding, notes)
    if model.message_gain is not None and update.weights == "absolute":
        circuit = additive_circuit(recording, model, message, update)
        return recover_circuit(
            recording, circuit, message, "gnn", target, config, None, embedding, notes, update=update
        )
    gauge = find_gauge(sample_voltage(recording["train"]), message)
    if config.readout == "reference":
        slopes, message_scale = reference(model, voltage, external)
        v_rest = np.divide(-slopes.c, slopes.k, out=np.full(len(slopes.k), np.nan), where=slopes.k != 0)
    else:
        slopes, message_scale = on_distribution(model, voltage, external), gauge.scale
        v_rest = rest_from(slopes, learned, wiring.pre, wiring.post, gauge)
    weight = weights_from(slopes, learned, wiring.pre, wiring.post, message_scale)
    circuit = circuit_from_slopes(slopes, learned, wiring)
    if config.readout == "reference":
        circuit = replace(circuit, k=-1.0 / np.clip(-1.0 / slopes.k, 1e-6, 1.0))
    return recover_circuit(
        recording, circuit, message, "gnn", target, config, None, embedding, notes, weight=weight, v_rest=v_rest
    )


def check_readout(model: GraphNetwork, config: RecoveryConfig, update: UpdateConfig) -> None:
    """Refuses the published read-out where it is not defined.

    Raises:
        ConfigError: naming the setting.
    """
    if config.readout == "reference" and model.message_gain is not None and update.weights == "absolute":
        raise ConfigError(
            "recovery.readout: got reference with update.weights=absolute, expected refit or on_distribution: the "
            "published read-out states weights per leak"
        )
    if model.sees_target and config.readout == "reference":
        raise ConfigError(
            "recovery.readout: got reference for messages that depend on the target, expected refit or "
            "on_distribution: the published read-out takes the slope of a message function of the source alone"
        )


def additive_circuit(
    recording: Recording, model: GraphNetwork, message: MessageFunction, update: UpdateConfig
) -> LinearCircuit:
    """The network itself as a circuit, where it adds the summed messages: nothing is refitted."""
    slopes = on_distribution(model, *visited_frames(recording))
    if update.form != "linear":
        k, c = own_line(model, sample_voltage(recording["train"]), message)
        slopes = replace(slopes, k=k, c=c)
    circuit = circuit_from_slopes(slopes, model.weight.detach().double().numpy(), recording.wiring)
    if update.form == "linear":
        return circuit
    return replace(circuit, own_curves=own_curves(model, recording, slopes.k, slopes.c))


def refitted(
    recording: Recording,
    model: GraphNetwork,
    message: Messages,
    target: str,
    config: RecoveryConfig,
    update: UpdateConfig,
    prior: PriorConfig,
) -> LinearCircuit:
    """The circuit in closed form for learned messages; of low rank where the model's weights are, with what changes
    where it does.

    Raises:
        ConfigError: if the update is not linear and the messages depend on the target, or the weights are of low rank.
    """
    frames, wiring, most = recording["train"], recording.wiring, config.max_frames
    factors, solver = low_rank(model), solver_for(prior, recording)
    if factors is None and not isinstance(message, EdgeMessages):
        form = prepare(update.form, frames, wiring, target, update.n_knots)
        if update.varying == "none":
            circuit = fit_circuit(frames, form.wiring, message, target, most, own=form.own, solver=solver)
        else:
            change = Change(update.varying, update.drift_period)
            circuit = fit_changing(frames, form.wiring, message, change, target, most, form.own)
        return form.finish(circuit, message)
    if update.form != "linear":
        raise ConfigError(
            f"update.form: got {update.form} with weights of low rank or messages that depend on the target, "
            "expected linear"
        )
    if factors is None or isinstance(message, EdgeMessages):
        return fit_circuit(frames, wiring, message, target, most, solver=solver)
    return fit_low_rank(frames, wiring, message, factors[2].detach().double().numpy(), target, most)


def recover_pairs(
    recording: Recording,
    fitted: LinearCircuit,
    message: EdgeMessages,
    target: str,
    config: RecoveryConfig,
    embedding: np.ndarray | None,
    notes: dict[str, Any],
) -> Estimates:
    """Estimates from a circuit whose messages depend on the target, too; see `pair_gauge`.

    Where all pairs share one function, the estimates hold it as a table, and predict with it. Else they hold the
    circuit whose messages are linearised with respect to their sources.
    """
    wiring, frames = recording.wiring, recording["validation"]
    gauge = find_pair_gauge(sample_voltage(recording["train"]), message, wiring)
    circuit, pair = gauge.circuit(fitted, wiring), None
    if message.table is not None and wiring.n_edges:
        pair = message.table.changed(*(float(x[0]) for x in (gauge.offset, gauge.leak, gauge.scale)))
    near: Messages = gauge.curve if pair is None else EdgeMessages.shared(pair)
    predict = circuit_predictor(circuit, near, wiring)
    notes |= {"g_phi_shared": pair is not None, "held_out_log_error": _error(predict, frames, wiring, target)}
    notes["held_out_log_error_pairs"] = _error(circuit_predictor(fitted, message, wiring), frames, wiring, target)
    if notes["held_out_log_error_pairs"] < notes["held_out_log_error"] - WORSE:
        notes["warnings"].append(
            f"messages depend on the target and differ from pair to pair: with them held-out frames are predicted "
            f"better than with what estimates can hold, messages of the source alone (log error "
            f"{notes['held_out_log_error_pairs']:.3f} against {notes['held_out_log_error']:.3f})"
        )
        logger.warning(notes["warnings"][-1])
    return recover_circuit(
        recording, circuit, gauge.curve, "gnn", target, config, gauge.curve, embedding, notes, pair=pair
    )


def _error(predict: Predictor, frames: Split, wiring: Wiring, target: str) -> float:
    return held_out_error(predict, frames, wiring, target, 500)


def own_voltage_notes(
    recording: Recording, circuit: LinearCircuit, message: Messages, target: str, notes: dict[str, Any]
) -> dict[str, Any]:
    """Notes on what the fitted equation leaves that bends with the neuron's own voltage, and a warning if it does.

    Nothing of a circuit that changes: single frames do not tell its prediction.
    """
    if circuit.varying is not None:
        return {}
    predict = circuit_predictor(circuit, message, recording.wiring)
    left = curvature_left(predict, recording["validation"], recording.wiring, target)
    warnings = list(notes.get("warnings", []))
    if left.matters:
        warnings.append(
            f"the residual of the fitted equation bends with the neuron's own voltage ({left.share:.1%} of the "
            f"target's variance, z = {left.z:.0f}): the true update is not affine in v, or the message "
            "function is wrong (see update.form); "
            "time constants, rests and weights are those of the nearest line"
        )
        logger.warning(warnings[-1])
    return {"curvature_share": left.share, "curvature_z": left.z, "warnings": warnings}


def prior_note(prior: PriorConfig) -> dict[str, str]:
    """What notes and scores say of a prior; nothing where there is none."""
    return {"prior": prior.label} if prior.is_active else {}


def shared_curve(model: GraphNetwork, recording: Recording) -> PiecewiseLinear | None:
    """The network's message function as one curve, if all neurons share it."""
    if not model.shared:
        return None
    low, high = recording["train"].visited_range
    grid = np.linspace(low.min(), high.max(), TABLE_POINTS, dtype=np.float32)
    return PiecewiseLinear(grid.astype(np.float64), message_function(model)(grid[:, None])[:, 0].astype(np.float64))


def compare_with_network(
    recording: Recording,
    model: GraphNetwork,
    circuit: LinearCircuit,
    message: Messages,
    target: str,
    affinity: float,
) -> dict[str, Any]:
    """Held-out errors of the refitted circuit and of the network itself; a warning where the network predicts better.

    Refit assumes that the update is affine in voltage, message and input. Where it is not, the network must win.
    """
    wiring, frames = recording.wiring, recording["validation"]

    @torch.no_grad()
    def network(voltage: np.ndarray, external: np.ndarray | None) -> np.ndarray:
        external = np.zeros_like(voltage) if external is None else external.astype(np.float32)
        return model(torch.from_numpy(voltage), torch.from_numpy(external)).numpy()

    own = _error(circuit_predictor(circuit, message, wiring), frames, wiring, target)
    other = _error(network, frames, wiring, target)
    warnings = []
    if other < own - WORSE:
        warnings.append(
            f"the network predicts held-out frames better than the refitted circuit "
            f"(log error {other:.3f} against {own:.3f}): its update is not affine "
            f"(R2 {affinity:.3f}), which refit assumes; compare recovery.readout=on_distribution"
        )
        logger.warning(warnings[0])
    return {"held_out_log_error": own, "held_out_log_error_network": other, "warnings": warnings}


def circuit_from_slopes(slopes: Slopes, weight: np.ndarray, wiring: Wiring) -> LinearCircuit:
    """A circuit without uncertainties, from the slopes of a trained network."""
    n, e = wiring.n_neurons, wiring.n_edges
    unknown_n, unknown_e = np.full(n, np.nan), np.full(e, np.nan)
    return LinearCircuit(
        k=slopes.k, c=slopes.c, q=slopes.q, theta=weight * slopes.m[wiring.post], theta_stderr=unknown_e,
        k_stderr=unknown_n, c_stderr=unknown_n, weight_stderr=unknown_e, resolution=np.ones(e),
        residual_std=unknown_n, regularisation=unknown_n, message_mean=unknown_n, message_std=unknown_n,
    )  # fmt: skip


def rest_with_gauge(circuit: LinearCircuit, wiring: Wiring, gauge: Gauge, columns: np.ndarray) -> np.ndarray:
    """(N,) resting potentials with the offsets of the messages moved into them; ``columns`` from `columns_of`."""
    offset = np.bincount(wiring.post, circuit.theta * gauge.offset[columns], wiring.n_neurons)
    with np.errstate(divide="ignore", invalid="ignore"):
        return -(circuit.c + offset) / circuit.k


def gauge_of(
    frames: Split,
    voltage: np.ndarray,
    message: MessageFunction | GroupMessages,
    is_shared: bool,
    unit_slope: bool,
    update: UpdateConfig,
) -> Gauge:
    """Units in which a fit's messages and weights are stated; ``voltage`` (T, N) is a sample of the frames."""
    if update.weights == "absolute" or isinstance(message, GroupMessages):
        return range_gauge(voltage, frames.visited_range, message)
    return shared_gauge(voltage, message, unit_slope) if is_shared else find_gauge(voltage, message)
