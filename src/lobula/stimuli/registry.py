"""The families of movies by name; a new one is one file and one line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.errors import ConfigError
from lobula.stimuli.base import ClipSource, Stimulus
from lobula.stimuli.dead_leaves import DeadLeaves
from lobula.stimuli.patterns import Flash, Grey, MovingEdge, WhiteNoise

STIMULI: Mapping[str, Callable[[StimulusConfig, np.ndarray, float], ClipSource]] = MappingProxyType(
    {
        "dead_leaves": DeadLeaves,
        "flash": Flash,
        "moving_edge": MovingEdge,
        "white_noise": WhiteNoise,
        "grey": Grey,
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
        split: splits see different scenes.

    Returns:
        An endless movie with random access.

    Raises:
        ConfigError: if the kind is not known or its settings contradict each other.
    """
    if config.kind not in STIMULI:
        raise ConfigError(f"stimulus.kind: got {config.kind!r}, expected one of {', '.join(STIMULI)}")
    return Stimulus(STIMULI[config.kind](config, columns, dt), seed, split)
