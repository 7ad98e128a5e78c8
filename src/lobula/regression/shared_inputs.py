"""Gram matrices of sparsely connected neurons on the CPU: neurons that share most of their inputs share one product.

In a circuit that repeats itself from column to column the same pair of sources meets at several neurons (in the optic
lobe four times on average). Neurons are put into groups; a group gathers the union of its inputs once, and its product
with itself holds the matrix of every member.

Where the equations leave much noise, the products are of 32-bit numbers, off the mean of each: their rounding is far
below what the noise does to the sums, and they cost less. The first frames tell, in 64 bits.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse

from lobula.data.wiring import Wiring
from lobula.regression.own_terms import OwnTerms
from lobula.regression.threads import in_parallel, neuron_major

PAIR_COST = 0.011
"""Time of one product of two rows over that of gathering a row, measured for 1 to 300 rows of 2,000 frames."""
LEAST_OVERLAP = 0.5
"""Of the inputs of the smaller of two neurons: less is not looked at."""
ROWS_AT_ONCE = 4096
"""Neurons whose overlaps with all others are computed at a time."""
PRODUCT_FRAMES = 2000
"""Frames that are multiplied at a time, out of memory that is kept: fresh memory costs more than the copy."""
FEWEST_FRAMES = 8000
"""Below, finding the groups takes longer than they save."""
NOISY = 0.01
"""Share of a target's variance that its equation leaves, above which 32 bits are enough."""
ASKED = 1000
"""Neurons that are asked for it."""
STILL = 1e-10
"""Of a row's square: a variance below is rounding."""


@dataclass(frozen=True)
class InputGroup:
    """Neurons whose matrices come out of one product.

    Attributes:
        members: (m,) neurons.
        sources: (u,) sorted messages that any of them receives.
    """

    members: np.ndarray
    sources: np.ndarray


class _Merging:
    """Greedy agglomeration: the two groups whose union saves most are merged, until no union saves anything."""

    def __init__(self, inputs: list[set[int]], rows_each: int) -> None:
        self._inputs: list[set[int] | None] = [*inputs]
        self._members = [[i] for i in range(len(inputs))]
        self._near: list[set[int]] = [set() for _ in inputs]
        self._rows_each = rows_each
        self._heap: list[tuple[float, int, int, int, int]] = []

    def _cost(self, n_sources: int, n_members: int) -> float:
        rows = n_sources + n_members * self._rows_each + 1
        return rows + PAIR_COST * rows * rows

    def offer(self, a: int, b: int) -> None:
        """Notes two groups as candidates if their union is cheaper than both apart."""
        first, second = self._inputs[a], self._inputs[b]
        if first is None or second is None:
            return
        n_a, n_b = len(self._members[a]), len(self._members[b])
        apart = self._cost(len(first), n_a) + self._cost(len(second), n_b)
        saved = apart - self._cost(len(first | second), n_a + n_b)
        if saved > 0:
            heapq.heappush(self._heap, (-saved, a, b, n_a, n_b))
            self._near[a].add(b)
            self._near[b].add(a)

    def run(self) -> Iterator[tuple[list[int], set[int]]]:
        """Merges as long as it pays; yields members and inputs of every group."""
        while self._heap:
            _, a, b, n_a, n_b = heapq.heappop(self._heap)
            into, gone = self._inputs[a], self._inputs[b]
            if into is None or gone is None or (n_a, n_b) != (len(self._members[a]), len(self._members[b])):
                continue  # one of them has been merged since
            into |= gone
            self._members[a] += self._members[b]
            self._inputs[b] = None
            for other in (self._near[a] | self._near[b]) - {a, b}:
                self.offer(a, other)
        for members, inputs in zip(self._members, self._inputs, strict=True):
            if inputs is not None:
                yield members, inputs


def input_groups(wiring: Wiring, columns: np.ndarray, rows_each: int, n_frames: int) -> list[InputGroup]:
    """Puts neurons that share inputs into groups, where that saves time; the others stay alone.

    Args:
        wiring: the graph.
        columns: (E,) which message every edge carries.
        rows_each: rows that belong to one neuron: voltage, target, external input, own terms.
        n_frames: frames that will be summed.
    """
    inputs = [set(columns[s:e].tolist()) for s, e in zip(wiring.indptr[:-1], wiring.indptr[1:], strict=True)]
    merging = _Merging(inputs, rows_each)
    if n_frames >= FEWEST_FRAMES and np.array_equal(columns, wiring.pre):  # else a message per edge
        for a, b in _overlapping(wiring):
            merging.offer(a, b)
    return [
        InputGroup(np.array(members), np.array(sorted(sources), dtype=np.intp)) for members, sources in merging.run()
    ]


