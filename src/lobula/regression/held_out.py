"""How well a circuit predicts frames that it was not fitted to: the only judge inside a run."""

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression.gram import Frames, MessageFunction, block_arrays, frame_blocks
from lobula.regression.ridge import LinearCircuit


def held_out_error(
    circuit: LinearCircuit,
    message: MessageFunction,
    frames: Frames,
    wiring: Wiring,
    target: str,
    max_frames: int = 1000,
) -> float:
    """Mean over neurons of log(one-step error variance / variance of the target).

    Args:
        circuit: coefficients.
        message: its message function, (T, N) -> (T, N).
        frames: a split that was not fitted.
        wiring: the graph of the circuit.
        target: "observed" or "drift".
        max_frames: frames used, spread evenly.
    """
    matrix = wiring.csr(circuit.theta)
    n, n_frames = wiring.n_neurons, 0
    error, total, square = np.zeros(n), np.zeros(n), np.zeros(n)
    for span in frame_blocks(frames, target, max_frames, block=250):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        prediction = circuit.k * voltage + circuit.c + (matrix @ message(voltage).T).T
        if external is not None:
            prediction += circuit.q * external
        error += ((prediction - y) ** 2).sum(0)
        total, square = total + y.sum(0, dtype=np.float64), square + np.square(y, dtype=np.float64).sum(0)
        n_frames += len(y)
    variance = square / n_frames - (total / n_frames) ** 2
    return float(np.mean(np.log((error / n_frames + 1e-12) / (variance + 1e-12))))
