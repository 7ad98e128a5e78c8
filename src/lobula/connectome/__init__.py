"""Circuits: the wiring, and the connectomes whose parameters are known."""

from lobula.connectome.base import Connectome
from lobula.connectome.optic_lobe import assemble, optic_lobe
from lobula.connectome.optic_lobe_graph import (
    OpticLobeGraph,
    OpticLobeTypes,
    build_graph,
    hexagonal_columns,
    optic_lobe_types,
)
from lobula.connectome.parameters import TypeParameters, load_parameters, parameters_to_csv
from lobula.data.wiring import Wiring

__all__ = [
    "Connectome",
    "OpticLobeGraph",
    "OpticLobeTypes",
    "TypeParameters",
    "Wiring",
    "assemble",
    "build_graph",
    "hexagonal_columns",
    "load_parameters",
    "optic_lobe",
    "optic_lobe_types",
    "parameters_to_csv",
]
