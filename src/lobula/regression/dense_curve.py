"""Products for the curve's Gauss-Newton step where neurons have many inputs: matrix products instead of histograms.

The columns of `curve_step` for equation i and value k of the curve are sum_j theta_ij phi_k(v_j): one product of
(frames, neurons) and (neurons, equations) for every k, and one more with the messages for all products with regressors.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from lobula.data.wiring import Wiring
from lobula.regression.curve import Basis, Curve, basis_of
from lobula.regression.gram import Frames, block_arrays, frame_blocks, stimulated
from lobula.regression.own_terms import OwnTerms
from lobula.regression.pair_grams import PairGrams, PairSums
from lobula.regression.threads import neuron_major

if TYPE_CHECKING:
    from lobula.regression.curve_set import CurveSet

BLOCK_FRAMES = 500


def basis_grams(
    frames: Frames,
    wiring: Wiring,
    curve: "Curve | CurveSet",
    theta: np.ndarray,
    target: str,
    max_frames: int,
    own: OwnTerms,
) -> list[np.ndarray | None]:
    """Per neuron (p, p) products of ``[basis (K), messages, v, 1, (I), (own terms), y]``; None where it has no inputs.

    Args:
        frames: a split of a recording.
        wiring: the graph, of the equations that count.
        curve: the message function, or those of groups.
        theta: (E,) coefficients of the messages.
        target: "observed" or "drift".
        max_frames: frames used, spread evenly.
        own: terms of every neuron's own voltage.
    """
    bases = [(basis_of(part), members) for part, members in curve.parts(wiring.n_neurons)]
    coefficients = equations_of(wiring, theta)

    def evaluated(voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return curve(voltage), basis_columns(bases, voltage, coefficients)

    return column_grams(frames, wiring, evaluated, len(curve.values), target, max_frames, own)


def equations_of(wiring: Wiring, theta: np.ndarray) -> np.ndarray:
    """(N, Q) coefficients (E,) as a matrix, a column for every neuron that has inputs."""
    fed = np.flatnonzero(wiring.in_degree > 0)
    row = np.full(wiring.n_neurons, -1)
    row[fed] = np.arange(len(fed))
    coefficients = np.zeros((wiring.n_neurons, len(fed)))
    coefficients[wiring.pre, row[wiring.post]] = theta
    return coefficients


def column_grams(
    frames: Frames,
    wiring: Wiring,
    evaluated: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    n_columns: int,
    target: str,
    max_frames: int | None,
    own: OwnTerms,
    block: int = BLOCK_FRAMES,
) -> list[np.ndarray | None]:
    """As `basis_grams`, of any columns.

    Args:
        frames: a split of a recording.
        wiring: the graph, of the Q equations that count.
        evaluated: messages (T, N) and columns (T, Q, K) at voltages (T, N).
        n_columns: K.
        target: "observed" or "drift".
        max_frames: frames used, spread evenly; None: all.
        own: terms of every neuron's own voltage.
        block: frames at a time.
    """
    pairs, sums = PairSums(wiring, torch.device("cpu"), own), ColumnSums(wiring, n_columns, own.n_terms)
    has = np.zeros(wiring.n_neurons, dtype=bool)
    for span in frame_blocks(frames, target, max_frames, block):
        voltage, external, y = block_arrays(frames, wiring, target, span)
        has = stimulated(wiring, external is not None)
        messages, columns = evaluated(voltage)
        rows = pairs.rows_of(voltage, external, y)
        pairs.add_rows(messages, rows, external is not None)
        sums.add(messages, columns, rows)
    return sums.grams(pairs.grams(has))


class ColumnSums:
    """Sums of the products of further columns of every equation, beside those of its messages and rows.

    Args:
        wiring: the graph, of the Q equations that count.
        n_columns: K.
        n_own: own terms.
    """

    def __init__(self, wiring: Wiring, n_columns: int, n_own: int) -> None:
        self._wiring, self._fed = wiring, np.flatnonzero(wiring.in_degree > 0)
        n_fed = len(self._fed)
        self._own_products = np.zeros((n_fed, n_columns, n_columns))
        self._with_messages = np.zeros((wiring.n_neurons, n_fed, n_columns))
        self._with_rows = np.zeros((n_fed, n_columns, 4 + n_own))

    def add(self, messages: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> None:
        """Adds a block of frames: messages (T, N), columns (T, Q, K), and rows (N, M, T) as of `PairSums.rows_of`."""
        flat = columns.reshape(len(columns), -1)
        self._with_messages += (neuron_major(messages) @ flat).reshape(self._with_messages.shape)
        by_equation = columns.transpose(1, 2, 0)
        self._own_products += by_equation @ by_equation.transpose(0, 2, 1)
        self._with_rows += by_equation @ rows[self._fed].transpose(0, 2, 1)

    def grams(self, whole: PairGrams) -> list[np.ndarray | None]:
        """As `basis_grams`, from the products of messages and rows of the same frames."""
        wiring = self._wiring
        grams: list[np.ndarray | None] = [None] * wiring.n_neurons
        for number, i in enumerate(self._fed.tolist()):
            inputs = wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]]
            rows = self._with_rows[number].T[whole.kept(i)]
            across = np.concatenate([self._with_messages[inputs, number], rows])
            grams[i] = np.block([[self._own_products[number], across.T], [across, whole[i]]])
        return grams


def basis_columns(bases: list[tuple[Basis, np.ndarray]], voltage: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(T, Q, K) what every basis function adds to Q equations, from voltages (T, N) and coefficients (N, Q).

    Args:
        bases: basis functions, and the senders whose messages consist of them.
        voltage: (T, N) [a.u.].
        coefficients: (N, Q).
    """
    sizes = [len(basis) for basis, _ in bases]
    columns, start = np.empty((len(voltage), coefficients.shape[1], sum(sizes))), 0
    for (basis, members), size in zip(bases, sizes, strict=True):
        columns[:, :, start : start + size] = basis.summed(voltage[:, members], coefficients[members])
        start += size
    return columns
