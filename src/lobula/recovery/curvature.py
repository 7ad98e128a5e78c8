r"""Whether a fitted equation leaves something that bends with the neuron's own voltage.

Every equation here is a line in the neuron's own voltage. Where the true leak is not (a term s tanh(v), say), the
residual still depends on v, and time constants, rests and weights are those of the nearest line. The check regresses
the residual of held-out frames on 1, v, v^2, v^3: without curvature the latter two explain rounding and noise alone, a
chi^2 with two degrees of freedom per neuron.
"""

from dataclasses import dataclass

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression.gram import Frames, block_arrays, frame_blocks
from lobula.regression.held_out import Predictor

MOST_FRAMES = 1000
BLOCK = 250
DEGREES = 2
LEAST_Z = 5.0
LEAST_SHARE = 2e-3
"""Share of the target's variance below which curvature is of no account, however certain."""


@dataclass(frozen=True)
class Curvature:
    """What own voltage explains of the residual beyond a line.

    Attributes:
        share: of the target's variance, mean over neurons, less what chance explains.
        z: how far the mean chi^2 is from chance, in its standard deviations.
    """

    share: float
    z: float

    @property
    def matters(self) -> bool:
        """Whether it is both certain and large enough to bias what is recovered."""
        return self.z > LEAST_Z and self.share > LEAST_SHARE


def curvature_left(predict: Predictor, frames: Frames, wiring: Wiring, target: str) -> Curvature:
    """Curvature in the residual of fitted dynamics.

    Args:
        predict: the fitted equation.
        frames: a split that was not fitted.
        wiring: maps the stimulus to neurons.
        target: "observed" or "drift".
    """
    n, n_frames = wiring.n_neurons, 0
    products, squares, total = np.zeros((n, 5, 5)), np.zeros(n), np.zeros(n)
    centre = spread = np.zeros(n)
    for span in frame_blocks(frames, target, MOST_FRAMES, block=BLOCK):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        if n_frames == 0:  # only so that powers are of order one
            centre, spread = voltage.mean(0, dtype=np.float64), np.maximum(voltage.std(0, dtype=np.float64), 1e-6)
        z = (voltage - centre) / spread
        rows = np.stack([np.ones_like(z), z, z**2, z**3, y - predict(voltage, external)])
        products += np.einsum("atn,btn->nab", rows, rows, optimize=True)
        squares, total = squares + np.square(y, dtype=np.float64).sum(0), total + y.sum(0, dtype=np.float64)
        n_frames += len(y)
    line, bent = _left(products, 2), _left(products, 4)
    chi2 = n_frames * np.log(line / bent)
    noise = DEGREES * bent / max(n_frames - 4, 1)
    variance = squares - total**2 / n_frames
    share = float(np.mean((line - bent - noise) / np.maximum(variance, 1e-12 * np.maximum(squares, 1e-300))))
    return Curvature(share, float((chi2.mean() - DEGREES) / np.sqrt(2 * DEGREES / n)))


def _left(products: np.ndarray, n_terms: int) -> np.ndarray:
    """(N,) sum of squares of the residual that the first terms leave, from products (N, 5, 5)."""
    normal, rhs, whole = products[:, :n_terms, :n_terms], products[:, :n_terms, -1], products[:, -1, -1]
    solved = np.linalg.solve(normal * (1.0 + 1e-12 * np.eye(n_terms)) + 1e-12 * np.eye(n_terms), rhs[..., None])[..., 0]
    return np.maximum(whole - np.einsum("na,na->n", solved, rhs), 1e-14 * whole + 1e-300)
