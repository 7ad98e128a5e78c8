"""The families of movies by name; a new one is one file and one line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.data.streams import Streams
from lobula.errors import ConfigError
from lobula.stimuli.base import ClipSource, Scope, Stimulus
from lobula.stimuli.dead_leaves import DeadLeaves
from lobula.stimuli.mixed import Mixed
from lobula.stimuli.noise import BlueNoise, Flicker, MSequence, WhiteNoise
from lobula.stimuli.patterns import Flash, Grating, Grey, MovingBar, MovingEdge
from lobula.stimuli.photos import Photos
from lobula.stimuli.video import Video

Family = Callable[[StimulusConfig, np.ndarray, float, Scope], ClipSource]


def _mixed(config: StimulusConfig, columns: np.ndarray, dt: float, scope: Scope) -> ClipSource:
    sources = [(kind, STIMULI[kind](config, columns, dt, scope.within(kind))) for kind in config.mixed_kinds]
    return Mixed(sources, scope)


def _made_up(family: Callable[[StimulusConfig, np.ndarray, float], ClipSource]) -> Family:
    """A family that needs no files: splits differ by their random streams alone."""
    return lambda config, columns, dt, scope: family(config, columns, dt)


STIMULI: Mapping[str, Family] = MappingProxyType(
    {
        "dead_leaves": _made_up(DeadLeaves),
        "photos": Photos,
        "video": Video,
        "flash": _made_up(Flash),
        "moving_edge": _made_up(MovingEdge),
        "moving_bar": _made_up(MovingBar),
        "grating": _made_up(Grating),
        "flicker": _made_up(Flicker),
        "white_noise": _made_up(WhiteNoise),
        "m_sequence": _made_up(MSequence),
        "blue_noise": _made_up(BlueNoise),
        "grey": _made_up(Grey),
        "blank": _made_up(Grey),
        "mixed": _mixed,
    }
)


def make_stimulus(
    config: StimulusConfig, columns: np.ndarray, dt: float = 0.02, seed: int = 0, split: str = "train"
) -> Stimulus:
    """The movie that a config describes.

    Args:
        config: section `stimulus`.
        columns: (H, 2) axial coordinates of the eye's columns, in the order of the circuit.
        dt: time between frames [s].
        seed: root seed.
        split: splits see different scenes, and different files where the scenes come from files.

    Returns:
        An endless movie with random access.

    Raises:
        ConfigError: if the kind is not known, its settings contradict each other, or it has too few files to split.
        MissingInputError: if its files are not there.
        MissingDependencyError: if a library that reads them is not installed.
        StoreError: if they cannot be decoded.
    """
    if config.kind not in STIMULI:
        raise ConfigError(f"stimulus.kind: got {config.kind!r}, expected one of {', '.join(STIMULI)}")
    scope = Scope(Streams(seed), split)
    return Stimulus(STIMULI[config.kind](config, columns, dt, scope), scope)
