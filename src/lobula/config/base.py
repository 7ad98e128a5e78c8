"""What every config section shares: strict frozen models, and fields that carry their own documentation."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticUndefined

Role = Literal["tunable", "derived", "frozen", "block_only"]
Scale = Literal["linear", "log"]

# YAML knows lists and strings, not tuples and paths: only the container is converted, items stay strict
StrTuple = Annotated[tuple[str, ...], Field(strict=False)]
YamlPath = Annotated[Path, Field(strict=False)]


class Section(BaseModel):
    """A part of the experiment's config.

    Frozen, and strict: an unknown key, a string where a number belongs, NaN or a value out of range is an error.
    A Python caller builds a changed copy with `ExperimentConfig.with_values`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


def param(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    scale: Scale = "linear",
    role: Role = "frozen",
    search: tuple[float, float] | tuple[str, ...] | None = None,
) -> Any:
    """A config field with everything that validation, the docs and the search space need to know about it.

    Args:
        default: value if the field is not given.
        meaning: one phrase.
        unit: unit of the value, empty for counts and ratios.
        ge: lowest valid value.
        gt: every valid value is above this.
        le: highest valid value.
        lt: every valid value is below this.
        scale: how a search steps through the values.
        role: "tunable" (a search may vary it), "block_only" (fixed within a block of a study), "frozen" (part of
            the experiment's definition) or "derived" (computed, never typed).
        search: (low, high) of a sensible search, or the names to try; default is the valid range.
    """
    metadata = {"meaning": meaning, "unit": unit, "scale": scale, "role": role, "search": search}
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    given: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    extra: dict[str, Any] = {"lobula": metadata}
    return Field(default, description=meaning, json_schema_extra=extra, validate_default=True, **given)


def metadata_of(field: Any) -> dict[str, Any]:
    """What `param` was told about a field."""
    extra = field.json_schema_extra
    return extra["lobula"] if isinstance(extra, dict) and "lobula" in extra else {}


def default_of(field: Any) -> Any:
    """A field's default, in the form YAML would show."""
    value = None if field.default is PydanticUndefined else field.default
    return list(value) if isinstance(value, tuple) else value
