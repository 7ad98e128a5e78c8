"""Studies by name: those that are shipped, YAML files, and instruction documents."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lobula.config.messages import nearest_name
from lobula.config.yaml_format import dump_yaml, parse_yaml
from lobula.errors import ConfigError
from lobula.exploration.instructions import read_instructions
from lobula.exploration.study import Study

_YAML = (".yaml", ".yml")
_DOCUMENTS = (".md", ".txt")


def study_names() -> tuple[str, ...]:
    """Names of the shipped studies, sorted."""
    return tuple(sorted(Path(entry.name).stem for entry in _shipped().iterdir() if entry.name.endswith(".yaml")))


def load_study(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Load a study.

    Args:
        name_or_path: name of a shipped study ("fly-tiny"), path of a YAML file, or path of an instruction document
            (Markdown), which is read as a study.
        overrides: "section.field=value" strings of the study's own fields, such as "budget.n_runs=12"; the value is
            read as YAML.

    Raises:
        ConfigError: one line: unknown study, field (with the nearest one) or value.
        MissingInputError: if a document is not there.
    """
    text = str(name_or_path)
    path = Path(str(_shipped() / f"{text}.yaml")) if text in study_names() else Path(name_or_path)
    if path.suffix in _DOCUMENTS:
        values: dict[str, Any] = read_instructions(path).study.to_dict()
    elif path.suffix in _YAML and path.is_file():
        values = _located(_read(path), path.parent)
    else:
        nearest = nearest_name(text, study_names())
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise ConfigError(f"{text}: no such study or file{hint} (studies: {', '.join(study_names())})")
    for override in overrides:
        _override(values, override)
    return Study.from_dict(values)


def save_study(study: Study) -> str:
    """The study as YAML text, every field written out; `load_study` reads it back to an equal one."""
    return dump_yaml(study.to_dict())


def _shipped() -> Any:
    return resources.files("lobula.exploration") / "studies"


def _read(path: Path) -> dict[str, Any]:
    values = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: got {type(values).__name__}, expected the fields of a study")
    return values


def _located(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Files that a study names stand beside it."""
    beside = {key: folder / str(values[key]) for key in ("instructions", "base") if values.get(key)}
    return values | {key: str(path.resolve()) for key, path in beside.items() if path.is_file()}


def _override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip() or not text.strip():
        raise ConfigError(f"--set {override}: expected section.field=value, for example budget.n_runs=12")
    *sections, key = path.strip().split(".")
    place = values
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override}: {section} has no fields")
        place = inner
    place[key] = parse_yaml(text, f"--set {override}")
