"""Per-neuron Gram matrices, streamed over a recording of any length.

Given a message function g, the circuit is linear in what is unknown:

    y_i(t) = k_i v_i(t) + c_i + q_i I_i(t) + sum_j theta_ij g_j(v_j(t))

so everything a regression needs to know about neuron i is one small symmetric matrix: the products, summed over
frames, of the row ``[g(v_pre) (d_i), v_i, 1, (I_i), (own terms), y_i]`` with itself. Their sizes follow the in-degree,
not the network: the full fly circuit needs 0.2 GB instead of the 1.5 GB of one all-pairs Gram matrix, and eight times
less arithmetic. Where neurons have most others as inputs it is the other way round, and the products of all pairs are
computed once (`pair_grams`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from lobula.ahead import ahead
from lobula.data.wiring import Wiring
from lobula.regression.edge_messages import EdgeMessages, Messages, columns_of, frames_at_once, messages_of
from lobula.regression.edge_messages import MessageFunction as MessageFunction
from lobula.regression.gram_device import DeviceGrams
from lobula.regression.own_terms import NoTerms, OwnTerms
from lobula.regression.pair_grams import PairSums
from lobula.regression.shared_inputs import GroupSums
from lobula.regression.threads import in_parallel

BLOCK_FRAMES = 500
COLUMNS = 512
"""Whose sums are taken at a time."""
CPU = torch.device("cpu")
NO_TERMS = NoTerms()


class Frames(Protocol):
    """What a regression reads: a split of a recording, lazily."""

    n_frames: int

    def n_targets(self, kind: str) -> int: ...
    def voltage(self, start: int, stop: int) -> np.ndarray: ...
    def stimulus(self, start: int, stop: int) -> np.ndarray | None: ...
    def target(self, kind: str, start: int, stop: int) -> np.ndarray: ...


@dataclass(frozen=True)
class NeuronGrams:
    """Gram matrices of every neuron.

    Attributes:
        grams: N arrays (p_i, p_i), float64; rows ``[messages of the inputs, v_i, 1, (I_i), (own terms), y_i]``.
        n_frames: number of frames summed.
        has_stimulus: (N,) whether the row of I_i is present.
        message_mean: (M,) mean over the frames of the message of each neuron, or on each edge.
        message_std: (M,) standard deviation of the same.
        columns: (E,) which of these messages every edge carries.
        n_own: rows of own terms K.
        redundancy: (N,) frames that say as much as one independent frame (`redundancy`); None: 1.
    """

    grams: Sequence[np.ndarray]
    n_frames: int
    has_stimulus: np.ndarray
    message_mean: np.ndarray
    message_std: np.ndarray
    columns: np.ndarray
    n_own: int = 0
    redundancy: np.ndarray | None = None


def frame_blocks(frames: Frames, target: str, max_frames: int | None, block: int = BLOCK_FRAMES) -> Iterator[slice]:
    """Yields slices of at most ``block`` frames; with ``max_frames``, evenly spread over the recording."""
    n = frames.n_targets(target)
    n_blocks = -(-n // block)
    keep = n_blocks if max_frames is None else min(n_blocks, max(1, -(-max_frames // block)))
    left = n if max_frames is None else min(n, max_frames)
    for b in np.unique(np.linspace(0, n_blocks - 1, keep).round().astype(int)):
        start = int(b) * block
        stop = min(start + block, n, start + left)
        left -= stop - start
        if stop > start:
            yield slice(start, stop)


def block_arrays(
    frames: Frames, wiring: Wiring, target: str, span: slice
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Voltage, per-neuron stimulus and target of one block, each (T, N)."""
    voltage = frames.voltage(span.start, span.stop)
    stimulus = frames.stimulus(span.start, span.stop)
    external = None if stimulus is None else wiring.spread(stimulus)
    return voltage, external, frames.target(target, span.start, span.stop)


def stimulated(wiring: Wiring, has_stimulus: bool) -> np.ndarray:
    """(N,) bool: which neurons receive the external input."""
    return wiring.stimulated if has_stimulus else np.zeros(wiring.n_neurons, dtype=bool)


def design_rows(
    i: int,
    wiring: Wiring,
    messages: np.ndarray,
    voltage: np.ndarray,
    external: np.ndarray | None,
    target: np.ndarray,
    columns: np.ndarray | None = None,
    own: OwnTerms = NO_TERMS,
) -> np.ndarray:
    """The regressors and the target of neuron i, (p_i, T); all arrays are neuron-major (N, T) float64.

    Messages may also be (M, T) with ``columns`` (E,), which says what every edge carries.
    """
    inputs = (wiring.pre if columns is None else columns)[wiring.indptr[i] : wiring.indptr[i + 1]]
    d = len(inputs)
    rows = np.empty((d + 3 + (external is not None) + own.n_terms, voltage.shape[1]))
    np.take(messages, inputs, axis=0, out=rows[:d], mode="clip")  # the default mode fills a buffer first
    rows[d] = voltage[i]
    rows[d + 1] = 1.0
    if external is not None:
        rows[d + 2] = external[i]
    if own.n_terms:
        rows[-1 - own.n_terms : -1] = own(voltage[i : i + 1], slice(i, i + 1))[:, 0]
    rows[-1] = target[i]
    return rows


