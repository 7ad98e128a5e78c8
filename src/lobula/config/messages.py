"""pydantic's findings as one clear line."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

_MAX_FINDINGS = 4
_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
    "tuple_type": "a list",
    "model_type": "a section with fields",
    "model_attributes_type": "a section with fields",
    "path_type": "a path",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than_equal": ("ge", ">="),
    "greater_than": ("gt", ">"),
    "less_than_equal": ("le", "<="),
    "less_than": ("lt", "<"),
}


def one_line(error: ValidationError, root: type[BaseModel]) -> str:
    """All findings of a failed validation in one line.

    Args:
        error: what pydantic raised.
        root: the model that was validated, for suggestions.
    """
    findings = list(dict.fromkeys(_finding(detail, root) for detail in error.errors(include_url=False)))
    more = f"; and {len(findings) - _MAX_FINDINGS} more" if len(findings) > _MAX_FINDINGS else ""
    return "; ".join(findings[:_MAX_FINDINGS]) + more


def unknown_field(path: str, root: type[BaseModel]) -> str:
    """What to say about a path that does not exist, with the nearest one that does."""
    section, _, key = path.rpartition(".")
    known = _paths(root)
    nearest = _nearest_path(section, key, known)
    hint = f"lobula info params {section}" if section in root.model_fields else "lobula info params"
    return f"{path}: no such field" + (f"; did you mean {nearest}?" if nearest else "") + f" ({hint})"


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None if none does."""
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def _nearest_path(section: str, key: str, known: list[str]) -> str | None:
    """The field that was probably meant: in the same section, else the same name elsewhere, else anything alike."""
    sections = dict.fromkeys(path.partition(".")[0] for path in known if "." in path)
    meant = section if section in sections or not section else nearest_name(section, sections) or ""
    within = nearest_name(key, [path.rpartition(".")[2] for path in known if path.rpartition(".")[0] == meant])
    if within:
        return within if meant == section else f"{meant}.{within}".lstrip(".")
    same = [path for path in known if path.rpartition(".")[2] == key]
    return same[0] if same else nearest_name(key, known)


def _finding(detail: Any, root: type[BaseModel]) -> str:
    kind, value, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    path = ".".join(str(part) for part in detail["loc"] if not _is_branch(part))
    if kind == "extra_forbidden":
        return unknown_field(path, root)
    if kind in _BOUNDS:
        bound, sign = _BOUNDS[kind]
        expected = f"a value {sign} {context[bound]}"
    elif kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        nearest = nearest_name(value, choices) if isinstance(value, str) else None
        expected = " or ".join(choices) + (f"; did you mean {nearest}?" if nearest else "")
    elif kind == "value_error":
        expected = str(context["error"]).removeprefix("expected ")
    else:
        expected = _EXPECTED.get(kind, detail["msg"])
    return f"{path}: got {_shown(value)}, expected {expected}"


def _is_branch(part: Any) -> bool:
    # pydantic names the branch of a union ("function-after[...]", "int"): no part of the user's path
    return isinstance(part, str) and ("[" in part or part in {"int", "none", "path"})


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, dict) else "a section"
    return text if len(text) <= 80 else text[:77] + "..."


def _paths(root: type[BaseModel]) -> list[str]:
    paths = []
    for name, field in root.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            paths += [f"{name}.{path}" for path in inner.model_fields]
        paths.append(name)
    return paths
