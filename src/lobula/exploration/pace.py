"""Whether a training will take longer than it may, judged early, from the steps that it has done."""

import csv
from collections.abc import Sequence
from pathlib import Path

from lobula.config import ExperimentConfig

MARGIN = 1.5
"""A projection must exceed the limit by this factor: a slow minute is no reason to lose a run."""
MIN_SAMPLES = 3
MIN_SHARE = 0.1  # of the limit that must have passed


def projected_seconds(samples: Sequence[tuple[float, int]], n_steps: int) -> float | None:
    """Seconds that a training will take: what has passed, and what is left at the mean pace between the samples.

    Time before the first sample (imports, reading) counts once, not as pace.

    Args:
        samples: (seconds since the start, steps done), oldest first, one per step count.
        n_steps: steps in all.

    Returns:
        None where the samples do not say.
    """
    if len(samples) < 2 or samples[-1][1] <= samples[0][1]:
        return None
    (first, begun), (last, done) = samples[0], samples[-1]
    return last + (last - first) / (done - begun) * max(n_steps - done, 0)


def over_time(samples: Sequence[tuple[float, int]], n_steps: int, limit: float, margin: float = MARGIN) -> float | None:
    """The projected seconds if they exceed the limit by a clear margin, else None.

    Args:
        samples: (seconds since the start, steps done).
        n_steps: steps in all.
        limit: seconds that the training may take.
        margin: factor by which the projection must exceed the limit.
    """
    if len(samples) < MIN_SAMPLES or samples[-1][0] < MIN_SHARE * limit:
        return None
    projected = projected_seconds(samples, n_steps)
    return projected if projected is not None and projected > margin * limit else None


class Pace:
    """Watches metrics.csv of a gnn's training.

    Args:
        config: of the run; sections `training` and `simulation` are used.
        metrics: the file.
        limit: seconds that the training may take.
    """

    def __init__(self, config: ExperimentConfig, metrics: Path, limit: float) -> None:
        training = config.training
        self.n_steps = training.joint_steps(config.simulation.n_frames) + training.rounds * training.round_steps
        self.metrics = metrics
        self.limit = limit
        self.samples: list[tuple[float, int]] = []

    def __call__(self, seconds: float) -> str | None:
        """Why the training should end now, or None.

        Args:
            seconds: since its start.
        """
        done = last_step(self.metrics)
        if done is not None and (not self.samples or done > self.samples[-1][1]):
            self.samples.append((seconds, done))
        projected = over_time(self.samples, self.n_steps, self.limit)
        if projected is None:
            return None
        return (
            f"{done} of {self.n_steps} steps after {seconds:.0f} s, {projected:.0f} s in all, limit {self.limit:.0f} s"
        )


def last_step(metrics: Path) -> int | None:
    """Step of the last row of metrics.csv; None before the first."""
    rows = read_rows(metrics)
    return int(rows[-1]["iteration"]) if rows else None


def read_rows(metrics: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv, as text; none if it is not there."""
    if not metrics.exists():
        return []
    with metrics.open(newline="") as file:
        return list(csv.DictReader(file))
