"""Figures: arrays and a style in, a figure and the table of what it shows out. They draw, they never compute scores."""

from lobula.figures.cell_types import principal_plane, types_in_plane
from lobula.figures.curves import message_curves, update_curves
from lobula.figures.eye import Sheet, hexagon_centres, hexagonal_eye
from lobula.figures.recovery import recovery_scatter
from lobula.figures.speed import cost_curves
from lobula.figures.style import DARK, LIGHT, FigureStyle
from lobula.figures.traces import rollout_error, rollout_traces
from lobula.figures.training import training_curves
from lobula.figures.type_pairs import identifiability_map, resolution_histogram, weights_by_type

__all__ = [
    "DARK",
    "LIGHT",
    "FigureStyle",
    "Sheet",
    "cost_curves",
    "hexagon_centres",
    "hexagonal_eye",
    "identifiability_map",
    "message_curves",
    "principal_plane",
    "recovery_scatter",
    "resolution_histogram",
    "rollout_error",
    "rollout_traces",
    "training_curves",
    "types_in_plane",
    "update_curves",
    "weights_by_type",
]
