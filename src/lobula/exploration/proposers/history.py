"""What a classical proposer learns from a snapshot: what this block tried, how good it was, what is under way."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lobula.errors import ConfigError, ProposalError, ProposerError
from lobula.exploration.judge import value_of
from lobula.exploration.proposals import Change, ConfigMutation, Proposal, Replicate, Strategy, parse_proposal
from lobula.exploration.proposers.axes import Axis, axes_of
from lobula.exploration.records import FAILED, PENDING, NodeRecord, ProposalRecord, Snapshot

_BAD = 0.25  # a failure lies this share of the spread below the worst score that counts
_TAIL = 3.0  # scores further below the median than this many times (best - median) are all just bad


@dataclass(frozen=True)
class Tried:
    """A config that was tried.

    Attributes:
        node: the first node that has it.
        values: its values on the axes, by path.
        score: higher is better; failures count as a bad value; None while nothing is known.
        time: when its first observation ended, or 0.
    """

    node: NodeRecord
    values: Mapping[str, Any]
    score: float | None
    time: float = 0.0


class History:
    """A block of a study, seen by a proposer. Made anew for every request; nothing outlives it.

    Args:
        snapshot: all that the study knows.

    Raises:
        ConfigError: if the study's base or space is not valid.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.axes: list[Axis] = axes_of(snapshot.study)
        self._config = snapshot.study.base_config(snapshot.block)
        self.base = _flat(self._config.to_dict())
        self.nodes = [node for node in snapshot.nodes if node.block == snapshot.block]
        earlier = max((node.proposal or 0 for node in snapshot.nodes if node.block < snapshot.block), default=0)
        self._proposals = [record for record in snapshot.proposals if record.id > earlier]  # of this block
        self.observed, self.pending = _observations(snapshot, self.nodes, self._on_axes)
        self._taken = {self._key(node.values, node.code) for node in self.nodes}
        for record in self._proposals:
            if record.verdict == "accepted" or (found := self._of(record)) is None:
                continue
            self._taken.add(self._key(*found))  # neither asked twice, nor asked again after a refusal
            if record.verdict == "pending":
                self.pending.append({axis.path: found[0][axis.path] for axis in self.axes})

    @property
    def best(self) -> NodeRecord | None:
        """The node with the highest score of this block."""
        scored = [tried for tried in self.observed if tried.score is not None]
        return max(scored, key=lambda tried: tried.score or 0.0).node if scored else None

    def parent(self, parents: Sequence[int]) -> NodeRecord | None:
        """The first of the parents that a policy wants, else the best node; None: the base of the block."""
        return self.snapshot.node(parents[0]) if parents else self.best

    def values(self, node: NodeRecord | None) -> dict[str, Any]:
        """All field values of a node, or of the base, by path."""
        return {**self.base, **(node.values if node else {})}

    def mutation(
        self, parent: NodeRecord | None, values: Mapping[str, Any], strategy: Strategy, hypothesis: str
    ) -> ConfigMutation | None:
        """A mutation of the parent to some values; None if it is not new, or no valid config.

        What is returned is taken from now on.
        """
        old = self.values(parent)
        changes = [Change(path=path, old=old[path], new=new) for path, new in values.items() if new != old[path]]
        whole = {**(parent.values if parent else {}), **values}
        key = self._key(whole, parent.code if parent else None)
        if not changes or key in self._taken or not self._is_valid(whole):
            return None
        self._taken.add(key)
        return ConfigMutation(
            parents=(parent.id,) if parent else (), strategy=strategy, hypothesis=hypothesis, changes=tuple(changes)
        )

    def first_moves(self, n: int) -> list[Proposal]:
        """What every classical proposer begins a block with: its base, then the best config of the block before."""
        moves: list[Proposal] = []
        asked = any(record.content.get("strategy") == "baseline" for record in self._proposals)
        has_base = any(not node.values and node.code is None for node in self.nodes)
        if not has_base and not asked:  # once, even if it was refused
            moves.append(baseline())
        before = [node for node in self.snapshot.nodes if node.block == self.snapshot.block - 1]
        if before:
            scored, _ = _observations(self.snapshot, before, self._on_axes)
            best = max(scored, key=lambda tried: tried.score or 0.0, default=None)
            fits = {path: value for path, value in best.node.values.items() if path in self.base} if best else {}
            move = self.mutation(None, fits, "optimiser", "the best config of the block before")
            moves += [move] if move else []
        return moves[:n]

    def fill(
        self, draws: Sequence[tuple[int, Callable[[], Mapping[str, Any]]]], make: "Make", n: int, name: str
    ) -> list[Proposal]:
        """Draw until there are `n` proposals that are new and valid; fewer if that does not come about.

        Args:
            draws: how often to try, and what gives values; the next one is used when the one before is spent.
            make: a proposal from values, or None.
            n: proposals wanted.
            name: who draws, for the error.

        Raises:
            ProposerError: if there is not even one.
        """
        found: list[Proposal] = []
        for _ in range(n):
            tries = (draw() for times, draw in draws for _ in range(times))
            proposal = next((made for values in tries if (made := make(values)) is not None), None)
            if proposal is None:
                break
            found.append(proposal)
        if not found and n:
            tried = sum(times for times, _ in draws)
            raise ProposerError(f"{name}: got no new valid config in {tried} draws, expected one; widen the space")
        return found

    def _on_axes(self, node: NodeRecord) -> dict[str, Any]:
        values = self.values(node)
        return {axis.path: values[axis.path] for axis in self.axes}

    def _of(self, record: ProposalRecord) -> tuple[dict[str, Any], str | None] | None:
        """Whole values of a proposed mutation, and its code; None for what is no mutation of a known node."""
        try:
            proposal = parse_proposal(dict(record.content))
        except ProposalError:  # anybody may have proposed anything
            return None
        known = {node.id: node for node in self.nodes}
        if not isinstance(proposal, ConfigMutation) or any(parent not in known for parent in proposal.parents):
            return None
        parent = known[proposal.parents[0]] if proposal.parents else None
        changed = {change.path: change.new for change in proposal.changes}
        return {**self.values(parent), **changed}, parent.code if parent else None

    def _key(self, values: Mapping[str, Any], code: str | None) -> str:
        other = {path: _plain(value) for path, value in values.items() if value != self.base.get(path)}
        return json.dumps([other, code], sort_keys=True, default=str)

    def _is_valid(self, values: Mapping[str, Any]) -> bool:
        try:
            self._config.with_values(values)
        except ConfigError:
            return False
        return True


