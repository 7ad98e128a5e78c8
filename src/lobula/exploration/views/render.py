"""Writes all views of a study into its folder. The same snapshot gives the same bytes; nothing reads them back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lobula.data.atomic import atomic_write_text
from lobula.exploration.folder import StudyFolder
from lobula.exploration.policies.ucb import UcbRow
from lobula.exploration.policies.ucb import ucb_rows as rows_of
from lobula.exploration.records import Snapshot
from lobula.exploration.variance import variance_rows
from lobula.exploration.views.analysis import analysis
from lobula.exploration.views.memory import memory
from lobula.exploration.views.reasoning import reasoning
from lobula.exploration.views.ucb_file import ucb_file
from lobula.exploration.views.user_input import HEADER


def render(
    snapshot: Snapshot,
    ucb_rows: Sequence[UcbRow] | None = None,
    verdicts: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Text of every view by the name of its file.

    Args:
        snapshot: what the study knows.
        ucb_rows: the tree search's scores of the current block, none where it begins; None: those of the study's own
            policy.
        verdicts: "robust", "fragile" or "undetermined" by config id; None: those of the variance table.
    """
    name = snapshot.study.name
    rows = rows_of(snapshot) if ucb_rows is None else ucb_rows
    if verdicts is None:
        verdicts = {row.config: row.verdict.name for row in variance_rows(snapshot)}
    return {
        f"{name}_analysis.md": analysis(snapshot),
        f"{name}_memory.md": memory(snapshot, verdicts),
        "ucb_scores.txt": ucb_file(rows),
        "reasoning.log": reasoning(snapshot),
    }


def write_views(
    snapshot: Snapshot,
    folder: StudyFolder,
    ucb_rows: Sequence[UcbRow] | None = None,
    verdicts: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the views that changed, each atomically, and an empty `user_input.md` where there is none.

    Args:
        snapshot: what the study knows.
        folder: the study's folder; must exist.
        ucb_rows: as for `render`.
        verdicts: as for `render`.

    Returns:
        Paths of the files that were written.

    Raises:
        DiskFullError: if the disk is full; every file is either old or new.
    """
    texts = {folder.views / name: text for name, text in render(snapshot, ucb_rows, verdicts).items()}
    if not folder.user_input.exists():
        texts[folder.user_input] = HEADER
    changed = [path for path, text in texts.items() if not path.is_file() or path.read_bytes() != text.encode()]
    for path in changed:
        atomic_write_text(path, texts[path])
    return changed
