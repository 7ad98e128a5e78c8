"""From a fitted model to estimates of the circuit. Sees the recording and the model, never the truth."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from lobula.config.prior import PriorConfig
from lobula.config.recovery import RecoveryConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.models import CircuitGNN, message_function
from lobula.recovery.cell_types import find_cell_types, neuron_features
from lobula.recovery.gauge import Gauge, find_gauge, sample_voltage, shared_gauge
from lobula.recovery.linearise import (
    Slopes,
    affine_r2,
    on_distribution,
    reference,
    rest_from,
    visited_frames,
    weights_from,
)
from lobula.regression.curve import PiecewiseLinear
from lobula.regression.gram import MessageFunction
from lobula.regression.held_out import circuit_predictor, held_out_error
from lobula.regression.prior import solver_for
from lobula.regression.ridge import LinearCircuit, fit_circuit
from lobula.regression.tabulate import tabulate, visited_range

logger = logging.getLogger(__name__)

IDENTIFIABLE_RESOLUTION = 0.5
CURVE_POINTS = 257
WORSE = 0.02
TABLE_POINTS = 1025
NO_PRIOR = PriorConfig()


def recover_circuit(
    recording: Recording,
    circuit: LinearCircuit,
    message: MessageFunction,
    method: str,
    target: str,
    config: RecoveryConfig,
    curve: PiecewiseLinear | None = None,
    embedding: np.ndarray | None = None,
    notes: dict[str, Any] | None = None,
    weight: np.ndarray | None = None,
    v_rest: np.ndarray | None = None,
) -> Estimates:
    """Estimates from a circuit that was solved with some message function.

    Args:
        recording: what was recorded.
        circuit: coefficients.
        message: its message function, (T, N) -> (T, N).
        method: "ridge", "spline" or "gnn".
        target: "observed" or "drift".
        config: section `recovery`.
        curve: the message function, if one curve serves all neurons; else it is tabulated neuron by neuron.
        embedding: (N, D), if the model has one.
        notes: further facts for the estimates.
        weight: (E,) instead of the circuit's own, from another read-out.
        v_rest: (N,) instead of the circuit's own.
    """
    wiring = recording.wiring
    voltage = sample_voltage(recording["train"])
    is_shared = method != "gnn" or curve is not None
    gauge = shared_gauge(voltage, message, method == "gnn") if is_shared else find_gauge(voltage, message)
    if weight is None:
        weight = circuit.weight(wiring) * gauge.scale[wiring.pre]
    if v_rest is None:
        v_rest = rest_with_gauge(circuit, wiring, gauge)
    curve_voltage, curve_message = curve_table(curve, message, voltage)
    edges = edge_table(wiring, circuit, weight, gauge)
    neurons = neuron_table(wiring, circuit, weight, v_rest, embedding, config.n_cell_types)
    return Estimates(
        edges=edges,
        neurons=neurons,
        dynamics={name: getattr(circuit, name) for name in ("k", "c", "q", "theta")},
        curve_voltage=curve_voltage,
        curve_message=curve_message,
        wiring=wiring,
        dt=recording.dt,
        method=method,
        target=target,
        notes={"visited": list(gauge.visited), "message_scale": float(np.median(gauge.scale)), **(notes or {})},
    )


def recover_gnn(
    recording: Recording,
    model: CircuitGNN,
    target: str,
    config: RecoveryConfig,
    prior: PriorConfig = NO_PRIOR,
) -> Estimates:
    """Estimates from a trained network, by the read-out of the config; a refit under a prior."""
    voltage, external = visited_frames(recording)
    affinity = affine_r2(model, voltage, external)
    notes: dict[str, Any] = {"readout": config.readout, "affine_r2": affinity, "warnings": [], **prior_note(prior)}
    message = tabulate(message_function(model), visited_range(recording["train"]), TABLE_POINTS)
    embedding = model.embedding.detach().double().numpy() if isinstance(model, CircuitGNN) else None
    if config.readout == "refit":
        frames, solver = recording["train"], solver_for(prior, recording)
        circuit = fit_circuit(frames, recording.wiring, message, target, config.max_frames, solver=solver)
        notes |= compare_with_network(recording, model, circuit, message, target, affinity)
        curve = shared_curve(model, recording)
        notes["g_phi_shared"] = curve is not None
        return recover_circuit(recording, circuit, message, "gnn", target, config, curve, embedding, notes)
    wiring = recording.wiring
    learned = model.weight.detach().double().numpy()
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


def prior_note(prior: PriorConfig) -> dict[str, str]:
    """What notes and scores say of a prior; nothing where there is none."""
    return {"prior": prior.label} if prior.is_active else {}


def shared_curve(model: CircuitGNN, recording: Recording) -> PiecewiseLinear | None:
    """The network's message function as one curve, if all neurons share it."""
    if not model.shared:
        return None
    low, high = visited_range(recording["train"])
    grid = np.linspace(low.min(), high.max(), TABLE_POINTS, dtype=np.float32)
    return PiecewiseLinear(grid.astype(np.float64), message_function(model)(grid[:, None])[:, 0].astype(np.float64))


