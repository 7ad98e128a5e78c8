"""What a policy is: a function from what a study knows to what a free slot does next."""

from dataclasses import dataclass
from typing import Protocol

from lobula.exploration.records import SeedPair, Snapshot


@dataclass(frozen=True)
class Propose:
    """Ask for a new node.

    Attributes:
        parents: nodes to start from; empty: the base of the block.
        strategy: what to do there.
        reason: one line for the log ("highest UCB 2.175").
    """

    parents: tuple[int, ...] = ()
    strategy: str = "exploit"
    reason: str = ""


@dataclass(frozen=True)
class RunAgain:
    """Run a known node's config on a pair of seeds that it has not had.

    Attributes:
        node: node id.
        pair: seeds, of the panel or of the hold-out.
        reason: one line.
    """

    node: int
    pair: SeedPair
    reason: str = ""


@dataclass(frozen=True)
class NextBlock:
    """The block is over: summary, memory roll-over, next value of the block's field."""

    reason: str = ""


@dataclass(frozen=True)
class NextPhase:
    """Go on to another phase.

    Attributes:
        phase: "race", "certify" or "done".
        reason: one line.
    """

    phase: str
    reason: str = ""


@dataclass(frozen=True)
class Wait:
    """Nothing to start until a run ends."""

    reason: str = ""


Action = Propose | RunAgain | NextBlock | NextPhase | Wait


class Policy(Protocol):
    """Decides. Holds no state: the same snapshot gives the same action."""

    def decide(self, snapshot: Snapshot) -> Action:
        """What one free slot does next; called again for the next slot with the run that came of it in the snapshot."""