def baseline() -> Replicate:
    """The base of the block, unchanged."""
    return Replicate(strategy="baseline", hypothesis="the base of the block")


Make = Callable[[Mapping[str, Any]], Proposal | None]


def generator(seed: int, snapshot: Snapshot, purpose: int = 0) -> np.random.Generator:
    """Random numbers that depend on the study's seed and on how much was proposed: a restart draws the same."""
    return np.random.default_rng([seed, len(snapshot.proposals), purpose])


def _observations(
    snapshot: Snapshot, nodes: Sequence[NodeRecord], on_axes: Callable[[NodeRecord], dict[str, Any]]
) -> tuple[list[Tried], list[dict[str, Any]]]:
    """Configs with a score, in the order in which it came; values of those that wait for one."""
    first = {node.config: node for node in reversed(nodes)}
    found, waiting = [], []
    for config, node in first.items():
        runs = snapshot.runs_of(config)
        values = [value for run in runs if (value := value_of(snapshot.study.objective, run)) is not None]
        failed = [run for run in runs if run.state in FAILED]
        if values or failed:
            ended = [run.ended or 0.0 for run in runs if run.state in FAILED or run.metrics]
            found.append((min(ended, default=0.0), node, values, len(failed)))
        elif not runs or any(run.state in PENDING for run in runs):
            waiting.append(on_axes(node))
    floor, bad = _limits([float(np.mean(values)) for *_, values, _ in found if values])
    tried = []
    for time, node, values, n_failed in sorted(found, key=lambda item: (item[0], item[1].id)):
        scores = [max(value, floor) for value in values] + [bad] * n_failed
        tried.append(Tried(node, on_axes(node), float(np.mean(scores)), time))
    return tried, waiting


def _limits(means: list[float]) -> tuple[float, float]:
    """The lowest score that is told apart from others, and the value of a failure, which is lower."""
    if not means:
        return -1.0, -1.0
    best, middle = max(means), float(np.median(means))
    floor = max(min(means), middle - _TAIL * (best - middle))
    return floor, floor - (_BAD * (best - floor) or 1.0)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    sections = {name: inner for name, inner in document.items() if isinstance(inner, dict)}
    return {f"{name}.{key}": value for name, inner in sections.items() for key, value in inner.items()}


def _plain(value: Any) -> Any:
    """One form of a number: 1 and 1.0 are the same value of a field."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