def compare_with_network(
    recording: Recording,
    model: CircuitGNN,
    circuit: LinearCircuit,
    message: MessageFunction,
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

    own = held_out_error(circuit_predictor(circuit, message, wiring), frames, wiring, target, 500)
    other = held_out_error(network, frames, wiring, target, 500)
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


def rest_with_gauge(circuit: LinearCircuit, wiring: Wiring, gauge: Gauge) -> np.ndarray:
    """(N,) resting potentials with the offsets of the messages moved into them."""
    offset = np.bincount(wiring.post, circuit.theta * gauge.offset[wiring.pre], wiring.n_neurons)
    with np.errstate(divide="ignore", invalid="ignore"):
        return -(circuit.c + offset) / circuit.k


def curve_table(
    curve: PiecewiseLinear | None, message: MessageFunction, voltage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The message function as a table: voltages (K,), messages (K,) if shared, else (K, N)."""
    if curve is not None:
        return curve.knots, curve.values
    grid = np.linspace(float(voltage.min()), float(voltage.max()), CURVE_POINTS)
    table = message(np.broadcast_to(grid[:, None], (CURVE_POINTS, voltage.shape[1])).astype(np.float32))
    return grid, table.astype(np.float32)


def edge_table(wiring: Wiring, circuit: LinearCircuit, weight: np.ndarray, gauge: Gauge) -> pd.DataFrame:
    """One row per edge, in original neuron ids."""
    ids = wiring.neuron_ids
    return pd.DataFrame(
        {
            "pre": ids[wiring.pre],
            "post": ids[wiring.post],
            "weight": weight,
            "stderr": circuit.weight_stderr * np.abs(gauge.scale[wiring.pre]),
            "resolution": circuit.resolution,
            "identifiable": circuit.resolution >= IDENTIFIABLE_RESOLUTION,
        }
    )


def neuron_table(
    wiring: Wiring,
    circuit: LinearCircuit,
    weight: np.ndarray,
    v_rest: np.ndarray,
    embedding: np.ndarray | None,
    n_types: int | None,
) -> pd.DataFrame:
    """One row per neuron, in original ids."""
    features = neuron_features(wiring, weight, circuit.tau, v_rest, embedding)
    types = find_cell_types(wiring, features, weight, n_types)
    table = {
        "id": wiring.neuron_ids,
        "tau": circuit.tau,
        "v_rest": v_rest,
        "residual_std": circuit.residual_std,
        "cluster": types.gmm,
        "cluster_kmeans": types.k_means,
    }
    if embedding is not None:
        table |= {f"embedding_{d}": embedding[:, d] for d in range(embedding.shape[1])}
    return pd.DataFrame(table)
