"""Config section `prior`: what the fit may take from annotations of the recording, besides the graph."""

from typing import Literal

from lobula.config.base import Section, param


class PriorConfig(Section):
    """What is known of the weights besides the graph; everything off is the default."""

    synapse_counts: bool = param(
        False, "weights are as large as their synapse counts: prior and ties are per synapse", role="block_only"
    )
    sign: Literal["none", "known", "inferred"] = param(
        "none",
        "Dale's law, a source's weights have one sign: that of the annotations, or what most of its outputs say",
        role="block_only",
    )
    tied: Literal["none", "soft", "hard"] = param(
        "none",
        "weights between the same two cell types are alike (a common mean) or equal",
        role="block_only",
    )

    @property
    def is_active(self) -> bool:
        """Whether anything is on."""
        return self.synapse_counts or self.sign != "none" or self.tied != "none"

    @property
    def label(self) -> str:
        """What is on in words, as tables name it; empty if nothing is."""
        parts = ["counts"] if self.synapse_counts else []
        parts += [f"Dale {self.sign}"] if self.sign != "none" else []
        parts += [f"tied {self.tied}"] if self.tied != "none" else []
        return ", ".join(parts)
