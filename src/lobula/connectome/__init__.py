"""Circuits: the wiring, and the connectomes whose parameters are known."""

from lobula.connectome.base import Connectome
from lobula.connectome.equation import Equation
from lobula.connectome.optic_lobe import assemble, optic_lobe
from lobula.connectome.optic_lobe_graph import (
    OpticLobeGraph,
    OpticLobeTypes,
    build_graph,
    hexagonal_columns,
    optic_lobe_types,
)
from lobula.connectome.parameters import TypeParameters, load_parameters, parameters_to_csv
from lobula.connectome.random import CONNECTIVITY, Draw, draw_edges, obey_dale
from lobula.data.wiring import Wiring

__all__ = [
    "CONNECTIVITY",
    "Connectome",
    "Draw",
    "Equation",
    "OpticLobeGraph",
    "OpticLobeTypes",
    "TypeParameters",
    "Wiring",
    "assemble",
    "build_graph",
    "draw_edges",
    "hexagonal_columns",
    "load_parameters",
    "obey_dale",
    "optic_lobe",
    "optic_lobe_types",
    "parameters_to_csv",
]