def _overlapping(wiring: Wiring) -> Iterator[tuple[int, int]]:
    """Pairs of neurons that share half of the inputs of one of them."""
    has = wiring.csr(np.ones(wiring.n_edges, dtype=np.float32))
    transposed, degree = has.T.tocsr(), wiring.in_degree
    for start in range(0, wiring.n_neurons, ROWS_AT_ONCE):
        shared = scipy.sparse.coo_matrix(has[start : start + ROWS_AT_ONCE] @ transposed)
        first, second = shared.row + start, shared.col
        least = LEAST_OVERLAP * np.minimum(degree[first], degree[second])
        keep = (first < second) & (shared.data >= least)
        yield from zip(first[keep].tolist(), second[keep].tolist(), strict=True)


@dataclass(frozen=True, eq=False)
class GroupGrams(Sequence):
    """The Gram matrix of every neuron, cut out of its group's product when asked for.

    Attributes:
        wiring: the graph.
        columns: (E,) which message every edge carries.
        groups: the groups; every neuron is in one.
        products: a (p, p) matrix per group; rows ``[messages, v of all members, 1, I of all, own terms, y of all]``.
        has_stimulus: (N,) which neurons have the row I.
        n_own: rows of own terms per neuron.
    """

    wiring: Wiring
    columns: np.ndarray
    groups: list[InputGroup]
    products: list[np.ndarray]
    has_stimulus: np.ndarray
    n_own: int

    @cached_property
    def _place(self) -> np.ndarray:
        """(N, 2) group of every neuron and its place there."""
        place = np.empty((self.wiring.n_neurons, 2), dtype=int)
        for g, group in enumerate(self.groups):
            place[group.members, 0] = g
            place[group.members, 1] = np.arange(len(group.members))
        return place

    def __len__(self) -> int:
        return self.wiring.n_neurons

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]
        if i >= len(self):
            raise IndexError(i)
        g, k = self._place[i]
        group, product = self.groups[g], self.products[g]
        u, m = len(group.sources), len(group.members)
        inputs = self.columns[self.wiring.indptr[i] : self.wiring.indptr[i + 1]]
        with_input = u + m + 1 if self.has_stimulus[group.members].any() else None
        first_own = u + m + 1 + (0 if with_input is None else m)
        external = [with_input + k] if with_input is not None and self.has_stimulus[i] else []
        own = [first_own + term * m + k for term in range(self.n_own)]
        kept = np.r_[
            np.searchsorted(group.sources, inputs), [u + k, u + m, *external, *own, first_own + self.n_own * m + k]
        ]
        return product[np.ix_(kept, kept)]


