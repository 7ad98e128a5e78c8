"""What the eye sees: movies as one luminance per hexagonal column."""

from lobula.stimuli.base import ClipSource, Stimulus
from lobula.stimuli.hexeye import HexEye, column_centres, hexagonal_symmetries
from lobula.stimuli.registry import STIMULI, make_stimulus

__all__ = [
    "STIMULI",
    "ClipSource",
    "HexEye",
    "Stimulus",
    "column_centres",
    "hexagonal_symmetries",
    "make_stimulus",
]
