"""Random search: every dimension drawn uniformly on its own scale. The control that an optimiser must beat."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lobula.exploration.proposals import Proposal
from lobula.exploration.proposers.axes import Axis
from lobula.exploration.proposers.base import Request
from lobula.exploration.proposers.history import History, generator

N_DRAWS = 64


class RandomProposer:
    """Draws configs uniformly, on a logarithmic axis where the field has one.

    Args:
        seed: of the draws.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def propose(self, request: Request) -> list[Proposal]:
        """Random configs, as changes of the wanted parent or of the base.

        Raises:
            ProposerError: if there is nothing new in the space.
        """
        history = History(request.snapshot)
        moves = history.first_moves(request.n)
        parent = history.snapshot.node(request.parents[0]) if request.parents else None
        rng = generator(self._seed, request.snapshot)
        draws = [(N_DRAWS, lambda: draw(history.axes, rng))]
        return moves + history.fill(
            draws,
            lambda values: history.mutation(parent, values, "random", "a random config"),
            request.n - len(moves),
            self.name,
        )


def draw(axes: Sequence[Axis], rng: np.random.Generator) -> dict[str, Any]:
    """Values drawn uniformly along the axes."""
    return {axis.path: axis.value(rng.random()) for axis in axes}