def write_own_columns(
    x: np.ndarray,
    i: int,
    voltage: np.ndarray,
    external: np.ndarray | None,
    target: np.ndarray,
    own: OwnTerms = NO_TERMS,
) -> None:
    """Writes the last columns of the design (T, p) of neuron i, those after its messages: voltage, 1, external input if
    there is one, own terms, target; each array (T,)."""
    n_own = own.n_terms
    first = x.shape[1] - 3 - (external is not None) - n_own
    x[:, first], x[:, first + 1], x[:, -1] = voltage, 1.0, target
    if external is not None:
        x[:, first + 2] = external
    if n_own:
        x[:, -1 - n_own : -1] = own(np.ascontiguousarray(voltage[None], dtype=np.float64), slice(i, i + 1))[:, 0].T


def add_product(grams: list[np.ndarray | None], i: int, rows: np.ndarray) -> None:
    """Adds rows @ rows.T, rows (p, T), to the Gram matrix of neuron i."""
    held = grams[i]
    if held is None:
        grams[i] = rows @ rows.T
    else:
        held += rows @ rows.T


def accumulate(
    frames: Frames,
    wiring: Wiring,
    message: Messages,
    target: str = "observed",
    max_frames: int | None = None,
    on_block: Callable[[int], None] | None = None,
    device: torch.device = CPU,
    own: OwnTerms = NO_TERMS,
) -> NeuronGrams:
    """Sums the Gram matrices of every neuron over a recording, block by block.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        message: g, maps voltages (T, N) to messages (T, N), or to one per edge.
        target: "observed" or "drift".
        max_frames: use at most this many frames, spread evenly.
        on_block: called with the number of frames done, for progress.
        device: where the products are computed; on the CPU in any case with own terms of sparse circuits.
        own: terms of every neuron's own voltage.
    """
    n = wiring.n_neurons
    columns, per_neuron = columns_of(message, wiring), not isinstance(message, EdgeMessages)
    has_stimulus = np.zeros(n, dtype=bool)
    total, sums, squares = 0, np.zeros(1), np.zeros(1)
    n_frames = frames.n_targets(target) if max_frames is None else min(max_frames, frames.n_targets(target))
    products: PairSums | DeviceGrams | GroupSums
    if per_neuron and pairs_are_cheaper(wiring, own):
        products = PairSums(wiring, device, own)
    elif device.type != "cpu" and not own.n_terms:
        products = DeviceGrams(wiring, device, columns)
    else:
        products = GroupSums(wiring, columns, own, n_frames)
    spans = frame_blocks(frames, target, max_frames, frames_at_once(message, wiring, BLOCK_FRAMES))
    for voltage, external, y in ahead(block_arrays(frames, wiring, target, span) for span in spans):
        has_stimulus = stimulated(wiring, external is not None)
        messages = messages_of(message, voltage, wiring)
        products.add(messages, voltage, external, y)
        total += len(voltage)
        sums, squares = (a + b for a, b in zip((sums, squares), moments(messages), strict=True))
        if on_block is not None:
            on_block(total)
    mean = sums / total
    std = np.sqrt(np.maximum(squares / total - mean**2, 0.0))
    return NeuronGrams(products.grams(has_stimulus), total, has_stimulus, mean, std, columns, own.n_terms)


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sums of squares (M,) over the rows of (T, M), in float64."""
    sums, squares = np.empty((2, values.shape[1]))

    def add(part: int) -> None:
        columns = slice(part * COLUMNS, (part + 1) * COLUMNS)
        block = values[:, columns].astype(np.float64)
        sums[columns], squares[columns] = block.sum(0), np.einsum("tn,tn->n", block, block)

    in_parallel(add, -(-values.shape[1] // COLUMNS))
    return sums, squares


def pairs_are_cheaper(wiring: Wiring, own: OwnTerms) -> bool:
    """Whether one product of all pairs of messages costs less than one for the inputs of every neuron."""
    each = float(((wiring.in_degree + 3.0 + own.n_terms) ** 2).sum()) / 2  # their symmetric halves
    return each > (3.0 + own.n_terms) * float(wiring.n_neurons) ** 2
