"""Which fields a study's proposals may set, and to what."""

import math
from typing import Any

from lobula.config import ExperimentConfig, params_doc
from lobula.config.messages import nearest_name, unknown_field
from lobula.config.space import Dimension, known_paths
from lobula.errors import ProposalError
from lobula.exploration.plain import same_value
from lobula.exploration.study import SEED_FIELDS, Study


class FieldRules:
    """Which fields a study's proposals may set, and to what.

    Args:
        study: its definition.

    Raises:
        ConfigError: if the study's space is not valid.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._dimensions = {dimension.path: dimension for dimension in study.dimensions()}
        self._roles = {row.path: row.role for row in params_doc()}

    def check_path(self, path: str) -> None:
        """Whether proposals may set a field.

        Raises:
            ProposalError: with the reason, or the nearest field if there is none of that name.
        """
        if path in self._dimensions:
            return
        if path not in known_paths():
            raise ProposalError(unknown_field(path, ExperimentConfig))
        raise ProposalError(f"{path}: {self._reason(path)}")

    def checked(self, path: str, value: Any) -> Any:
        """A new value as the config keeps it: a whole number for a real field becomes a real one.

        A value outside of the range is allowed if it is the base's: a penalty that is off may be off again.

        Raises:
            ProposalError: if it is not among the choices, not in the range, or not a number.
        """
        dimension = self._dimensions[path]
        if same_value(value, dimension.default):
            return dimension.default
        if dimension.kind == "choice":
            return _chosen(dimension, value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ProposalError(f"{path}: got {_shown(value)}, expected {_range(dimension)}")
        if dimension.kind == "int" and not isinstance(value, int):
            raise ProposalError(f"{path}: got {_shown(value)}, expected {_range(dimension)}")
        low, high = _bounds(dimension)
        if not low <= value <= high:  # which NaN fails, too
            raise ProposalError(f"{path}: got {_shown(value)}, expected {_range(dimension)}")
        return value if dimension.kind == "int" else float(value) + 0.0  # + 0.0: no negative zero

    def _reason(self, path: str) -> str:
        study = self._study
        if path in SEED_FIELDS:
            return "a seed; the study's panel sets seeds, a replicate runs further ones"
        if path == study.blocks.path:
            return "fixed within a block; the next block changes it"
        if path in study.frozen:
            return "frozen by the study"
        role = self._roles[path]
        if role == "derived":
            return "derived from other fields, never set"
        nearest = nearest_name(path, self._dimensions)
        hint = f"; did you mean {nearest}?" if nearest else " (lobula explore space)"
        if role == "block_only":
            return f"may change between blocks only{hint}"
        return f"not in the space of this study{hint}"


def _chosen(dimension: Dimension, value: Any) -> Any:
    for choice in dimension.choices:
        if same_value(choice, value):
            return choice
    names = [str(choice) for choice in dimension.choices]
    nearest = nearest_name(value, names) if isinstance(value, str) else None
    hint = f"; did you mean {nearest}?" if nearest else ""
    raise ProposalError(f"{dimension.path}: got {_shown(value)}, expected one of {', '.join(names)}{hint}")


def _bounds(dimension: Dimension) -> tuple[float, float]:
    low, high = dimension.low, dimension.high
    return -math.inf if low is None else low, math.inf if high is None else high


def _range(dimension: Dimension) -> str:
    low, high = _bounds(dimension)
    return f"{'an integer' if dimension.kind == 'int' else 'a number'} from {low:g} to {high:g}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
