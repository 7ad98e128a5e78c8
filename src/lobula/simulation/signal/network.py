"""Signal networks whose truth is known, from a few numbers and a seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lobula.connectome import Connectome, Draw, Equation, Wiring, draw_edges, hexagonal_columns, obey_dale
from lobula.connectome.base import counted
from lobula.data.streams import Streams
from lobula.errors import ConfigError
from lobula.kernels import get_activation
from lobula.metrics import spectral_radius
from lobula.simulation.signal.models import SIGNAL_MODELS

MOST_EXTENT = 20
MOST_NEURONS = 2_000  # whose spectrum takes seconds


def signal_network(
    n_neurons: int = 1_000,
    connectivity: str = "lorentz",
    fill: float = 1.0,
    parameters: Sequence[Sequence[float]] | None = None,
    seed: int = 0,
    model: str = "N2",
    activation: str = "tanh",
    message_functions: Sequence[str] | None = None,
    drift_period: float = 1_000.0,
    connectivity_file: str | Path | None = None,
    rank: int = 20,
    dale_law: bool = False,
    dale_factor: float = 0.5,
    n_driven: int = 0,
) -> Connectome:
    r"""A random network of a few cell types.

    .. math:: \dot u_i = \phi_i(u_i) + g_i \sum_j W_{ij}\, \psi(u_j) + e_i

    Args:
        n_neurons: number of neurons N; cell types have equal shares of them, one after the other.
        connectivity: lorentz, gaussian, low_rank, uniform, ring_attractor, successor, structured or file.
        fill: probability that a pair of neurons is connected.
        parameters: one row per cell type in the order of the model, [g, s, c] of N2; default: four types.
        seed: root seed of connections and weights.
        model: N2, N3, N4, N5, N6, N7 or N11.
        activation: message function psi: tanh, relu, softplus, sigmoid, saturating or squared.
        message_functions: psi of every cell type, of model N11.
        drift_period: of model N3, time from each type's parameters to the next one's and back [s].
        connectivity_file: of connectivity file, see `lobula.connectome.weight_file.read_weights`.
        rank: of connectivity low_rank.
        dale_law: whether all connections out of a neuron have one sign.
        dale_factor: share of excitatory neurons.
        n_driven: neurons, drawn by the seed, that see one column of a hexagonal eye each (from 1,262 on they share).

    Returns:
        The circuit, with its `equation`: tau = 1/c (1/a), v_rest = b/a or 0, weight = W.

    Raises:
        ConfigError: if a name or value is not valid.
        LobulaError: if the file cannot be read.
    """
    if isinstance(n_neurons, bool) or not isinstance(n_neurons, int | np.integer) or n_neurons < 2:
        raise ConfigError(f"signal.n_neurons: got {n_neurons!r}, expected an integer >= 2")
    equation = make_equation(model, parameters, activation, message_functions, drift_period)
    cell_type, streams = np.arange(n_neurons) * equation.n_types // n_neurons, Streams(seed)
    edges, weight = draw_edges(Draw(n_neurons, cell_type, rank, streams), connectivity, fill, connectivity_file)
    column, columns = _eye(n_neurons, n_driven, streams)
    wiring = Wiring.from_edges(edges, n_neurons, column, n_columns=None if column is None else len(columns))
    if connectivity_file is not None:
        weight = weight[wiring.edge_order]
    if dale_law:
        weight = obey_dale(weight, wiring.pre, n_neurons, dale_factor)
    return _connectome(wiring, weight, cell_type, columns, equation)


def _connectome(
    wiring: Wiring, weight: np.ndarray, cell_type: np.ndarray, columns: np.ndarray, equation: Equation
) -> Connectome:
    n_syn, sign = counted(weight)
    nowhere = np.zeros(wiring.n_neurons, dtype=np.int64)
    return Connectome(
        wiring=wiring,
        weight=weight,
        tau=equation.tau[cell_type],
        v_rest=equation.v_rest[cell_type],
        cell_type=cell_type,
        cell_type_names=tuple(f"type {k}" for k in range(equation.n_types)),
        u=nowhere,
        v=nowhere,
        columns=columns,
        n_syn=n_syn,
        sign=sign,
        equation=equation,
    )


def describe(network: Connectome) -> str:
    """One line: size, and the spectral radius of W and of g W, up to 2,000 neurons."""
    share = network.n_edges / (network.n_neurons * (network.n_neurons - 1))
    text = f"{network.n_neurons:,} neurons, {network.n_edges:,} connections ({share:.1%} of all pairs)"
    if network.n_neurons > MOST_NEURONS:
        return text
    radii = (spectral_radius(network.wiring.csr(values)) for values in (network.weight, network.effective_weight))
    return text + ", spectral radius {:.3g} of W, {:.3g} of g W".format(*radii)


def make_equation(
    model: str = "N2",
    parameters: Sequence[Sequence[float]] | None = None,
    activation: str = "tanh",
    message_functions: Sequence[str] | None = None,
    drift_period: float = 1_000.0,
) -> Equation:
    """The equation of a network; arguments as of `signal_network`.

    Raises:
        ConfigError: if a name, the shape of the parameters or a value is not valid.
    """
    if model not in SIGNAL_MODELS:
        raise ConfigError(f"signal.model: got {model!r}, expected one of {', '.join(SIGNAL_MODELS)}")
    kind = SIGNAL_MODELS[model]
    rows = [list(row) for row in (kind.defaults if parameters is None else parameters)]
    if not rows or any(len(row) != len(kind.layout) for row in rows):
        raise ConfigError(
            f"signal.parameters: got rows of {sorted({len(row) for row in rows})} numbers, expected "
            f"{len(kind.layout)} per cell type of {model}: {', '.join(kind.layout)}"
        )
    table = np.array(rows, dtype=np.float64)
    for name in ("a", "c", "w", "t", "tau"):
        values = table[:, kind.layout.index(name)] if name in kind.layout else np.ones(1)
        if not (np.isfinite(table).all() and (values > 0).all()):
            raise ConfigError(f"signal.parameters: got {rows}, expected finite numbers, and {name} > 0")
    if not np.isfinite(drift_period) or drift_period <= 0:
        raise ConfigError(f"signal.drift_period: got {drift_period!r}, expected seconds > 0")
    functions = _functions(model, len(rows), activation, message_functions)
    return Equation(model, kind.layout, table, functions, float(drift_period))


def _functions(model: str, n_types: int, activation: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """Message function of every cell type."""
    own = SIGNAL_MODELS[model].functions
    if own is None and given is not None:
        raise ConfigError(
            f"signal.message_functions: got {list(given)}, expected null for model {model}; set activation"
        )
    if own is None:
        functions = (activation,) * n_types
    elif given is None:
        functions = tuple(own[k % len(own)] for k in range(n_types))
    else:
        functions = tuple(given)
    if len(functions) != n_types:
        raise ConfigError(f"signal.message_functions: got {len(functions)}, expected one per cell type, {n_types}")
    for name in functions:
        get_activation(name)
    return functions


def _eye(n_neurons: int, n_driven: int, streams: Streams) -> tuple[np.ndarray | None, np.ndarray]:
    """Stimulus column of every neuron, -1 for none, and the columns (H, 2) around the centre of the eye."""
    if not 0 <= n_driven <= n_neurons:
        raise ConfigError(f"drive.n_driven: got {n_driven}, expected at most the number of neurons, {n_neurons}")
    if n_driven == 0:
        return None, np.zeros((0, 2), dtype=np.int64)
    extent = next(r for r in range(MOST_EXTENT + 1) if 3 * r * (r + 1) + 1 >= n_driven or r == MOST_EXTENT)
    columns = hexagonal_columns(extent)
    ring = np.abs(np.column_stack([columns, columns.sum(axis=1)])).max(axis=1)
    columns = columns[np.sort(np.argsort(ring, kind="stable")[:n_driven])]
    column = np.full(n_neurons, -1, dtype=np.int64)
    driven = np.sort(streams.generator("connectome", "driven").choice(n_neurons, n_driven, replace=False))
    column[driven] = np.arange(n_driven) % len(columns)
    return column, columns
