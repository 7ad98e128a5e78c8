"""Tiles the published type-to-type connectome of the fly optic lobe over a hexagonal eye."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from lobula.errors import ConfigError

MAX_EXTENT = 20
N_RECEPTOR_TYPES = 8  # R1..R8 are the first types of the file


@dataclass(frozen=True, eq=False)
class OpticLobeTypes:
    """The published averages: cell types, type pairs and their hexagonal offsets (gaps filled).

    Attributes:
        names: the C cell types in file order.
        strides: (C, 2) int64; a type has a neuron where u % stride_u == 0 and v % stride_v == 0.
        pair_source, pair_target: (P,) int64 cell type of every pair.
        pair_sign: (P,) float64, +1 excitatory, -1 inhibitory.
        offset_pair: (K,) int64 pair of every offset, ascending.
        offset: (K, 2) int64 (du, dv), target column minus source column.
        offset_n_syn: (K,) float64 mean number of synapses.
    """

    names: tuple[str, ...]
    strides: np.ndarray
    pair_source: np.ndarray
    pair_target: np.ndarray
    pair_sign: np.ndarray
    offset_pair: np.ndarray
    offset: np.ndarray
    offset_n_syn: np.ndarray

    @property
    def n_types(self) -> int:
        """Number of cell types C."""
        return len(self.names)

    @property
    def n_pairs(self) -> int:
        """Number of type pairs P."""
        return self.pair_source.size

    @property
    def offset_used(self) -> np.ndarray:
        """(K,) bool: whether an edge can exist, which the strides forbid between some Lawf cells."""
        stride = np.gcd(self.strides[self.pair_source], self.strides[self.pair_target])[self.offset_pair]
        return (self.offset % stride == 0).all(axis=1)

    def pair_names(self, pair: int) -> tuple[str, str]:
        """Names of the source and the target type of a pair."""
        return self.names[self.pair_source[pair]], self.names[self.pair_target[pair]]


@dataclass(frozen=True, eq=False)
class OpticLobeGraph:
    """The tiled graph before any parameter: neurons type-major, edges sorted by (post, pre).

    Attributes:
        types: the averages that it was built from.
        extent: radius R of the eye in columns.
        columns: (H, 2) int64 axial coordinates (u, v).
        cell_type, u, v, column: (N,) int64 type, axial coordinates and column index of every neuron.
        edge_index: (2, E) int64, row 0 presynaptic, row 1 postsynaptic.
        edge_offset: (E,) int64 offset of `types` that every edge comes from.
        edge_pair: (E,) int64 type pair of every edge.
        n_syn, sign: (E,) float64.
    """

    types: OpticLobeTypes
    extent: int
    columns: np.ndarray
    cell_type: np.ndarray
    u: np.ndarray
    v: np.ndarray
    column: np.ndarray
    edge_index: np.ndarray
    edge_offset: np.ndarray
    edge_pair: np.ndarray
    n_syn: np.ndarray
    sign: np.ndarray

    @property
    def n_neurons(self) -> int:
        """Number of neurons N."""
        return self.cell_type.size

    @property
    def receptor(self) -> np.ndarray:
        """(N,) bool, True for R1..R8."""
        return self.cell_type < N_RECEPTOR_TYPES


@cache
def optic_lobe_types() -> OpticLobeTypes:
    """The shipped averages with their gaps filled (read once per process).

    Reference:
        Lappalainen et al. (2024), Nature 634:1132.
    """
    raw = resources.files("lobula.package_data").joinpath("optic_lobe.json.gz").read_bytes()
    spec = json.loads(gzip.decompress(raw))
    names = tuple(name for name, _, _ in spec["types"])
    index = {name: i for i, name in enumerate(names)}
    pairs = [(index[source], index[target], sign) for source, target, sign, _ in spec["pairs"]]
    filled = [_fill_gaps(offsets) for _, _, _, offsets in spec["pairs"]]
    flat = np.array([row for rows in filled for row in rows], dtype=np.float64)
    table = np.array(pairs, dtype=np.int64)
    return OpticLobeTypes(
        names=names,
        strides=np.array([row[1:] for row in spec["types"]], dtype=np.int64),
        pair_source=table[:, 0],
        pair_target=table[:, 1],
        pair_sign=table[:, 2].astype(np.float64),
        offset_pair=np.repeat(np.arange(len(filled)), [len(rows) for rows in filled]),
        offset=flat[:, :2].astype(np.int64),
        # The published graph holds counts in single precision; its checksums are sums of the rounded values.
        offset_n_syn=flat[:, 2].astype(np.float32).astype(np.float64),
    )


def hexagonal_columns(extent: int) -> np.ndarray:
    """Axial coordinates of the columns of an eye of radius R, u ascending, then v ascending.

    Args:
        extent: radius R; there are 3 R (R + 1) + 1 columns.

    Returns:
        (H, 2) int64 coordinates (u, v) with abs(u), abs(v), abs(u + v) <= R.

    Raises:
        ConfigError: if the extent is not an integer in 0..20.
    """
    if isinstance(extent, bool) or not isinstance(extent, int | np.integer) or not 0 <= extent <= MAX_EXTENT:
        raise ConfigError(f"extent: got {extent!r}, expected an integer in 0..{MAX_EXTENT}; 8 is the published size")
    u, v = np.meshgrid(np.arange(-extent, extent + 1), np.arange(-extent, extent + 1), indexing="ij")
    inside = np.abs(u + v) <= extent
    return np.stack([u[inside], v[inside]], axis=1).astype(np.int64)


def build_graph(extent: int) -> OpticLobeGraph:
    """Place the neurons of every type and connect them by the averaged offsets, without wrap-around.

    Args:
        extent: radius R of the eye in columns; 8 gives 13,741 neurons and 434,112 edges.

    Returns:
        The graph; the checksums in the tests pin it exactly.

    Raises:
        ConfigError: if the extent is not an integer in 0..20.
    """
    types, columns = optic_lobe_types(), hexagonal_columns(extent)
    present = (columns[None] % types.strides[:, None] == 0).all(axis=2)  # (C, H)
    cell_type, column = np.nonzero(present)  # type-major, columns ascending
    neuron_at = np.full(present.shape, -1, dtype=np.int64)
    neuron_at[present] = np.arange(cell_type.size)

    pre, post, offset = _connect(types, columns, neuron_at, int(extent))
    order = np.argsort(post * cell_type.size + pre, kind="stable")
    pre, post, offset = pre[order], post[order], offset[order]
    pair = types.offset_pair[offset]
    return OpticLobeGraph(
        types=types,
        extent=int(extent),
        columns=columns,
        cell_type=cell_type,
        u=columns[column, 0],
        v=columns[column, 1],
        column=column,
        edge_index=np.stack([pre, post]),
        edge_offset=offset,
        edge_pair=pair,
        n_syn=types.offset_n_syn[offset],
        sign=types.pair_sign[pair],
    )


def _connect(
    types: OpticLobeTypes, columns: np.ndarray, neuron_at: np.ndarray, extent: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All edges as (pre, post, offset index), one row of the (K, H) table per offset."""
    # Index of the column at (u + R, v + R), -1 off the eye; out-of-range targets are clipped onto a border of -1.
    grid = np.full((2 * extent + 3, 2 * extent + 3), -1, dtype=np.int64)
    grid[columns[:, 0] + extent + 1, columns[:, 1] + extent + 1] = np.arange(len(columns))
    target = np.clip(columns[None] + types.offset[:, None] + extent + 1, 0, 2 * extent + 2)  # (K, H, 2)
    target_column = grid[target[..., 0], target[..., 1]]
    source_type, target_type = types.pair_source[types.offset_pair], types.pair_target[types.offset_pair]
    pre = neuron_at[source_type]
    post = np.where(target_column >= 0, neuron_at[target_type[:, None], target_column], -1)
    offset, source_column = np.nonzero((pre >= 0) & (post >= 0))
    return pre[offset, source_column], post[offset, source_column], offset


