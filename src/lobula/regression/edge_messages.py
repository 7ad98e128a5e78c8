"""Messages that depend on the target, too: edge by edge, or group of targets by group of targets."""

from collections.abc import Callable, Sequence
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


@dataclass(frozen=True, eq=False)
class GroupMessages:
    """A message function of the source per group of targets: few tables where there would be one message per edge.

    Attributes:
        group: (N,) group of every neuron as a target, 0 .. R-1.
        functions: R functions, voltages (T, N) to messages (T, N).
    """

    group: np.ndarray
    functions: Sequence[MessageFunction]

    def __call__(self, voltage: np.ndarray) -> np.ndarray:
        """(T, R N) messages at voltages (T, N), one group of targets after the other."""
        return np.concatenate([function(voltage) for function in self.functions], axis=1)

    def columns(self, wiring: Wiring) -> np.ndarray:
        """(E,) which of these messages every edge carries."""
        return self.group[wiring.post] * wiring.n_neurons + wiring.pre

    def to_itself(self, voltage: np.ndarray) -> np.ndarray:
        """(T, N) the messages that neurons would send themselves."""
        found = np.empty(voltage.shape)
        for r, function in enumerate(self.functions):
            found[:, self.group == r] = function(voltage)[:, self.group == r]
        return found

    def targets(self, wiring: Wiring) -> list[Wiring]:
        """The graph of the inputs of every group."""
        return [inputs_of(wiring, self.group == r) for r in range(len(self.functions))]


Messages = MessageFunction | EdgeMessages | GroupMessages


def inputs_of(wiring: Wiring, targets: np.ndarray) -> Wiring:
    """The graph with the inputs of some neurons alone, (N,) bool."""
    edges = wiring.edge_index[:, targets[wiring.post]]
    return Wiring.from_edges(edges, wiring.n_neurons, wiring.stimulus_column, n_columns=wiring.n_columns)


def messages_of(message: Messages, voltage: np.ndarray, wiring: Wiring) -> np.ndarray:
    """(T, M) messages at voltages (T, N): one column per neuron, per group and neuron, or per edge."""
    return message.on(voltage, wiring) if isinstance(message, EdgeMessages) else message(voltage)


def columns_of(message: Messages, wiring: Wiring) -> np.ndarray:
    """(E,) which column of `messages_of` every edge carries."""
    if isinstance(message, GroupMessages):
        return message.columns(wiring)
    return np.arange(wiring.n_edges) if isinstance(message, EdgeMessages) else wiring.pre


def input_matrix(values: np.ndarray, message: Messages, wiring: Wiring) -> scipy.sparse.csr_matrix:
    """(N, M) matrix that sums messages times values (E,) over the inputs of every neuron."""
    if not isinstance(message, EdgeMessages | GroupMessages):
        return wiring.csr(values)
    n, columns = wiring.n_neurons, columns_of(message, wiring)
    width = n * len(message.functions) if isinstance(message, GroupMessages) else wiring.n_edges
    return scipy.sparse.csr_matrix((values, columns, wiring.indptr), shape=(n, width))


def to_itself(message: MessageFunction | GroupMessages, voltage: np.ndarray) -> np.ndarray:
    """(T, N) the messages that neurons would send themselves, at voltages (T, N)."""
    return message.to_itself(voltage) if isinstance(message, GroupMessages) else message(voltage)


def frames_at_once(message: Messages, wiring: Wiring, most: int) -> int:
    """Frames of a block: at most ``most``, fewer where there is a message per edge."""
    if not isinstance(message, EdgeMessages):
        return most
    return int(np.clip(BLOCK_VALUES / max(wiring.n_edges, 1), 1, most))
