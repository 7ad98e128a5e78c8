"""The documentation and the search space of the config, both read from the fields themselves."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types

from lobula.config.base import Role, Scale, default_of, metadata_of
from lobula.config.experiment import ExperimentConfig, is_section, section_names
from lobula.config.messages import nearest_name
from lobula.errors import ConfigError


@dataclass(frozen=True)
class ParamRow:
    """One row of `lobula info params`.

    Attributes:
        path: "section.field".
        kind: "int", "float", "bool", "str", "path", "choice" or "list".
        default: default value, as YAML shows it.
        unit: unit, or empty.
        valid: valid values in words, for example ">= 0" or "relu | tanh".
        scale: "linear" or "log".
        search: what a search tries: lowest and highest value of a number, the names of a choice; else empty.
        role: "tunable", "derived", "frozen" or "block_only".
        meaning: one phrase.
    """

    path: str
    kind: str
    default: Any
    unit: str
    valid: str
    search: tuple[Any, ...]
    scale: Scale
    role: Role
    meaning: str


@dataclass(frozen=True)
class Dimension:
    """One dimension of the search space.

    Attributes:
        path: "section.field".
        kind: "int", "float" or "choice".
        default: default value.
        low: lowest value to try; None for a choice.
        high: highest value to try; None for a choice.
        choices: values to try of a choice, else empty.
        scale: "linear" or "log".
        role: "tunable", or "block_only": fixed within a block of a study.
    """

    path: str
    kind: Literal["int", "float", "choice"]
    default: Any
    low: float | None
    high: float | None
    choices: tuple[Any, ...]
    scale: Scale
    role: Role


def params_doc(section: str | None = None) -> list[ParamRow]:
    """Every field of the config, or of one section, with type, default, range, role and meaning.

    Raises:
        ConfigError: if there is no such section.
    """
    if section is not None and section not in section_names():
        nearest = nearest_name(section, section_names())
        hint = f"did you mean {nearest}?" if nearest else f"expected one of {', '.join(section_names())}"
        raise ConfigError(f"{section}: no such section; {hint}")
    return [_row(path, field) for path, field in _fields() if section is None or path.startswith(f"{section}.")]


def search_space() -> list[Dimension]:
    """The fields that a search may vary: role "tunable", and "block_only" where the values can be listed."""
    dimensions = (_dimension(path, field) for path, field in _fields())
    return [dimension for dimension in dimensions if dimension is not None]


def known_paths() -> set[str]:
    """Every path that a config may set."""
    return {path for path, _ in _fields()}


def _fields() -> Iterator[tuple[str, Any]]:
    for name, field in ExperimentConfig.model_fields.items():
        if is_section(field.annotation):
            section: Any = field.annotation
            yield from ((f"{name}.{key}", inner) for key, inner in section.model_fields.items())
        else:
            yield name, field


def _row(path: str, field: Any) -> ParamRow:
    facts = metadata_of(field)
    kind, choices, optional = _kind(field.annotation)
    words = [" | ".join(str(choice) for choice in choices)] if choices else []
    words += [f"{sign} {bound}" for sign, bound in _bounds(field)]
    valid = ", ".join(words) + (" or null" if optional and words else "null" if optional else "")
    searched = _dimension(path, field)
    search = () if searched is None else searched.choices or (searched.low, searched.high)
    facts = {name: facts[name] for name in ("unit", "scale", "role", "meaning")}
    return ParamRow(path, kind, default_of(field), valid=valid, search=search, **facts)


def _dimension(path: str, field: Any) -> Dimension | None:
    facts = metadata_of(field)
    kind, choices, _ = _kind(field.annotation)
    if facts["role"] not in ("tunable", "block_only"):
        return None
    search, default = facts["search"], default_of(field)
    if kind == "bool":
        return Dimension(path, "choice", default, None, None, (False, True), "linear", facts["role"])
    if kind == "choice":
        return Dimension(path, "choice", default, None, None, tuple(search or choices), "linear", facts["role"])
    bounds = {sign[0]: bound for sign, bound in _bounds(field)}
    low, high = search or (bounds.get(">"), bounds.get("<"))
    if kind not in ("int", "float") or low is None or high is None:
        return None  # a block fixes it by hand
    return Dimension(path, kind, default, low, high, (), facts["scale"], facts["role"])  # type: ignore[arg-type]


def _bounds(field: Any) -> list[tuple[str, float]]:
    words = {annotated_types.Ge: (">=", "ge"), annotated_types.Gt: (">", "gt")}
    words |= {annotated_types.Le: ("<=", "le"), annotated_types.Lt: ("<", "lt")}
    found = [(*words[type(bound)], bound) for bound in field.metadata if type(bound) in words]
    return [(sign, getattr(bound, name)) for sign, name, bound in found]


def _kind(annotation: Any) -> tuple[str, tuple[Any, ...], bool]:
    """Kind of a field, its choices, and whether null is valid."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        kind, choices, _ = _kind(inner)
        return kind, choices, type(None) in arguments
    if origin is Literal:
        return "choice", arguments, False
    if origin is tuple:
        return "list", _kind(arguments[0])[1], False
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _kind(arguments[0])
    names = {bool: "bool", int: "int", float: "float", str: "str", Path: "path"}
    return names[annotation], (), False
