"""Random connectivity: who connects to whom in a signal network, and how strongly. ``W[post, pre]``, diagonal 0."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from lobula.connectome.weight_file import read_weights
from lobula.data.streams import Streams
from lobula.data.wiring import edges_of
from lobula.errors import ConfigError

CAUCHY_LIMIT = 25.0
SUCCESSOR_DISCOUNT = 0.98
RING_COSINE, RING_OFFSET = 1.0, 0.5
UNIFORM_HALF_WIDTH = 0.5


@dataclass(frozen=True, eq=False)
class Draw:
    """What a kind of connectivity is drawn from.

    Attributes:
        n_neurons: number of neurons N.
        cell_type: (N,) int64.
        rank: of low_rank.
        streams: random streams of the root seed.
    """

    n_neurons: int
    cell_type: np.ndarray
    rank: int
    streams: Streams

    def generator(self, what: str) -> np.random.Generator:
        """A fresh generator for one thing that is drawn."""
        return self.streams.generator("connectome", what)


def lorentz(draw: Draw) -> np.ndarray:
    """(N, N) standard Cauchy, 0 beyond 25 in magnitude, over N^p: heavy tails with a bounded radius at every size."""
    n = draw.n_neurons
    weight = draw.generator("weight").standard_cauchy((n, n))
    weight[np.abs(weight) > CAUCHY_LIMIT] = 0.0
    weight /= n ** lorentz_exponent(n)
    return weight


def lorentz_exponent(n_neurons: int) -> float:
    """p of N^p."""
    for limit, exponent in ((2_000, 0.7), (4_000, 0.675), (8_000, 0.67), (8_001, 0.66)):
        if n_neurons < limit:
            return exponent
    return 0.5


def gaussian(draw: Draw) -> np.ndarray:
    """(N, N) normal over sqrt(N): spectral radius 1, chaotic for gains above the leak."""
    n = draw.n_neurons
    return draw.generator("weight").standard_normal((n, n)) / np.sqrt(n)


def low_rank(draw: Draw) -> np.ndarray:
    """(N, N) U V / sqrt(r N) with normal factors of rank r; the diagonal that is cut later adds to the rank."""
    n, r = draw.n_neurons, draw.rank
    if r > n:
        raise ConfigError(f"signal.rank: got {r}, expected at most the number of neurons, {n}")
    generator = draw.generator("weight")
    return generator.standard_normal((n, r)) @ generator.standard_normal((r, n)) / np.sqrt(r * n)


def uniform(draw: Draw) -> np.ndarray:
    """(N, N) uniform in [-1/2, 1/2], as published without a scale for the size."""
    n = draw.n_neurons
    return draw.generator("weight").uniform(-UNIFORM_HALF_WIDTH, UNIFORM_HALF_WIDTH, (n, n))


def ring_attractor(draw: Draw) -> np.ndarray:
    """(N, N) (cos(theta_i - theta_j) + 1/2) / N on a ring of N directions."""
    n = draw.n_neurons
    theta = 2 * np.pi * np.arange(n) / n
    return (RING_COSINE * np.cos(theta[:, None] - theta) + RING_OFFSET) / n


def successor(draw: Draw) -> np.ndarray:
    """(N, N) .98^(j - i) for j >= i, else 0: the inverse of 1 - .98 T, where T leads from each neuron to the next."""
    ahead = np.arange(draw.n_neurons) - np.arange(draw.n_neurons)[:, None]
    return np.where(ahead >= 0, SUCCESSOR_DISCOUNT ** np.maximum(ahead, 0), 0.0)


def structured(draw: Draw) -> np.ndarray:
    """(N, N) blocks by cell type: magnitudes of `lorentz`, one random sign per pair of types."""
    n_types = int(draw.cell_type.max()) + 1
    sign = draw.generator("blocks").choice((-1.0, 1.0), (n_types, n_types))
    return np.abs(lorentz(draw)) * sign[draw.cell_type[:, None], draw.cell_type]


CONNECTIVITY: Mapping[str, Callable[[Draw], np.ndarray]] = MappingProxyType(
    {
        "lorentz": lorentz,
        "gaussian": gaussian,
        "low_rank": low_rank,
        "uniform": uniform,
        "ring_attractor": ring_attractor,
        "successor": successor,
        "structured": structured,
    }
)
"""Matrices of weights by kind; a new one is one function and one line here."""


def draw_edges(draw: Draw, kind: str, fill: float, file: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Edges and their weights.

    A pair of different neurons is an edge with probability ``fill``, whatever its weight, a weight of 0 included; of a
    file, so are the pairs with a weight other than 0.

    Args:
        draw: sizes, types and random streams.
        kind: one of `CONNECTIVITY`, or "file".
        fill: probability that an edge is kept.
        file: of kind "file".

    Returns:
        edge_index (2, E) int64, row 0 presynaptic, and weight (E,) float64; sorted by (post, pre) but for a file.

    Raises:
        ConfigError: if a name or value is not valid.
        LobulaError: if the file cannot be read.
    """
    if not 0 < fill <= 1:
        raise ConfigError(f"signal.fill: got {fill!r}, expected a probability > 0 and <= 1")
    if (kind == "file") != (file is not None):
        got = "none" if file is None else repr(str(file))
        raise ConfigError(
            f"signal.connectivity_file: got {got} with connectivity {kind}, expected a file for kind file"
        )
    kept = draw.generator("fill")
    if file is not None:
        edge_index, weight = read_weights(Path(file), draw.n_neurons)
        keep = kept.random(len(weight)) < fill
        return edge_index[:, keep], weight[keep]
    if kind not in CONNECTIVITY:
        raise ConfigError(f"signal.connectivity: got {kind!r}, expected one of {', '.join(CONNECTIVITY)}, file")
    n = draw.n_neurons
    mask = kept.random((n, n), dtype=np.float32) < fill if fill < 1 else np.ones((n, n), dtype=bool)
    np.fill_diagonal(mask, False)
    weight = CONNECTIVITY[kind](draw)[mask]
    return edges_of(mask), weight


def obey_dale(weight: np.ndarray, pre: np.ndarray, n_neurons: int, share: float) -> np.ndarray:
    """(E,) the same magnitudes; the first ``share`` of the neurons excite, the others inhibit.

    Raises:
        ConfigError: if the share is not one.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"signal.dale_factor: got {share!r}, expected a share of excitatory neurons within 0 and 1")
    sign = np.where(np.arange(n_neurons) < round(share * n_neurons), 1.0, -1.0)
    return np.abs(weight) * sign[pre]
