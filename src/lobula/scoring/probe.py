"""Scores during training, handed into the trainer from above: the trainer itself never sees the truth."""

from collections.abc import Callable

import numpy as np
import torch

from lobula.data.recording import Recording
from lobula.metrics import line_fit
from lobula.models import CircuitGNN, message_function
from lobula.recovery.gauge import find_gauge, sample_voltage
from lobula.recovery.linearise import on_distribution, rest_from, visited_frames, weights_from
from lobula.simulation.truth import Truth


def make_probe(
    truth: Truth, recording: Recording
) -> Callable[[CircuitGNN, dict[str, torch.Tensor] | None], dict[str, float]]:
    """A function that scores a model in training: connectivity_r2, vrest_r2 and tau_r2 (fit R2 against the truth).

    Its arguments are the model and, in a phase that holds the circuit, the held k, c and theta.
    """
    circuit, wiring = truth.connectome, recording.wiring
    frames, sample = visited_frames(recording, 80), sample_voltage(recording["train"], 100)

    def probe(model: CircuitGNN, held: dict[str, torch.Tensor] | None) -> dict[str, float]:
        gauge = find_gauge(sample, message_function(model))
        if held is None:
            slopes, learned = on_distribution(model, *frames), model.weight.detach().double().numpy()
            weight = weights_from(slopes, learned, wiring.pre, wiring.post, gauge.scale)
            v_rest, k = rest_from(slopes, learned, wiring.pre, wiring.post, gauge), slopes.k
        else:
            k, c, theta = (held[name].double().numpy() for name in ("k", "c", "theta"))
            with np.errstate(divide="ignore", invalid="ignore"):
                weight = -theta * gauge.scale[wiring.pre] / k[wiring.post]
                v_rest = -(c + np.bincount(wiring.post, theta * gauge.offset[wiring.pre], len(k))) / k
        with np.errstate(divide="ignore", invalid="ignore"):
            pairs = {
                "connectivity_r2": (circuit.weight, weight),
                "vrest_r2": (circuit.v_rest, v_rest),
                "tau_r2": (circuit.tau, -1.0 / k),
            }
        return {name: _fit_r2(true, learned) for name, (true, learned) in pairs.items()}

    return probe


def _fit_r2(true: np.ndarray, learned: np.ndarray) -> float:
    finite = np.isfinite(learned)
    return line_fit(true[finite], learned[finite])[1]
