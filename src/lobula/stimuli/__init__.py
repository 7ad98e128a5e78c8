"""What the eye sees: movies as one luminance per hexagonal column."""

from lobula.stimuli.base import ClipSource, Stimulus
from lobula.stimuli.drive import DRIVES, Movie, make_drive
from lobula.stimuli.hexeye import HexEye, column_centres, hexagonal_symmetries
from lobula.stimuli.registry import STIMULI, make_stimulus

__all__ = [
    "DRIVES",
    "STIMULI",
    "ClipSource",
    "HexEye",
    "Movie",
    "Stimulus",
    "column_centres",
    "hexagonal_symmetries",
    "make_drive",
    "make_stimulus",
]
