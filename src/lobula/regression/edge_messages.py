"""Messages that differ from edge to edge, because they depend on the target, too."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from lobula.data.pair_table import PairTable
from lobula.data.wiring import Wiring

BLOCK_VALUES = 5e6
"""Messages computed at a time: 40 MB in double precision."""

MessageFunction = Callable[[np.ndarray], np.ndarray]
"""Maps voltages (T, N) to messages (T, N), neuron by neuron."""


@dataclass(frozen=True)
class EdgeMessages:
    """A message function of both ends of an edge.

    Attributes:
        evaluate: maps voltages (T, N) as sources and as targets, and the ends of edges, pre and post (E,), to messages
            (T, E).
        table: the function, where all pairs share one.
    """

    evaluate: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    table: PairTable | None = None

    @classmethod
    def shared(cls, table: PairTable) -> "EdgeMessages":
        """The messages of a function that all pairs share."""
        return cls(table.on_edges, table)

    def on(self, voltage: np.ndarray, wiring: Wiring) -> np.ndarray:
        """(T, E) messages on the edges of a wiring, a few frames at a time."""
        rows = max(1, int(BLOCK_VALUES / max(wiring.n_edges, 1)))
        parts = (voltage[start : start + rows] for start in range(0, max(len(voltage), 1), rows))
        return np.concatenate([self.evaluate(part, part, wiring.pre, wiring.post) for part in parts])


Messages = MessageFunction | EdgeMessages


def messages_of(message: Messages, voltage: np.ndarray, wiring: Wiring) -> np.ndarray:
    """(T, M) messages at voltages (T, N): one column per neuron, or per edge."""
    return message.on(voltage, wiring) if isinstance(message, EdgeMessages) else message(voltage)


def columns_of(message: Messages, wiring: Wiring) -> np.ndarray:
    """(E,) which column of `messages_of` every edge carries."""
    return np.arange(wiring.n_edges) if isinstance(message, EdgeMessages) else wiring.pre


def input_matrix(values: np.ndarray, message: Messages, wiring: Wiring) -> scipy.sparse.csr_matrix:
    """(N, M) matrix that sums messages times values (E,) over the inputs of every neuron."""
    if not isinstance(message, EdgeMessages):
        return wiring.csr(values)
    shape = wiring.n_neurons, wiring.n_edges
    return scipy.sparse.csr_matrix((values, columns_of(message, wiring), wiring.indptr), shape=shape)


def frames_at_once(message: Messages, wiring: Wiring, most: int) -> int:
    """Frames of a block: at most ``most``, fewer where there is a message per edge."""
    if not isinstance(message, EdgeMessages):
        return most
    return int(np.clip(BLOCK_VALUES / max(wiring.n_edges, 1), 1, most))
