"""CMA-ES, told everything that was observed and asked for one more, from nothing every time."""

from typing import Any

import numpy as np

from lobula.exploration.proposals import Proposal
from lobula.exploration.proposers.base import Request
from lobula.exploration.proposers.history import History, generator
from lobula.exploration.proposers.random import N_DRAWS, draw

_SIGMA = 0.25  # of an axis, around the base
_TRIES = 8


class CmaEsProposer:
    """CMA-ES on the unit cube, a choice being an axis in equal parts.

    Optuna's own sampler keeps its state inside the trials that it asked for; here configs of agents and persons count
    as well, and a restart has only the snapshot. So observed configs are told in the order in which their scores
    came, in generations of the usual size, and an unfinished generation waits.

    Args:
        seed: of the draws.

    Reference:
        Hansen (2016), arXiv 1604.00772; Hansen (2011), Injecting external solutions into CMA-ES, arXiv 1110.4181.
    """

    name = "cmaes"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def propose(self, request: Request) -> list[Proposal]:
        """Configs from the current search distribution, as changes of the parent or the best node.

        Raises:
            ProposerError: if there is nothing new in the space.
        """
        history = History(request.snapshot)
        moves = history.first_moves(request.n)
        if len(moves) == request.n:
            return moves
        rng = generator(self._seed, request.snapshot)
        optimiser = _told(history, int(rng.integers(2**31)))
        parent = history.parent(request.parents)
        why = f"cmaes, generation {optimiser.generation}"

        def ask() -> dict[str, object]:
            place = optimiser.ask()
            return {axis.path: axis.value(float(unit)) for axis, unit in zip(history.axes, place, strict=True)}

        draws = [(_TRIES, ask), (N_DRAWS, lambda: draw(history.axes, rng))]
        return moves + history.fill(
            draws, lambda values: history.mutation(parent, values, "optimiser", why), request.n - len(moves), self.name
        )


def _told(history: History, seed: int) -> Any:
    from cmaes import CMA

    start = np.array([axis.unit(axis.dimension.default) for axis in history.axes])
    bounds = np.array([[0.0, 1.0]] * len(start))
    optimiser = CMA(mean=start, sigma=_SIGMA, bounds=bounds, seed=seed)
    solutions = []
    for tried in history.observed:
        place = [axis.unit(tried.values[axis.path]) for axis in history.axes]
        if tried.score is not None and None not in place:
            solutions.append((np.array(place, dtype=float), -tried.score))
    size = optimiser.population_size
    for first in range(0, len(solutions) - size + 1, size):
        optimiser.tell(solutions[first : first + size])
    return optimiser
