"""Tables of what was recovered: edges and neurons in original ids, message curves."""

import numpy as np
import pandas as pd

from lobula.config.recovery import RecoveryConfig
from lobula.data.varying import Plasticity
from lobula.data.wiring import Wiring
from lobula.recovery.cell_types import find_cell_types, neuron_features
from lobula.recovery.dynamic_types import (
    common_voltages,
    find_dynamic_types,
    level_error,
    own_rates,
    type_features,
    with_levels,
)
from lobula.regression.circuit import LinearCircuit
from lobula.regression.curve import PiecewiseLinear
from lobula.regression.edge_messages import GroupMessages
from lobula.regression.gram import MessageFunction

IDENTIFIABLE_RESOLUTION = 0.5
CURVE_POINTS = 1025
SHARED_POINTS = 4097


def shared_table(message: MessageFunction, voltage: np.ndarray) -> PiecewiseLinear:
    """A known message function as a curve over the range of the voltages (T, N)."""
    grid = np.linspace(float(voltage.min()), float(voltage.max()), SHARED_POINTS)
    return PiecewiseLinear(grid, np.asarray(message(grid[:, None]), dtype=np.float64)[:, 0])


def curve_table(
    curve: PiecewiseLinear | None, message: MessageFunction | GroupMessages, voltage: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The message function as a table: voltages (K,), messages (K,) if shared, else (K, N) or (K, R N)."""
    if curve is not None:
        return curve.knots, curve.values
    grid = np.linspace(float(voltage.min()), float(voltage.max()), CURVE_POINTS)
    table = message(np.broadcast_to(grid[:, None], (CURVE_POINTS, voltage.shape[1])).astype(np.float32))
    return grid, table.astype(np.float32)


def at_common_voltages(message: MessageFunction | GroupMessages, voltage: np.ndarray) -> np.ndarray:
    """(P, N) or (P, R N) messages at voltages that most neurons visit, from a sample (T, N) of the recording."""
    grid = common_voltages(voltage)
    return np.asarray(message(np.repeat(grid[:, None], voltage.shape[1], axis=1)), dtype=np.float64)


def groups_of(message: MessageFunction | GroupMessages) -> int:
    """R, groups of receivers that messages differ between."""
    return len(message.functions) if isinstance(message, GroupMessages) else 1


def edge_table(
    wiring: Wiring, circuit: LinearCircuit, weight: np.ndarray, scale: np.ndarray, absolute: bool
) -> pd.DataFrame:
    """One row per edge, in original neuron ids; ``scale`` (E,) is the unit of its messages."""
    ids, stderr = wiring.neuron_ids, circuit.theta_stderr if absolute else circuit.weight_stderr
    return pd.DataFrame(
        {
            "pre": ids[wiring.pre],
            "post": ids[wiring.post],
            "weight": weight,
            "stderr": stderr * np.abs(scale),
            "resolution": circuit.resolution,
            "identifiable": circuit.resolution >= IDENTIFIABLE_RESOLUTION,
        }
    )


def changing_features(circuit: LinearCircuit, voltage: np.ndarray) -> list[np.ndarray]:
    """What types that change may differ in, besides: (N, P) where plasticity settles, or own rates at half a period."""
    varying = circuit.varying
    if varying is None:
        return []
    grid = np.repeat(common_voltages(voltage)[:, None], voltage.shape[1], axis=1)
    if isinstance(varying, Plasticity):
        curves = varying.settled(grid)
    else:
        curves = circuit.k * grid + circuit.c + circuit.own(grid) + varying.at(grid, varying.period / 2)[1]
    return [curves.T / max(float(np.sqrt(np.nanmean(curves**2))), 1e-12)]


def changing_columns(circuit: LinearCircuit) -> dict[str, np.ndarray]:
    """Columns of a circuit that changes: plasticity, or the time constant half a period later."""
    varying = circuit.varying
    if varying is None:
        return {}
    if isinstance(varying, Plasticity):
        return {"plasticity_tau": varying.tau, "plasticity_alpha": varying.alpha}
    with np.errstate(divide="ignore"):
        return {"tau_half": -1.0 / (circuit.k + 2 * varying.k[0])}


def neuron_table(
    wiring: Wiring,
    circuit: LinearCircuit,
    weight: np.ndarray,
    v_rest: np.ndarray,
    embedding: np.ndarray | None,
    config: RecoveryConfig,
    voltage: np.ndarray,
    standing: np.ndarray,
    message: MessageFunction | GroupMessages | None = None,
) -> pd.DataFrame:
    """One row per neuron, in original ids.

    Args:
        wiring: the graph.
        circuit: as fitted.
        weight: (E,) recovered weights.
        v_rest: (N,) recovered rests [a.u.].
        embedding: (N, D), if the model has one.
        config: section `recovery`.
        voltage: (T, N) sample of the recording [a.u.].
        standing: (E,) mean message of every edge, from that at rest [a.u.].
        message: where neurons have message functions of their own.
    """
    if config.types_from == "dynamics":
        sent = [] if message is None else np.split(at_common_voltages(message, voltage), groups_of(message), axis=1)
        rates = own_rates(circuit, voltage)
        if message is None:  # else offsets of the message functions hide all levels
            rates = with_levels(rates, level_error(circuit, wiring, standing))
        features = type_features(rates, *(part.T for part in sent))
        features = np.concatenate([features, *changing_features(circuit, voltage)], axis=1)
        types = find_dynamic_types(features, config.n_cell_types)
    else:
        # a refit says all that the embedding does, and more exactly
        seen = None if config.readout == "refit" else embedding
        features = neuron_features(wiring, weight, circuit.tau, v_rest, seen)
        types = find_cell_types(wiring, features, weight, config.n_cell_types)
    table = {
        "id": wiring.neuron_ids,
        "tau": circuit.tau,
        "v_rest": v_rest,
        "residual_std": circuit.residual_std,
        "cluster": types.gmm,
        "cluster_kmeans": types.k_means,
    }
    table |= changing_columns(circuit)
    if embedding is not None:
        table |= {f"embedding_{d}": embedding[:, d] for d in range(embedding.shape[1])}
    return pd.DataFrame(table)
