"""Scores during training, handed into the trainer from above: the trainer itself never sees the truth."""

from collections.abc import Callable

import numpy as np
import torch

from lobula.config.update import UpdateConfig
from lobula.data.recording import Recording
from lobula.metrics import line_fit
from lobula.models import GraphNetwork, PairGNN, message_function, pair_messages
from lobula.recovery.gauge import find_gauge, range_gauge, sample_voltage
from lobula.recovery.linearise import on_distribution, own_line, visited_frames
from lobula.recovery.pair_gauge import find_pair_gauge
from lobula.regression.edge_messages import EdgeMessages
from lobula.simulation.truth import Truth

PER_LEAK = UpdateConfig()
PAIR_STRIDE = 4
"""Of the sampled frames that are used where there is a message per edge: every fourth."""


def make_probe(
    truth: Truth, recording: Recording, update: UpdateConfig = PER_LEAK
) -> Callable[[GraphNetwork, dict[str, torch.Tensor] | None], dict[str, float]]:
    """A function that scores a model in training: connectivity_r2, vrest_r2 and tau_r2 (fit R2 against the truth).

    Its arguments are the model and, in a phase that holds the circuit, the held k, c and theta. The truth is stated by
    section `update`, as `truth_gauge.in_gauge` does.
    """
    circuit, wiring = truth.connectome, recording.wiring
    absolute = update.weights == "absolute"
    frames = visited_frames(recording, 80)
    sample = sample_voltage(recording["train"]) if absolute else sample_voltage(recording["train"], 100)
    visited = recording["train"].visited_range if absolute else (sample.min(0), sample.max(0))

    def probe(model: GraphNetwork, held: dict[str, torch.Tensor] | None) -> dict[str, float]:
        message = pair_messages(model, visited) if isinstance(model, PairGNN) else message_function(model)
        if held is None:
            slopes = on_distribution(model, *frames)
            k, c, theta = slopes.k, slopes.c, model.weight.detach().double().numpy() * slopes.m[wiring.post]
            if model.message_gain is not None and update.form != "linear" and not isinstance(message, EdgeMessages):
                k, c = own_line(model, sample, message)
        else:
            k, c, theta = (held[name].double().numpy() for name in ("k", "c", "theta"))
        if isinstance(message, EdgeMessages):
            k, c, theta = find_pair_gauge(sample[::PAIR_STRIDE], message, wiring).settle(k, c, theta, wiring)
        else:
            gauge = range_gauge(sample, visited, message) if absolute else find_gauge(sample, message)
            c = c + np.bincount(wiring.post, theta * gauge.offset[wiring.pre], len(k))
            theta = theta * gauge.scale[wiring.pre]
        with np.errstate(divide="ignore", invalid="ignore"):
            pairs = {
                "connectivity_r2": (circuit.weight, theta if absolute else -theta / k[wiring.post]),
                "vrest_r2": (circuit.v_rest, -c / k),
                "tau_r2": (circuit.tau, -1.0 / k),
            }
        return {name: _fit_r2(true, learned) for name, (true, learned) in pairs.items()}

    return probe


def _fit_r2(true: np.ndarray, learned: np.ndarray) -> float:
    finite = np.isfinite(learned)
    return line_fit(true[finite], learned[finite])[1]
