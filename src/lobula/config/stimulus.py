"""Config section `stimulus`: what the eye sees."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lobula.config.base import Section, YamlPath, param

SingleKind = Literal[
    "dead_leaves",
    "photos",
    "video",
    "flash",
    "moving_edge",
    "moving_bar",
    "grating",
    "flicker",
    "white_noise",
    "m_sequence",
    "blue_noise",
    "grey",
    "blank",
]
StimulusKind = Literal[SingleKind, "mixed"]
FROM_FILES = ("photos", "video")
_GAZE = ("pan_speed", "pan_time", "rotation_speed", "zoom_speed")
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "dead_leaves": ("leaf_radius_min", "leaf_radius_max", "leaf_radius_exponent", *_GAZE),
    "photos": ("path", *_GAZE),
    "video": ("path", "video_rate", "split_by"),
    "flash": ("flash_period",),
    "moving_edge": ("edge_speed",),
    "moving_bar": ("edge_speed", "bar_width"),
    "grating": ("spatial_frequency", "temporal_frequency"),
    "flicker": ("m_sequence_order", "noise_hold"),
    "white_noise": ("noise_hold",),
    "m_sequence": ("m_sequence_order", "tile_width", "noise_hold"),
    "blue_noise": ("tile_width", "noise_hold"),
    "mixed": ("mixed_kinds",),
}
"""Fields that a kind uses beside those of all kinds; `mixed` uses those of its kinds, too."""
MADE_UP = ("dead_leaves", "flash", "moving_edge", "moving_bar", "grating", "flicker", "white_noise", "m_sequence")


def _distinct(kinds: tuple[SingleKind, ...]) -> tuple[SingleKind, ...]:
    if not kinds or len(set(kinds)) < len(kinds):
        raise ValueError("expected one or more distinct kinds")
    return kinds


MixedKinds = Annotated[tuple[SingleKind, ...], Field(strict=False), AfterValidator(_distinct)]


class StimulusConfig(Section):
    """What the eye sees. A field that is set and that the chosen kind does not use is an error."""

    kind: StimulusKind = param(
        "dead_leaves", "family of movies", role="block_only", search=(*MADE_UP, "blue_noise", "mixed")
    )
    path: YamlPath | None = param(
        None, "footage of kind video (a folder of videos, DAVIS layout or files), or folder of images of kind photos"
    )
    mixed_kinds: MixedKinds = param(
        ("dead_leaves", "flash", "moving_bar", "grating"), "families of kind mixed, one clip of each in turn"
    )
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
    video_rate: float | None = param(
        None,
        "pictures per second at which footage is shown; null: its own rate, 24 where there are only images",
        unit="1/s",
        gt=0.0,
    )
    split_by: Literal["video", "time"] = param(
        "video", "'video': no video is in two splits; 'time' cuts every video, its scenes are then alike in all splits"
    )
    flash_period: float = param(1.0, "one flash and one pause", unit="s", gt=0.0)
    edge_speed: float = param(10.0, "speed of the moving edge or bar", unit="columns/s", gt=0.0)
    bar_width: float = param(2.0, "width of the moving bar", unit="columns", gt=0.0)
    spatial_frequency: float = param(
        0.1, "of the grating; 0 is a full-field sinusoid", unit="cycles/column", ge=0.0, le=0.5
    )
    temporal_frequency: float = param(1.0, "of the grating; 0 stands still", unit="Hz", ge=0.0)
    noise_hold: int = param(1, "frames that a value of noise, flicker or m-sequence is held", unit="frames", ge=1)
    tile_width: int = param(1, "width of a tile of m-sequence or blue noise", unit="columns", ge=1)
    m_sequence_order: int = param(12, "order n of the m-sequence, which repeats after 2^n - 1 values", ge=2, le=14)

    def idle_fields(self) -> list[str]:
        """Fields of other kinds than the chosen ones, in the order of the section."""
        kinds = (self.kind, *self.mixed_kinds) if self.kind == "mixed" else (self.kind,)
        used = {name for kind in kinds for name in OWN_FIELDS.get(kind, ())}
        own = {name for names in OWN_FIELDS.values() for name in names}
        return [name for name in type(self).model_fields if name in own - used]
