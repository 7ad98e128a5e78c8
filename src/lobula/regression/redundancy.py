r"""How many frames say as much as one independent frame.

Evidence takes what the circuit leaves for noise that is new in every frame. Where the message function is not quite
right and there is little noise, it is a function of a state that moves slowly: frames in a row repeat the same error,
weights are trusted too much, and those of seldom active sources make up for the wrong function. So frames are counted
by the integrated autocorrelation time of the residuals,

.. math:: c_i = 1 + 2 \sum_{k=1}^{K} \rho_i(k), \qquad K \text{ the last lag before } \rho_i < 0.1,

1 where noise is white. Reference: Sokal (1997), Monte Carlo methods in statistical mechanics, section 3.
"""

import numpy as np
import scipy.fft

from lobula.data.wiring import Wiring
from lobula.regression.gram import Frames, block_arrays, frame_blocks
from lobula.regression.held_out import Predictor

STRETCH = 512
"""Frames in a row."""
MOST_FRAMES = 2_048
ROUNDING = 1e-5
"""Residuals that are smaller, in standard deviations of the target, are what single precision leaves."""
CUTOFF = 0.1
"""Correlations below it count as none: four standard errors."""


def redundancy(frames: Frames, wiring: Wiring, predict: Predictor, target: str) -> np.ndarray:
    """(N,) frames that say as much as one independent frame, 1 or more.

    Args:
        frames: the split that was fitted.
        wiring: maps the stimulus to neurons.
        predict: the fitted circuit.
        target: "observed" or "drift".
    """
    power, stretches = np.zeros((wiring.n_neurons, STRETCH + 1)), 0
    total, square = np.zeros((2, wiring.n_neurons))
    for span in frame_blocks(frames, target, MOST_FRAMES, STRETCH):
        if span.stop - span.start == STRETCH:
            voltage, external, y = block_arrays(frames, wiring, target, span)
            left = np.ascontiguousarray((y - predict(voltage, external)).T, dtype=np.float32)
            spectrum = scipy.fft.rfft(left, 2 * STRETCH, workers=-1)
            power += spectrum.real**2 + spectrum.imag**2
            total, square = total + y.sum(0, dtype=np.float64), square + np.square(y, dtype=np.float64).sum(0)
            stretches += 1
    if not stretches:
        return np.ones(wiring.n_neurons)
    products = scipy.fft.irfft(power, workers=-1)[:, : STRETCH // 2]
    products /= stretches * (STRETCH - np.arange(STRETCH // 2))
    spread = square / (stretches * STRETCH) - (total / (stretches * STRETCH)) ** 2
    correlation = products[:, 1:] / np.maximum(products[:, :1], 1e-300)
    counted = np.logical_and.accumulate(correlation >= CUTOFF, axis=1)
    counted &= products[:, :1] > ROUNDING**2 * spread[:, None]
    return 1.0 + 2.0 * np.where(counted, correlation, 0.0).sum(1)
