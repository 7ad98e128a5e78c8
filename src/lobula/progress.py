"""The progress bar of a stage."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBar:
    """A progress bar that stages move by plain numbers."""

    def __init__(self, bar: Progress | None, name: str) -> None:
        self._bar = bar
        self._task = bar.add_task(name, total=None, note="") if bar else None

    def show(self, done: int, total: int, note: str) -> None:
        """Moves the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)

    def finish(self) -> None:
        """Fills the bar."""
        if self._bar is not None and self._task is not None:
            total = self._bar.tasks[self._task].total or 1
            self._bar.update(self._task, completed=total, total=total)

    def numbers(self, done: int, total: int, numbers: dict[str, float]) -> None:
        """Moves the bar and shows the latest of loss and validation, or of a Gauss-Newton step."""
        shown = ("loss", "validation", "Gauss-Newton step", "misfit")
        self.show(done, total, "  ".join(f"{name} {numbers[name]:.5g}" for name in shown if name in numbers))


@contextmanager
def progress_bar(name: str, progress: bool) -> Iterator[ProgressBar]:
    """A bar on stderr for as long as a stage takes; one that shows nothing without ``progress``."""
    if not progress:
        yield ProgressBar(None, name)
        return
    columns = (
        TextColumn("{task.description:>14}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = ProgressBar(bar, name)
        yield shown
        shown.finish()
        bar.stop_task(shown._task)
