"""One parameter at a time: what the instruction documents ask of a language model, done by rule. A control."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lobula.exploration.proposals import Ablate, Proposal, Recombine, Replicate, Strategy
from lobula.exploration.proposers.axes import Axis
from lobula.exploration.proposers.base import Request
from lobula.exploration.proposers.history import History, generator
from lobula.exploration.proposers.random import draw
from lobula.exploration.records import NodeRecord

_STEPS: dict[str, tuple[float, float]] = {"exploit": (0.06, 0.12), "explore": (0.25, 0.45)}
"""Sizes of a step, as shares of an axis; on a log axis of four decades .06 is a factor of 1.7."""
_CHAIN = 4  # ancestors whose parameters switch-dimension leaves alone
_N_TRIES = 64


class MutatorProposer:
    """Changes one parameter of the parent that the policy names, by a step whose size follows from the strategy.

    Args:
        seed: of the draws.
    """

    name = "mutator"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def propose(self, request: Request) -> list[Proposal]:
        """One-parameter mutations of the parent; a replicate, a recombination or an ablation where that is wanted.

        Raises:
            ProposerError: if every neighbour of the parent was tried.
        """
        history = History(request.snapshot)
        rng = generator(self._seed, request.snapshot)
        special = _special(request, history, rng)
        if special is not None:
            return [special]
        moves = history.first_moves(request.n)
        parent = request.snapshot.node(request.parents[0]) if request.parents else None
        strategy = request.strategy
        axes = _axes(history, parent, strategy)
        plans = [(_N_TRIES, lambda: _one(history, parent, axes, strategy, rng))]
        if strategy == "random":
            plans = [(_N_TRIES, lambda: draw(history.axes, rng))]
        elif strategy != "exploit":  # both ends of every axis may have been tried
            plans.append((_N_TRIES, lambda: _one(history, parent, history.axes, "exploit", rng)))

        def make(values: Mapping[str, Any]) -> Proposal | None:
            words = ", ".join(f"{path} -> {value}" for path, value in values.items())
            return history.mutation(parent, values, strategy, words if len(values) == 1 else "a random config")  # type: ignore[arg-type]

        return moves + history.fill(plans, make, request.n - len(moves), self.name)


def _special(request: Request, history: History, rng: np.random.Generator) -> Proposal | None:
    """Strategies that change no value by a step."""
    parents, strategy = request.parents, request.strategy
    if strategy in ("robustness-test", "replicate") and parents:
        name: Strategy = "replicate" if strategy == "replicate" else "robustness-test"
        return Replicate(parents=parents[:1], strategy=name, hypothesis="the same on another pair of seeds")
    if strategy == "recombine" and len(parents) > 1:
        first, second = (history.values(request.snapshot.node(parent)) for parent in parents[:2])
        apart = [path for path in first if second[path] != first[path]]
        if len(apart) > 1:  # else the child would be the second parent
            half = rng.permutation(len(apart))[: len(apart) // 2]
            take = tuple(sorted(apart[index] for index in half))
            return Recombine(parents=parents[:2], take=take, hypothesis="fields of both")
    if strategy == "ablate" and parents:
        changed = sorted(request.snapshot.node(parents[0]).values)
        if changed:
            path = changed[int(rng.integers(len(changed)))]
            return Ablate(parents=parents[:1], paths=(path,), hypothesis=f"{path} is not needed")
    return None


def _axes(history: History, parent: NodeRecord | None, strategy: str) -> list[Axis]:
    """Axes to step along: not those of the recent chain where the strategy is to switch or to leave a boundary."""
    if strategy not in ("switch-dimension", "boundary-skip"):
        return history.axes
    known = {node.id: node for node in history.snapshot.nodes}
    recent: set[str] = set()
    node = parent
    for _ in range(_CHAIN):
        if node is None:
            break
        recent |= {path for path, _, _ in node.changes}
        node = known.get(node.parent) if node.parent is not None else None
    return [axis for axis in history.axes if axis.path not in recent] or history.axes


def _one(
    history: History, parent: NodeRecord | None, axes: list[Axis], strategy: str, rng: np.random.Generator
) -> dict[str, Any]:
    axis = axes[int(rng.integers(len(axes)))]
    old = history.values(parent)[axis.path]
    if axis.is_choice:
        others = [choice for choice in axis.choices if choice != old]
        return {axis.path: others[int(rng.integers(len(others)))] if others else old}
    place = axis.unit(old)
    if place is None:  # no number: nothing to step from
        return {axis.path: axis.value(rng.random())}
    if strategy == "failure-probe":
        return {axis.path: axis.value(0.0 if rng.random() < 0.5 else 1.0)}
    steps = _STEPS["explore" if strategy in ("explore", "forced-branch", "switch-dimension") else "exploit"]
    step = rng.uniform(*steps) * (1 if rng.random() < 0.5 else -1)
    target = place + step if 0 <= place + step <= 1 else place - step
    new = axis.value(target)
    if new == old and axis.dimension.kind == "int":  # a step of an integer is at least one
        new = axis.clipped(old + (1 if step > 0 else -1))
    return {axis.path: new}
