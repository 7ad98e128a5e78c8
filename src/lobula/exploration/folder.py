"""Where a study keeps its files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study.

    Training jobs are told their own folder below `runs` and a recording below `data`, never `truth`.

    Attributes:
        path: the study's folder.
    """

    path: Path

    @property
    def journal(self) -> Path:
        """The SQLite database that is the truth about the study."""
        return self.path / "journal.sqlite"

    @property
    def definition(self) -> Path:
        """The study as it was started."""
        return self.path / "study.yaml"

    @property
    def instructions(self) -> Path:
        """Instructions, copied when the study started."""
        return self.path / "instructions.md"

    @property
    def user_input(self) -> Path:
        """What a person tells the study while it runs."""
        return self.path / "user_input.md"

    @property
    def views(self) -> Path:
        """Rendered Markdown and text; written over at any time."""
        return self.path

    @property
    def code(self) -> Path:
        """Frozen copy of the code at the start: what simulates and scores, and trains where there is no patch."""
        return self.path / "code"

    @property
    def base(self) -> Path:
        """Which code that is: commit, tree, repository."""
        return self.path / "code.json"

    def worktree(self, node: int) -> Path:
        """Code of a node with a patch."""
        return self.path / "worktrees" / f"node-{node}"

    def data(self, data_id: str) -> Path:
        """Folder of a recording (recording.zarr), shared by all runs on the same data."""
        return self.path / "data" / data_id

    def truth(self, data_id: str) -> Path:
        """Folder of the truth of a recording (truth.zarr): for the scorer alone."""
        return self.path / "truth" / data_id

    def run(self, run: int) -> Path:
        """Folder of a run: config.yaml, models, estimates, stdout, stderr, result.json."""
        return self.path / "runs" / f"{run:04d}"

    def result(self, run: int) -> Path:
        """What a run leaves, atomically, when it ends."""
        return self.run(run) / "result.json"

    def scores(self, run: int) -> Path:
        """What the scorer leaves of a run."""
        return self.path / "scores" / f"{run:04d}"