def _fill_gaps(offsets: list[list[float]]) -> list[tuple[int, int, float]]:
    """The offsets of one pair, with unlisted lattice points inside their convex hull appended as one synapse."""
    listed = [(int(du), int(dv), float(n_syn)) for du, dv, n_syn in offsets]
    if len(listed) < 3:
        return listed
    points = {(du, dv) for du, dv, _ in listed}
    hull = _convex_hull(points)
    us, vs = [u for u, _ in hull], [v for _, v in hull]
    added = [
        (u, v, 1.0)
        for u in range(min(us), max(us) + 1)
        for v in range(min(vs), max(vs) + 1)
        if (u, v) not in points and _inside(u, v, hull)
    ]
    return listed + added


def _convex_hull(points: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Strict hull by the monotone chain, vertices counter-clockwise in (u, v)."""

    def chain(ordered: list[tuple[int, int]]) -> list[tuple[int, int]]:
        hull: list[tuple[int, int]] = []
        for x, y in ordered:
            while len(hull) >= 2:
                (x0, y0), (x1, y1) = hull[-2], hull[-1]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                hull.pop()
            hull.append((x, y))
        return hull

    ordered = sorted(points)
    return chain(ordered)[:-1] + chain(ordered[::-1])[:-1]


def _inside(x: int, y: int, hull: list[tuple[int, int]]) -> bool:
    """Crossing test in integers; which border points count follows from the orientation of the hull.

    This reproduces the published graph exactly: 238 points are added over all pairs.
    """
    inside = False
    for (x0, y0), (x1, y1) in zip(hull, hull[1:] + hull[:1], strict=True):
        above = y1 >= y
        if (y0 >= y) != above and ((y1 - y) * (x0 - x1) >= (x1 - x) * (y0 - y1)) == above:
            inside = not inside
    return inside
