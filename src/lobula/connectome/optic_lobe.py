"""The visual circuit of the fruit fly with per-type parameters."""

from pathlib import Path

import numpy as np

from lobula.connectome.base import Connectome
from lobula.connectome.optic_lobe_graph import OpticLobeGraph, build_graph
from lobula.connectome.parameters import CALIBRATED, TypeParameters, load_parameters
from lobula.data.wiring import Wiring
from lobula.errors import StoreError


def optic_lobe(extent: int = 8, parameters: str | Path = CALIBRATED) -> Connectome:
    r"""The optic lobe of *Drosophila*, tiled from the published averages.

    .. math:: W_{ij} = \mathrm{sign} \cdot n_\mathrm{syn} \cdot \mathrm{strength(type\ pair)}

    Args:
        extent: radius of the eye in columns, 0..20; 8 is the published size (13,741 neurons, 434,112 edges).
        parameters: "calibrated" for the values shipped with lobula (made from the connectome and a seed), or the
            path of a .csv or .npz of per-type values or of a flyvis checkpoint.

    Returns:
        The circuit; neurons are type-major, so that R1..R8 come first and receive the stimulus of their column.

    Raises:
        ConfigError: if the extent or the kind of parameter file is not valid.
        MissingInputError: if the parameter file does not exist.
        StoreError: if it does not hold the parameters of this connectome.

    Reference:
        Lappalainen et al. (2024), Nature 634:1132.
    """
    graph = build_graph(extent)
    return assemble(graph, load_parameters(parameters, graph.types))


def assemble(graph: OpticLobeGraph, parameters: TypeParameters) -> Connectome:
    """Give every neuron and edge of a tiled graph the value of its type or pair.

    Raises:
        StoreError: if a pair that has edges has no strength.
    """
    strength = parameters.strength[graph.edge_pair]
    if not np.isfinite(strength).all():
        source, target = graph.types.pair_names(int(graph.edge_pair[np.flatnonzero(~np.isfinite(strength))[0]]))
        raise StoreError(f"parameters: no strength for the pair {source} > {target}, expected one for each pair in use")
    n_syn = graph.n_syn if parameters.n_syn is None else parameters.n_syn[graph.edge_offset]
    column = np.where(graph.receptor, graph.column, -1)  # -1: no stimulus
    wiring = Wiring.from_edges(graph.edge_index, graph.n_neurons, column, n_columns=len(graph.columns))
    return Connectome(
        wiring=wiring,
        weight=graph.sign * n_syn * strength,
        tau=parameters.tau[graph.cell_type],
        v_rest=parameters.v_rest[graph.cell_type],
        cell_type=graph.cell_type,
        cell_type_names=graph.types.names,
        u=graph.u,
        v=graph.v,
        n_syn=n_syn,
        sign=graph.sign,
        columns=graph.columns,
    )
