"""Config section `recovery`: how the circuit is read out of a fitted model."""

from typing import Literal

from lobula.config.base import Section, param


class RecoveryConfig(Section):
    """How the circuit is read out of a fitted model."""

    readout: Literal["refit", "on_distribution", "reference"] = param(
        "refit", "way of reading the gnn", role="block_only"
    )
    max_frames: int = param(32_000, "frames of the refit at most", unit="frames", ge=2)
    types_from: Literal["everything", "dynamics"] = param(
        "everything",
        "what cell types differ in: all that was recovered, partners included; or what a neuron does by itself alone",
        role="block_only",
    )
    n_cell_types: int | None = param(None, "number of clusters; null selects it from the data", ge=1)
