"""Figures: arrays and a style in, a figure and the table of what it shows out. They draw, they never compute scores."""

from lobula.figures.activity import activity_ranks, kinograph
from lobula.figures.adaptive import compact_svg, darken_bitmaps, has_bitmaps
from lobula.figures.cell_types import clusters_in_plane, types_in_plane
from lobula.figures.confusion import confusion_matrix
from lobula.figures.connectivity import connectivity_matrix
from lobula.figures.curves import message_curves, update_curves
from lobula.figures.eye import Sheet, hexagon_centres, hexagonal_eye
from lobula.figures.movie import Movie, eye_movie
from lobula.figures.noise import residual_spread
from lobula.figures.readout import raw_and_corrected, slopes_by_type
from lobula.figures.recovery import recovery_scatter
from lobula.figures.spectrum import singular_alignment, weight_spectra
from lobula.figures.speed import cost_curves
from lobula.figures.study import study_curve, study_panels
from lobula.figures.style import DARK, LIGHT, FigureStyle
from lobula.figures.summary import Pair, training_summary
from lobula.figures.traces import rollout_error, rollout_traces
from lobula.figures.training import loss_terms, training_in_phases
from lobula.figures.type_errors import ByType, type_errors
from lobula.figures.type_pairs import identifiability_map, resolution_histogram, weights_by_type

__all__ = [
    "DARK",
    "LIGHT",
    "ByType",
    "FigureStyle",
    "Movie",
    "Pair",
    "Sheet",
    "activity_ranks",
    "clusters_in_plane",
    "compact_svg",
    "confusion_matrix",
    "connectivity_matrix",
    "cost_curves",
    "darken_bitmaps",
    "eye_movie",
    "has_bitmaps",
    "hexagon_centres",
    "hexagonal_eye",
    "identifiability_map",
    "kinograph",
    "loss_terms",
    "message_curves",
    "raw_and_corrected",
    "recovery_scatter",
    "residual_spread",
    "resolution_histogram",
    "rollout_error",
    "rollout_traces",
    "singular_alignment",
    "slopes_by_type",
    "study_curve",
    "study_panels",
    "training_in_phases",
    "training_summary",
    "type_errors",
    "types_in_plane",
    "update_curves",
    "weight_spectra",
    "weights_by_type",
]
