"""Timing: competitors take turns, so that a slow moment of the machine hits all of them."""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Name = TypeVar("Name")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what was timed.
        seconds: median seconds of lobula.
        plain_seconds: median seconds of the plain formulation; None if there is none.
        spread: smallest and largest seconds of lobula.
        facts: sizes, rates, memory.
    """

    name: str
    seconds: float
    plain_seconds: float | None = None
    spread: tuple[float, float] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times faster than the plain formulation."""
        return None if self.plain_seconds is None else self.plain_seconds / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "ratio": self.ratio}


def interleaved(
    calls: dict[Name, Callable[[], object]], repeats: int, warm_up: int = 1, settle: int = 0
) -> dict[Name, list[float]]:
    """Seconds of every call, ``repeats`` of each, in turns.

    Args:
        calls: by name.
        repeats: times that each is timed.
        warm_up: untimed turns before.
        settle: untimed calls before each timed one, where a call is meant to follow itself, as a training step does,
            and would otherwise find the caches and the allocator as its competitor left them.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            for _ in range(settle):
                call()
            began = time.perf_counter()
            call()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def compared(
    name: str,
    ours: Callable[[], object],
    plain: Callable[[], object] | None,
    repeats: int,
    facts: dict[str, Any],
    work: tuple[float, float] = (1.0, 1.0),
    yardstick: Callable[[], object] | None = None,
    settle: int = 0,
) -> Row:
    """A row from two calls.

    Args:
        name: of the row.
        ours: what lobula does.
        plain: the plain formulation, or None.
        repeats: times that each is timed.
        facts: go into the row.
        work: units of work that one call of ours, and of plain, does; seconds are per unit.
        settle: untimed calls before each timed one, see `interleaved`.
        yardstick: something that the machine does at its best, timed in the same turns; its seconds go into the facts.
    """
    calls = {"ours": ours, "plain": plain, "yardstick": yardstick}
    seconds = interleaved({key: call for key, call in calls.items() if call is not None}, repeats, settle=settle)
    if yardstick is not None:
        facts = facts | {"yardstick_seconds": statistics.median(seconds["yardstick"])}
    own = [s / work[0] for s in seconds["ours"]]
    other = statistics.median(seconds["plain"]) / work[1] if plain is not None else None
    return Row(name, statistics.median(own), other, (min(own), max(own)), facts)


def peak_memory() -> int:
    """Largest memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