class GroupSums:
    """Sums of the products over blocks of frames, in float64.

    Args:
        wiring: the graph.
        columns: (E,) which message every edge carries.
        own: terms of every neuron's own voltage.
        n_frames: frames that will be summed.
    """

    def __init__(self, wiring: Wiring, columns: np.ndarray, own: OwnTerms, n_frames: int) -> None:
        self._wiring, self._columns, self._own = wiring, columns, own
        rows_each = 2 + own.n_terms
        self._groups = input_groups(wiring, columns, rows_each, n_frames)
        self._products: list[np.ndarray | None] = [None] * len(self._groups)
        self._rounded: list[np.ndarray | None] = [None] * len(self._groups)  # of rows off their means
        self._held: dict[str, np.ndarray] = {}
        self._n_held = 0
        self._centre: dict[str, np.ndarray] = {}  # means that are taken off; empty as long as numbers have 64 bits
        self._may_round = own.n_terms == 0 and n_frames >= FEWEST_FRAMES
        self._driven = np.flatnonzero(wiring.stimulated)
        self._driven_row = np.full(wiring.n_neurons, len(self._driven))  # the last row of `e`: no input
        self._driven_row[self._driven] = np.arange(len(self._driven))

    def add(self, messages: np.ndarray, voltage: np.ndarray, external: np.ndarray | None, target: np.ndarray) -> None:
        """Adds a block of frames, each (T, N); messages (T, M)."""
        blocks = {"h": messages, "v": voltage, "y": target}
        if external is not None:  # few neurons have one
            blocks["e"] = np.append(external[:, self._driven], np.zeros((len(external), 1), external.dtype), axis=1)
        start = 0
        while start < len(voltage):
            stop = min(len(voltage), start + PRODUCT_FRAMES - self._n_held)
            held = slice(self._n_held, self._n_held + stop - start)
            for name, block in blocks.items():
                centre = self._centre.get(name)
                if name not in self._held:
                    kind = np.float64 if centre is None else np.float32
                    self._held[name] = np.empty((block.shape[1], PRODUCT_FRAMES), dtype=kind)
                off = None if centre is None else centre.astype(block.dtype)
                neuron_major(block[start:stop], self._held[name][:, held], off)
            self._n_held, start = held.stop, stop
            if self._n_held == PRODUCT_FRAMES:
                self._multiply()

    def _multiply(self) -> None:
        """Adds the products of the frames that are held."""
        held = {
            name: array[:, : self._n_held].copy() if self._n_held < PRODUCT_FRAMES else array
            for name, array in self._held.items()
        }

        def add_group(g: int) -> None:
            rows = self._rows(self._groups[g], held)
            sums = self._rounded if self._centre else self._products
            before = sums[g]
            if before is None:
                sums[g] = (rows @ rows.T).astype(np.float64, copy=False)
            else:
                before += rows @ rows.T

        in_parallel(add_group, len(self._groups))
        if self._may_round and self._least_noise("e" in held) > NOISY:
            self._centre = {name: held[name].mean(1).astype(np.float32) for name in "hvy"}
            self._centre |= {"e": np.zeros(len(held["e"]), np.float32)} if "e" in held else {}
            self._held = {}
        self._may_round, self._n_held = False, 0

    def _with_means(self, group: InputGroup, product: np.ndarray) -> np.ndarray:
        """Products (p, p) of rows off their means as those of the rows themselves."""
        u, m = len(group.sources), len(group.members)
        mean = np.zeros(len(product))
        mean[:u], mean[u : u + m] = self._centre["h"][group.sources], self._centre["v"][group.members]
        mean[-m:] = self._centre["y"][group.members]
        shifted = np.outer(mean, product[u + m])
        return product + shifted + shifted.T + product[u + m, u + m] * np.outer(mean, mean)

    def _least_noise(self, driven: bool) -> float:
        """Least share of the variance of a target that its equation leaves in the frames so far, of some neurons."""
        grams = self._so_far(self._wiring.stimulated if driven else np.zeros(self._wiring.n_neurons, dtype=bool))
        asked = np.unique(np.linspace(0, len(grams) - 1, ASKED).astype(int))
        left = [left_share(grams[i], int(self._wiring.in_degree[i]) + 1) for i in asked]
        return min((share for share in left if np.isfinite(share)), default=0.0)

    def _rows(self, group: InputGroup, held: dict[str, np.ndarray]) -> np.ndarray:
        """(p, T) rows of one group, in the order of `GroupGrams`; what is held is (N, T) each."""
        members, v = group.members, held["v"]
        u, m, k = len(group.sources), len(members), self._own.n_terms
        e = held.get("e") if self._wiring.stimulated[members].any() else None
        rows = np.empty((u + m * (2 + k + (e is not None)) + 1, v.shape[1]), dtype=v.dtype)
        np.take(held["h"], group.sources, axis=0, out=rows[:u], mode="clip")  # the default mode fills a buffer first
        np.take(v, members, axis=0, out=rows[u : u + m], mode="clip")
        rows[u + m] = 1.0
        if e is not None:
            np.take(e, self._driven_row[members], axis=0, out=rows[u + m + 1 : u + 2 * m + 1], mode="clip")
        if k:
            values = [self._own(v[i : i + 1], slice(i, i + 1))[:, 0] for i in members]
            rows[-m * (k + 1) : -m] = np.stack(values, axis=1).reshape(k * m, -1)
        np.take(held["y"], members, axis=0, out=rows[-m:], mode="clip")
        return rows

    def grams(self, has_stimulus: np.ndarray) -> GroupGrams:
        """The sums so far."""
        if self._n_held:
            self._multiply()
        return self._so_far(has_stimulus)

    def _so_far(self, has_stimulus: np.ndarray) -> GroupGrams:
        products = [p for p in self._products if p is not None]
        rounded = [p for p in self._rounded if p is not None]
        if rounded:
            products = [
                exact + self._with_means(group, off)
                for exact, group, off in zip(products, self._groups, rounded, strict=True)
            ]
        return GroupGrams(self._wiring, self._columns, self._groups, products, has_stimulus, self._own.n_terms)


def left_share(gram: np.ndarray, constant: int) -> float:
    """Share of the target's variance that the other rows leave.

    Args:
        gram: (p, p) products of the rows of a neuron, the target's last.
        constant: which row is 1.

    Returns:
        The share; NaN if the target stands still.
    """
    centred = gram - np.outer(gram[constant], gram[constant]) / gram[constant, constant]
    variance = np.diag(centred)
    moves = variance > STILL * np.diag(gram)
    if not moves[-1]:
        return float("nan")
    scale = 1.0 / np.sqrt(variance[moves])
    alike = centred[np.ix_(moves, moves)] * np.outer(scale, scale)
    inner, cross = alike[:-1, :-1], alike[:-1, -1]
    return float(1.0 - cross @ np.linalg.solve(inner + STILL * np.eye(len(inner)), cross))
