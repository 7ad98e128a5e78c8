"""The gate: a proposal becomes a node to run, or gets the reason why not. It costs nothing and changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lobula.config import ExperimentConfig
from lobula.errors import ConfigError, DuplicateProposalError, ProposalError
from lobula.exploration.fields import FieldRules
from lobula.exploration.identity import config_id
from lobula.exploration.panel import next_pair
from lobula.exploration.plain import line, plain, same_value
from lobula.exploration.proposals import (
    Ablate,
    Change,
    CodePatch,
    ConfigMutation,
    Proposal,
    Recombine,
    Replicate,
    Stop,
    parse_proposal,
)
from lobula.exploration.records import NodeRecord, RunState, Snapshot
from lobula.exploration.study import Study

MANY_CHANGES = ("baseline", "optimiser", "random", "recombine")
"""Strategies that may change several fields at once in a study that otherwise changes few."""
QUEUE = 4
"""Runs per slot that may wait: an agent that does not wait for scores would leave the optimiser no slot."""
_MOST_PARENTS = {"config": 1, "code": 1, "replicate": 1, "ablate": 1, "recombine": 2}


@dataclass(frozen=True)
class NewNode:
    """A proposal that passed: all that the journal needs to make a node.

    Attributes:
        block: number of the block.
        parent: node id, or None for the base of the block.
        other_parents: the second parent of a recombination.
        values: fields that differ from the base of the block, by path.
        changes: (path, old, new) against the parent; empty for a baseline, a replicate or a code patch.
        config: id of the config.
        resolved: the whole config; its seeds are the base's, see `panel.with_pair`.
        strategy: why.
        hypothesis: one line.
        code: commit of patched code, the parent's or (`with_code`) its own; None for the base.
        diff: of a code patch that is still to be applied and tried, else None.
    """

    block: int
    parent: int | None
    other_parents: tuple[int, ...]
    values: Mapping[str, Any]
    changes: tuple[tuple[str, Any, Any], ...]
    config: str
    resolved: ExperimentConfig
    strategy: str
    hypothesis: str = ""
    code: str | None = None
    diff: str | None = None


def with_code(node: NewNode, commit: str) -> NewNode:
    """The node of a code patch with the commit that the patch became; its config has another id then."""
    return replace(node, code=commit, config=config_id(node.resolved, commit))


class Gate:
    """Checks the proposals of a study against what it may change and what it has tried. Pure: it keeps no history.

    Args:
        study: its definition.
        code: id of the frozen code, as in the journal.
        base: the experiment that a block starts from; default: as the study says. The controller gives `Journal.base`,
            so that a recipe that changes under a running study changes nothing.

    Raises:
        ConfigError: if the study's base or space is not valid.
    """

    def __init__(self, study: Study, code: str = "", base: Callable[[int], ExperimentConfig] | None = None) -> None:
        self._study = study
        self._code = code
        self._find_base = base or study.base_config
        self._bases: dict[int, ExperimentConfig] = {}
        self._fields = FieldRules(study)

    def check(self, proposal: Any, snapshot: Snapshot) -> NewNode:
        """What a proposal becomes.

        Args:
            proposal: typed, or plain values as an agent sent them.
            snapshot: what the study knows now.

        Returns:
            The node to accept. Of a code patch it still holds the diff: apply it, then `with_code`.

        Raises:
            DuplicateProposalError: if the config was tried already; names the node.
            ProposalError: one line that says why it is not allowed.
        """
        try:
            parsed = proposal if isinstance(proposal, _KINDS) else parse_proposal(plain(proposal))
            return self._resolve(parsed, snapshot)
        except DuplicateProposalError:
            raise
        except (ProposalError, ConfigError) as cause:
            raise ProposalError(line(cause)) from None

    def baseline(self, snapshot: Snapshot) -> NewNode:
        """The base of the current block, unchanged: the root that others are compared with."""
        return self._node(snapshot, (), {}, (), "baseline", "the base of the block")

    def _resolve(self, proposal: Proposal, snapshot: Snapshot) -> NewNode:
        if isinstance(proposal, Stop):
            raise ProposalError("stop: got no config to try; a stop ends the study and is no node")
        waiting, room = sum(run.state is RunState.ACCEPTED for run in snapshot.runs), QUEUE * self._study.engine.slots
        if waiting >= room:
            raise ProposalError(f"queue: {waiting} runs wait for a slot, expected fewer than {room}; wait for a score")
        most = _MOST_PARENTS[proposal.kind]
        if len(proposal.parents) > most:
            raise ProposalError(f"parents: got {len(proposal.parents)}, expected at most {most} of a {proposal.kind}")
        parents = tuple(_parent(number, snapshot) for number in proposal.parents)
        if isinstance(proposal, Replicate):
            return self._replicate(proposal, parents, snapshot)
        if isinstance(proposal, CodePatch):
            return self._patch(proposal, parents, snapshot)
        if isinstance(proposal, Recombine):
            changes = self._recombination(proposal, parents)
        elif isinstance(proposal, Ablate):
            changes = self._ablation(proposal, parents, snapshot.block)
        else:
            changes = self._mutation(proposal, parents, snapshot.block)
        values = dict(parents[0].values) if parents else {}
        values |= {path: new for path, _, new in changes}
        node = self._node(snapshot, parents, values, changes, proposal.strategy, proposal.hypothesis)
        _refuse_known(node.config, snapshot)
        return node

    # ---------------------------------------------------------------- by kind

    def _mutation(self, proposal: ConfigMutation, parents: tuple[NodeRecord, ...], block: int) -> "_Changes":
        most = self._study.policy.max_changes
        if most is not None and len(proposal.changes) > most and proposal.strategy not in MANY_CHANGES:
            raise ProposalError(
                f"changes: got {len(proposal.changes)}, expected at most {most} at a time for {proposal.strategy}"
            )
        _refuse_repeated(change.path for change in proposal.changes)
        found = []
        for change in proposal.changes:
            self._fields.check_path(change.path)
            old = self._value(change.path, parents, block)
            _check_old(change, old, parents)
            if not same_value(old, change.new):
                found.append((change.path, old, self._fields.checked(change.path, change.new)))
        if not found:
            raise ProposalError(f"changes: {proposal.changes[0].path}: new is the parent's value; expected another")
        return tuple(found)

    def _recombination(self, proposal: Recombine, parents: tuple[NodeRecord, ...]) -> "_Changes":
        if len(parents) != 2 or parents[0].id == parents[1].id:
            raise ProposalError("parents: expected two different nodes to recombine")
        first, second = parents
        _refuse_repeated(proposal.take)
        for path in proposal.take:
            self._fields.check_path(path)
        found = []
        for path in proposal.take or second.values:
            old, new = (self._value(path, (node,), node.block) for node in (first, second))
            if not same_value(old, new):
                found.append((path, old, new))
        if not found:
            raise ProposalError(f"take: node {second.id} has nothing there that node {first.id} has not")
        return tuple(found)

    def _ablation(self, proposal: Ablate, parents: tuple[NodeRecord, ...], block: int) -> "_Changes":
        if not parents:
            raise ProposalError("parents: got none, expected the node to ablate")
        _refuse_repeated(proposal.paths)
        found = []
        for path in proposal.paths:
            self._fields.check_path(path)
            old, new = self._value(path, parents, block), self._value(path, (), block)
            if same_value(old, new):
                raise ProposalError(f"paths: {path}: node {parents[0].id} has the base's value, nothing to ablate")
            found.append((path, old, new))
        return tuple(found)

    def _replicate(self, proposal: Replicate, parents: tuple[NodeRecord, ...], snapshot: Snapshot) -> NewNode:
        values = parents[0].values if parents else {}
        node = self._node(snapshot, parents, values, (), proposal.strategy, proposal.hypothesis)
        if next_pair(snapshot, node.config) is None:
            name = f"node {parents[0].id}" if parents else "the base"
            raise ProposalError(f"replicate: {name} has had all {self._study.seeds.panel} pairs of the panel")
        return node

    def _patch(self, proposal: CodePatch, parents: tuple[NodeRecord, ...], snapshot: Snapshot) -> NewNode:
        settings = self._study.code
        if not settings.allowed:
            raise ProposalError("code: this study does not change code (code.allowed)")
        n_done = sum(node.block == snapshot.block for node in snapshot.nodes)
        if n_done < settings.after:
            raise ProposalError(f"code: got it after {n_done} iterations of the block, expected {settings.after} first")
        values = parents[0].values if parents else {}
        node = self._node(snapshot, parents, values, (), proposal.strategy, proposal.hypothesis)
        for known in snapshot.proposals:
            content = known.content
            same = content.get("kind") == "code" and content.get("diff") == proposal.diff
            if known.node is not None and same and tuple(content.get("parents") or ()) == proposal.parents:
                raise DuplicateProposalError(f"diff: node {known.node} is this patch of the same parent", known.node)
        return replace(node, diff=proposal.diff)

    # ---------------------------------------------------------------- configs

    def _base(self, block: int) -> ExperimentConfig:
        if block not in self._bases:
            self._bases[block] = self._find_base(block)
        return self._bases[block]

    def _value(self, path: str, parents: tuple[NodeRecord, ...], block: int) -> Any:
        """Value of a field in the first parent, or in the base of the block."""
        if parents and path in parents[0].values:
            return parents[0].values[path]
        section, _, field = path.partition(".")
        return self._base(block).model_dump(mode="json", include={section: {field}})[section][field]

    def _node(
        self,
        snapshot: Snapshot,
        parents: tuple[NodeRecord, ...],
        values: Mapping[str, Any],
        changes: "_Changes",
        strategy: str,
        hypothesis: str,
    ) -> NewNode:
        """The node with its config resolved, which refuses values that do not go together."""
        base = self._base(snapshot.block)
        own = {
            path: value
            for path, value in values.items()
            if not same_value(value, self._value(path, (), snapshot.block))
        }
        resolved = base.with_values(own) if own else base
        code = parents[0].code if parents else None
        return NewNode(
            block=snapshot.block,
            parent=parents[0].id if parents else None,
            other_parents=tuple(node.id for node in parents[1:]),
            values=own,
            changes=changes,
            config=config_id(resolved, code or self._code),
            resolved=resolved,
            strategy=strategy,
            hypothesis=line(hypothesis),
            code=code,
        )


_Changes = tuple[tuple[str, Any, Any], ...]
_KINDS = (ConfigMutation, CodePatch, Replicate, Recombine, Ablate, Stop)


def _parent(number: int, snapshot: Snapshot) -> NodeRecord:
    try:
        node = snapshot.node(number)
    except KeyError:
        raise ProposalError(f"parents: got {number}, expected a node of the study, or none for the base") from None
    if node.block != snapshot.block:
        raise ProposalError(f"parents: node {number} is of block {node.block}, expected one of block {snapshot.block}")
    return node


def _check_old(change: Change, old: Any, parents: tuple[NodeRecord, ...]) -> None:
    name = f"node {parents[0].id}" if parents else "the base"
    if "old" not in change.model_fields_set:
        raise ProposalError(f"changes: {change.path}: got no old, expected the value that {name} has: {old!r}")
    if not same_value(old, change.old):
        raise ProposalError(f"changes: {change.path}: old: got {change.old!r}, but {name} has {old!r}")


def _refuse_repeated(paths: Iterable[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise ProposalError(f"{path}: got it twice, expected each field once")
        seen.add(path)


def _refuse_known(config: str, snapshot: Snapshot) -> None:
    for node in snapshot.nodes:
        if node.config == config:
            raise DuplicateProposalError(
                f"node {node.id} has this config; a replicate of it would run it on further seeds", node.id
            )
