"""The connections that are fitted: those of the known graph, or all pairs."""

from lobula.config.update import UpdateConfig
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError

MOST_NEURONS = 3000
"""Neurons whose pairs are fitted: 9 million weights, and products of all pairs of 72 MB each."""


def with_candidates(recording: Recording, update: UpdateConfig) -> Recording:
    """The recording with the graph that is fitted.

    Raises:
        ConfigError: if all pairs are too many.
    """
    if update.graph == "known":
        return recording
    n = recording.n_neurons
    if n > MOST_NEURONS:
        raise ConfigError(
            f"update.graph: got all_pairs with {n:,} neurons, expected at most {MOST_NEURONS:,}; give the graph "
            "(update.graph=known), or record fewer neurons"
        )
    return recording.on(Wiring.all_pairs(n, recording.wiring))
