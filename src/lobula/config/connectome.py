"""Config section `connectome`: which circuit."""

from typing import Literal

from lobula.config.base import Section, param


class ConnectomeConfig(Section):
    """Which circuit is simulated."""

    source: Literal["optic_lobe", "signal"] = param(
        "optic_lobe", "optic_lobe: the fly's visual circuit; signal: the random network of section signal"
    )
    extent: int = param(3, "radius of the hexagonal eye; columns = 3 r (r + 1) + 1", unit="columns", ge=0, le=20)
    parameters: str = param("calibrated", "'calibrated', or the path of a flyvis checkpoint or .npz")
