"""metrics.csv: one row per validation, five times denser in the first interval."""

import csv
import io
from pathlib import Path

COLUMNS = ("epoch", "iteration", "phase", "connectivity_r2", "vrest_r2", "tau_r2", "loss", "prediction", "validation")


class Monitor:
    """Appends rows to metrics.csv and forgets those that a resumed training will write again."""

    def __init__(self, path: Path, n_steps: int, every: int) -> None:
        self.path, self.n_steps, self.every = path, n_steps, every
        self.rows: list[dict[str, object]] = []

    def is_due(self, step: int) -> bool:
        """Whether a row belongs after this step."""
        return step % self.interval(step) == 0

    def interval(self, step: int) -> int:
        """Steps between rows at this point of the training."""
        return max(1, self.every // 5) if step <= self.every else self.every

    def write(self, epoch: int, step: int, phase: str, numbers: dict[str, float], extra: dict[str, float]) -> None:
        """Adds a row and rewrites the file (rows are few)."""
        row: dict[str, object] = {"epoch": epoch, "iteration": step, "phase": phase}
        row.update({k: f"{v:.6g}" for k, v in {**numbers, **extra}.items()})
        self.rows.append(row)
        self._save()

    def rewind(self, step: int) -> None:
        """Reads the rows up to a step, so that the file continues there."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [dict(r) for r in csv.DictReader(file) if int(r["iteration"]) <= step]
            self._save()

    def _save(self) -> None:
        others = dict.fromkeys(k for row in self.rows for k in row if k not in COLUMNS)
        text = io.StringIO()
        writer = csv.DictWriter(text, [*COLUMNS, *others], restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".partial")
        temporary.write_text(text.getvalue())
        temporary.replace(self.path)
