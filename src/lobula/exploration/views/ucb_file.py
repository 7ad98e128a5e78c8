"""`ucb_scores.txt`: the tree search's scores of the current block, best first; empty where a block begins."""

from collections.abc import Sequence
from typing import Protocol

from lobula.exploration.views.words import number


class UcbRow(Protocol):
    """A node in the tree search, as `policies.ucb` gives it."""

    @property
    def node(self) -> int:
        """Node id."""

    @property
    def ucb(self) -> float:
        """Upper confidence bound; infinite for a node that nobody visited."""

    @property
    def parent(self) -> int | None:
        """Node id of the parent; None for the root."""

    @property
    def visits(self) -> int:
        """Visits of the node."""

    @property
    def r2(self) -> float | None:
        """The objective; None where nothing was scored."""

    @property
    def cluster(self) -> float | None:
        """The second metric; None where the study has none."""


def ucb_file(rows: Sequence[UcbRow]) -> str:
    """One line per node, highest UCB first."""
    return "".join(f"{_line(row)}\n" for row in sorted(rows, key=lambda row: (-row.ucb, row.node)))


def _line(row: UcbRow) -> str:
    parent = "root" if row.parent is None else str(row.parent)
    text = f"Node {row.node}: UCB={number(row.ucb)}, parent={parent}, visits={row.visits}"
    text += f", R2={number(row.r2)}" if row.r2 is not None else ""
    return text + (f", cluster={number(row.cluster)}" if row.cluster is not None else "")
