"""Scores of estimates against the truth, beside the ceiling: what the best regression could reach on this recording."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lobula.config.experiment import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.metrics import cluster_scores, compare, compare_weights, dale_scores, horizon_scores, valid_time
from lobula.metrics.prediction import in_one, per_neuron
from lobula.recovery.run import rest_with_gauge
from lobula.recovery.states import states_along
from lobula.recovery.tables import IDENTIFIABLE_RESOLUTION
from lobula.regression import fit_circuit
from lobula.regression.edge_messages import columns_of
from lobula.regression.update_form import prepare
from lobula.regression.varying import fit_changing
from lobula.scoring.changing import changing_scores, true_change
from lobula.scoring.graph import support_of
from lobula.scoring.truth_gauge import true_gauge
from lobula.simulation.truth import Truth

logger = logging.getLogger(__name__)

N_TRACES = 12


@dataclass(frozen=True)
class Ceiling:
    """What evidence ridge reaches that knows the true message function, and nothing else of the truth.

    Attributes:
        scores: as for an estimator.
        identifiable: (E,) bool, edges that the data determine even then.
    """

    scores: dict[str, Any]
    identifiable: np.ndarray


def score_ceiling(recording: Recording, truth: Truth, config: ExperimentConfig, max_frames: int | None) -> Ceiling:
    """Solves and scores the regression with the true message function, before anything learned is looked at."""
    message, frames = truth.dynamics.message_function(), recording["train"]
    wiring, target = recording.wiring, config.training.target
    form = prepare(truth.dynamics.update_form, frames, wiring, target)
    change = true_change(truth)
    if change is None:
        circuit = fit_circuit(frames, form.wiring, message, target, max_frames, own=form.own)
    else:
        circuit = fit_changing(frames, form.wiring, message, change, target, max_frames, form.own)
    circuit = form.finish(circuit, message)
    identifiable = circuit.resolution >= IDENTIFIABLE_RESOLUTION
    gauge, absolute = true_gauge(truth, recording, config.update), config.update.weights == "absolute"
    columns = columns_of(message, wiring)
    weight = (circuit.theta if absolute else circuit.weight(wiring)) * gauge.scale[columns]
    rest = rest_with_gauge(circuit, wiring, gauge, columns)
    threshold = config.scoring.outlier_threshold
    scores = {
        "W": compare_weights(truth.connectome.weight, weight, identifiable, threshold),
        "tau": compare(truth.connectome.tau, circuit.tau, threshold),
        "v_rest": compare(truth.connectome.v_rest, rest, threshold),
    }
    return Ceiling(scores, identifiable)


def score_estimates(
    estimates: Estimates, truth: Truth, identifiable: np.ndarray, config: ExperimentConfig
) -> dict[str, Any]:
    """Weights, time constants, resting potentials and cell types against the truth."""
    circuit, neurons, threshold = truth.connectome, estimates.neurons, config.scoring.outlier_threshold
    types: dict[str, Any] = {"method": "gmm", **cluster_scores(circuit.cell_type, neurons["cluster"].to_numpy())}
    support = {"support": support_of(estimates, truth)} if "present" in estimates.edges else {}
    types["kmeans"] = cluster_scores(circuit.cell_type, neurons["cluster_kmeans"].to_numpy())
    return {
        "W": compare_weights(circuit.weight, estimates.edges["weight"].to_numpy(), identifiable, threshold),
        "tau": compare(circuit.tau, neurons["tau"].to_numpy(), threshold),
        "v_rest": compare(truth.connectome.v_rest, neurons["v_rest"].to_numpy(), threshold),
        "cell_types": types,
        "dale": dale_scores(
            circuit.weight, estimates.edges["weight"].to_numpy(), circuit.wiring.pre, circuit.n_neurons
        ),
        **support,
        **changing_scores(estimates, truth),
    }


@dataclass(frozen=True)
class Rollouts:
    """Stretches of held-out recording to roll out over.

    Attributes:
        true: (R, S+1, N) recorded voltage [a.u.].
        stimulus: (R, S, H) or None.
        neurons: (M,) neurons whose traces are shown.
        starts: (R,) first frames.
        noise_free: (R, S, N) voltage of the true circuit without noise from the same first frames on; None if unknown.
    """

    true: np.ndarray
    stimulus: np.ndarray | None
    neurons: np.ndarray
    starts: np.ndarray
    noise_free: np.ndarray | None = None


def choose_rollouts(recording: Recording, config: ExperimentConfig) -> Rollouts:
    """Evenly spaced stretches of the test split, and the neurons whose traces are shown: spread over the range of
    activity."""
    split, steps = recording["test"], min(config.scoring.rollout_steps, recording["test"].n_frames - 1)
    most = max(1, min(config.scoring.n_rollouts, split.n_frames // (steps + 1)))
    starts = np.linspace(0, split.n_frames - steps - 1, most).astype(int)
    true = np.stack([split.voltage(s, s + steps + 1) for s in starts])
    rows = [split.stimulus(s, s + steps) for s in starts]
    stimulus = None if rows[0] is None else np.stack([r for r in rows if r is not None])
    spread = true[0].std(0)
    order = np.argsort(spread)[::-1][: max(len(spread) // 2, N_TRACES)]
    neurons = np.sort(order[np.linspace(0, len(order) - 1, min(N_TRACES, len(order))).astype(int)])
    return Rollouts(true, stimulus, neurons, starts)


def score_prediction(
    estimates: Estimates, recording: Recording, rollouts: Rollouts, target: str, exponent: float | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, pd.DataFrame]]:
    """One-step and rollout prediction on held-out frames; the traces to draw, (S, M), and the error per step (S,); the
    agreement as tables, "by-horizon" step by step and "by-neuron" with the id and the scores of every neuron.

    A rollout has no noise, so where the noise-free course of the true circuit is known it is held against that, too.
    With the largest Lyapunov exponent [1/s] of the circuit, if it is chaotic, the horizon is also in Lyapunov times.
    """
    split, wiring = recording["test"], recording.wiring
    last = min(2000, split.n_targets(target))
    states = states_along(estimates, recording, "test", max(last, int(rollouts.starts[-1]) + 1))
    parts = []
    for start in range(0, last, 250):
        stop = min(start + 250, last)
        rows = split.stimulus(start, stop)
        external = 0.0 if rows is None else wiring.spread(rows)
        now = None if states is None else states[start:stop]
        parts.append(estimates.drift(split.voltage(start, stop), external, now).astype(np.float32))
    y = np.concatenate([split.target(target, s, min(s + 250, last)) for s in range(0, last, 250)])
    neurons = per_neuron(y, np.concatenate(parts), "one_step")
    began = None if states is None else states[rollouts.starts]
    predicted = estimates.predict(rollouts.true[:, 0], rollouts.stimulus, rollouts.true.shape[1] - 1, began)
    true = rollouts.true[:, 1:]
    n = true.shape[-1]
    neurons |= per_neuron(true.reshape(-1, n), predicted.reshape(-1, n), "rollout")
    if rollouts.noise_free is not None:
        neurons |= per_neuron(rollouts.noise_free.reshape(-1, n), predicted.reshape(-1, n), "rollout_noise_free")
    scores: dict[str, Any] = in_one(neurons)
    scores |= {"rollout_steps": int(true.shape[1]), "n_rollouts": int(true.shape[0]), "n_frames_one_step": int(last)}
    scores["horizon_s"], scores["horizon_censored"] = valid_time(true, predicted, recording.dt)
    if exponent is not None and exponent > 0:
        scores["horizon_lyapunov"] = scores["horizon_s"] * exponent
    name = estimates.method
    error = np.sqrt(np.mean((true.astype(np.float64) - predicted) ** 2, axis=(0, 2)))
    tables = {
        "by-horizon": horizon_scores(rollouts.true[:, 0], true, predicted, recording.dt),
        "by-neuron": pd.DataFrame({"id": wiring.neuron_ids, **neurons}),
    }
    return scores, {name: predicted[0][:, rollouts.neurons], f"rollout_error_{name}": error}, tables
