"""Config section `stimulus`: what the eye sees."""

from typing import Literal

from lobula.config.base import Section, param

StimulusKind = Literal["dead_leaves", "flash", "moving_edge", "white_noise", "grey"]


class StimulusConfig(Section):
    """What the eye sees. Fields that the chosen kind does not use are ignored."""

    kind: StimulusKind = param("dead_leaves", "family of movies", role="block_only")
    grey: float = param(0.5, "background luminance, also of the grey steady state", ge=0.0, le=1.0)
    contrast: float = param(1.0, "contrast around grey", ge=0.0, le=1.0, role="block_only")
    clip_frames: int = param(60, "frames per scene", unit="frames", ge=1)
    leaf_radius_min: float = param(6.0, "smallest leaf", unit="px", gt=0.0)
    leaf_radius_max: float = param(220.0, "largest leaf", unit="px", gt=0.0)
    leaf_radius_exponent: float = param(3.0, "density of the leaf radius ~ r^-exponent", ge=0.0)
    pan_speed: float = param(60.0, "standard deviation of the pan velocity", unit="px/s", ge=0.0)
    pan_time: float = param(0.25, "correlation time of the pan velocity", unit="s", gt=0.0)
    rotation_speed: float = param(0.6, "standard deviation of the rotation", unit="rad/s", ge=0.0)
    zoom_speed: float = param(0.15, "standard deviation of the zoom rate", unit="1/s", ge=0.0)
    flash_period: float = param(1.0, "one flash and one pause", unit="s", gt=0.0)
    edge_speed: float = param(10.0, "speed of the moving edge", unit="columns/s", gt=0.0)
    noise_hold: int = param(1, "frames that a white-noise value is held", unit="frames", ge=1)
