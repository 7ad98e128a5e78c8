"""Dimensions of a study as axes from 0 to 1, which is where optimisers work."""

import math
from dataclasses import dataclass
from typing import Any

from lobula.config.space import Dimension
from lobula.exploration.study import Study

OFF_SHARE = 0.2
"""Share of an axis that stands for the base's value, where that lies outside the range (a penalty that is off)."""
_DIGITS = 4  # of a float that is tried: enough to tell two configs apart, and readable


@dataclass(frozen=True)
class Axis:
    """A dimension of the search.

    Attributes:
        dimension: path, kind, range and the base's value.
    """

    dimension: Dimension

    @property
    def path(self) -> str:
        """As in the config: "section.field"."""
        return self.dimension.path

    @property
    def is_choice(self) -> bool:
        """Whether it has values to choose from, in no order."""
        return self.dimension.kind == "choice"

    @property
    def choices(self) -> tuple[Any, ...]:
        """Values of a choice; the base's own is always one of them."""
        known = self.dimension.choices
        return known if self.dimension.default in known else (*known, self.dimension.default)

    @property
    def is_log(self) -> bool:
        """Whether steps are factors."""
        return self.dimension.scale == "log" and self._low > 0

    @property
    def off(self) -> int:
        """-1 or 1 where the base's value lies below or above the range, else 0."""
        if self.is_choice:
            return 0
        return -1 if self.dimension.default < self._low else 1 if self.dimension.default > self._high else 0

    def unit(self, value: Any) -> float | None:
        """Place of a value between 0 and 1; of one outside the range the nearer end; None for an unknown choice."""
        if self.is_choice:
            return (self.choices.index(value) + 0.5) / len(self.choices) if value in self.choices else None
        if self.off and value == self.dimension.default:
            return OFF_SHARE / 2 if self.off < 0 else 1 - OFF_SHARE / 2
        low, high = self._ends()
        inner = (self._step(min(max(value, self._low), self._high)) - low) / (high - low) if high > low else 0.5
        if self.off:
            inner = inner * (1 - OFF_SHARE) + (OFF_SHARE if self.off < 0 else 0.0)
        return min(max(inner, 0.0), 1.0)

    def value(self, unit: float) -> Any:
        """Value at a place between 0 and 1."""
        unit = min(max(unit, 0.0), 1.0)
        if self.is_choice:
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        if self.off:
            if (unit < OFF_SHARE) if self.off < 0 else (unit > 1 - OFF_SHARE):
                return self.dimension.default
            unit = (unit - (OFF_SHARE if self.off < 0 else 0.0)) / (1 - OFF_SHARE)
        low, high = self._ends()
        place = low + unit * (high - low)
        return self.clipped(math.exp(place) if self.is_log else place)

    def clipped(self, value: float) -> int | float:
        """A number of the right type inside the range, with few digits."""
        if self.dimension.kind == "int":
            return round(min(max(round(value), math.ceil(self._low)), math.floor(self._high)))
        return float(min(max(float(f"{value:.{_DIGITS}g}"), self._low), self._high))

    @property
    def _low(self) -> float:
        return self.dimension.low if self.dimension.low is not None else 0.0

    @property
    def _high(self) -> float:
        return self.dimension.high if self.dimension.high is not None else 1.0

    def _ends(self) -> tuple[float, float]:
        # half a step more on either side, so that the end values of an integer are as likely as the others
        margin = 0.499 if self.dimension.kind == "int" else 0.0
        return self._step(self._low - margin), self._step(self._high + margin)

    def _step(self, value: float) -> float:
        return math.log(value) if self.is_log else float(value)


def axes_of(study: Study) -> list[Axis]:
    """Axes of a study, in the order of its dimensions.

    Raises:
        ConfigError: if a path has no range.
    """
    return [Axis(dimension) for dimension in study.dimensions()]
