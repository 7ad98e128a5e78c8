"""`ucb_scores.txt`: the tree search's scores of the current block, best first; empty where a block begins."""

from collections.abc import Sequence

from lobula.exploration.policies.ucb import UcbRow
from lobula.exploration.views.words import number


def ucb_file(rows: Sequence[UcbRow]) -> str:
    """One line per node, highest UCB first."""
    return "".join(f"{_line(row)}\n" for row in sorted(rows, key=lambda row: (-row.ucb, row.visits, row.node)))


def _line(row: UcbRow) -> str:
    parent = "root" if row.parent is None else str(row.parent)
    text = f"Node {row.node}: UCB={number(row.ucb)}, parent={parent}, visits={row.visits}, R2={number(row.value)}"
    return text + (f", cluster={number(row.second)}" if row.second is not None else "")
