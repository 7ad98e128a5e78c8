"""How well dynamics predict frames that they were not fitted to: the only judge inside a run."""

from collections.abc import Callable

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression.circuit import LinearCircuit
from lobula.regression.edge_messages import Messages, input_matrix, messages_of
from lobula.regression.gram import Frames, block_arrays, frame_blocks

Predictor = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
"""Maps voltage (T, N) and external input (T, N) or None to dv/dt (T, N)."""


def circuit_predictor(circuit: LinearCircuit, message: Messages, wiring: Wiring) -> Predictor:
    """One-step prediction of a circuit with a message function."""
    matrix = input_matrix(circuit.theta, message, wiring)

    def predict(voltage: np.ndarray, external: np.ndarray | None) -> np.ndarray:
        summed = (matrix @ messages_of(message, voltage, wiring).T).T
        prediction = circuit.k * voltage + circuit.c + circuit.own(voltage) + summed
        return prediction if external is None else prediction + circuit.q * external

    return predict


def held_out_error(predict: Predictor, frames: Frames, wiring: Wiring, target: str, max_frames: int = 1000) -> float:
    """Mean over neurons of `held_out_errors`."""
    return float(held_out_errors(predict, frames, wiring, target, max_frames).mean())


def held_out_errors(
    predict: Predictor, frames: Frames, wiring: Wiring, target: str, max_frames: int = 1000
) -> np.ndarray:
    """(N,) log(one-step error variance / variance of the target).

    Args:
        predict: dynamics to judge.
        frames: a split that was not fitted.
        wiring: maps the stimulus to neurons.
        target: "observed" or "drift".
        max_frames: frames used, spread evenly.
    """
    n, n_frames = wiring.n_neurons, 0
    error, total, square = np.zeros(n), np.zeros(n), np.zeros(n)
    for span in frame_blocks(frames, target, max_frames, block=250):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        error += np.square(predict(voltage, external) - y, dtype=np.float64).sum(0)
        total, square = total + y.sum(0, dtype=np.float64), square + np.square(y, dtype=np.float64).sum(0)
        n_frames += len(y)
    variance = square / n_frames - (total / n_frames) ** 2
    return np.log((error / n_frames + 1e-12) / (variance + 1e-12))
