"""What a proposer is: a function from what a study knows to proposals."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lobula.exploration.proposals import Proposal
from lobula.exploration.records import Snapshot


@dataclass(frozen=True)
class Request:
    """What a proposer is asked.

    Attributes:
        snapshot: all that the study knows.
        parents: nodes that the policy suggests to start from; empty: the base of the block.
        strategy: what the policy wants there.
        n: proposals wanted; fewer are fine.
        folder: the study's folder, with the files that a person or an agent reads.
    """

    snapshot: Snapshot
    parents: tuple[int, ...] = ()
    strategy: str = "exploit"
    n: int = 1
    folder: Path | None = None


@dataclass(frozen=True)
class Answer:
    """What came of a request, also where an agent failed on the way; see `registry.ask`.

    Attributes:
        proposer: who made the proposals.
        proposals: up to as many as were wanted; empty if nobody could answer.
        failures: (agent, one line) of every agent that could not answer, for the journal.
    """

    proposer: str
    proposals: tuple[Proposal, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()


class Proposer(Protocol):
    """Proposes. Holds no state that the snapshot does not give back, so that a killed controller loses nothing.

    Raises:
        ProposerError: if it cannot answer now (an agent that died); the optimiser then goes on.
    """

    @property
    def name(self) -> str:
        """Short name, kept with every proposal."""

    def propose(self, request: Request) -> list[Proposal]:
        """Up to ``request.n`` proposals."""
