"""Read an experiment's config: a shipped recipe or a YAML file, then overrides."""

import logging
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lobula.config.experiment import ExperimentConfig, section_names
from lobula.config.legacy import SECTIONS, translate
from lobula.config.messages import nearest_name, unknown_field
from lobula.config.space import known_paths
from lobula.config.stimulus import FROM_FILES
from lobula.config.yaml_format import dump_yaml, parse_yaml
from lobula.errors import ConfigError

logger = logging.getLogger(__name__)

_SUFFIXES = (".yaml", ".yml")


def load_config(name_or_path: str | Path, overrides: Sequence[str] = (), check_paths: bool = True) -> ExperimentConfig:
    """Load, override and validate a config.

    Args:
        name_or_path: name of a shipped recipe ("fly-small") or path of a YAML file.
        overrides: "section.field=value" strings; the value is read as YAML.
        check_paths: also check that the files that the config names exist.

    Returns:
        The frozen config.

    Raises:
        ConfigError: one line: unknown recipe, file or field (with the nearest one), wrong type, out of range.
    """
    text, source = _source_text(name_or_path)
    document = parse_yaml(text, source)
    values = translate(_flat(document or {}, source), known_paths(), source)
    for override in overrides:
        path, value = _parsed_override(override)
        values |= translate({path: value}, known_paths(), f"--set {override}")
    config = ExperimentConfig.from_dict(_nested(values))
    if check_paths:
        _check_files(config)
    return config


def save_config(config: ExperimentConfig) -> str:
    """The resolved config as YAML text, every field written out; `load_config` reads it back to an equal config."""
    return dump_yaml(config.to_dict())


def recipe_names() -> tuple[str, ...]:
    """Names of the shipped recipes, sorted."""
    folder = resources.files("lobula") / "recipes"
    names = (Path(entry.name) for entry in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix in _SUFFIXES))


def _source_text(name_or_path: str | Path) -> tuple[str, str]:
    """The YAML text and a name for messages."""
    text = str(name_or_path)
    if text in recipe_names():
        return (resources.files("lobula") / "recipes" / f"{text}.yaml").read_text(encoding="utf-8"), f"recipe {text}"
    path = Path(name_or_path)
    if path.is_dir():
        raise ConfigError(f"{path}: a directory, expected a YAML file or a recipe ({', '.join(recipe_names())})")
    if not path.is_file():
        nearest = nearest_name(text, recipe_names())
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise ConfigError(f"{text}: no such file or recipe{hint} (recipes: {', '.join(recipe_names())})")
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error}); expected a YAML file") from error


def _flat(document: Any, source: str) -> dict[str, Any]:
    """Values by path; a section that is not a mapping is left for validation to refuse."""
    if not isinstance(document, Mapping):
        raise ConfigError(f"{source}: got {type(document).__name__}, expected sections with fields")
    flat: dict[str, Any] = {}
    for name, value in document.items():
        is_section = name in section_names() or name in SECTIONS
        if is_section and value is None:
            continue  # a section header with nothing below it
        if is_section and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in values.items():
        section, dot, key = path.partition(".")
        if not dot:
            nested[section] = value
        else:
            place = nested.setdefault(section, {})
            if isinstance(place, dict):
                place[key] = value
    return nested


def _parsed_override(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not path:
        raise ConfigError(f"--set {override}: expected section.field=value, for example training.seed=1")
    if not text.strip() and path not in ("name", "description"):
        raise ConfigError(f"--set {override}: no value, expected section.field=value (null for none)")
    section, dot, _ = path.partition(".")
    if not dot and (path in section_names() or path not in known_paths()):
        reason = f"{path}: a section" if path in section_names() else unknown_field(path, ExperimentConfig)
        raise ConfigError(f"--set {reason}; expected section.field=value")
    if dot and section not in section_names() and section not in SECTIONS:
        raise ConfigError(f"--set {unknown_field(path, ExperimentConfig)}")
    return path, parse_yaml(text, f"--set {override}")


def _check_files(config: ExperimentConfig) -> None:
    parameters, recording = config.connectome.parameters, config.simulation.recording
    if parameters != "calibrated" and not Path(parameters).exists():
        raise ConfigError(f"connectome.parameters: got {parameters!r}, expected 'calibrated' or an existing file")
    if recording is not None and not recording.exists():
        raise ConfigError(f"simulation.recording: got '{recording}', expected an existing recording store")
    _check_stimulus(config)
    _check_signal(config)


def _check_signal(config: ExperimentConfig) -> None:
    places = {
        "signal.connectivity_file": (config.signal.connectivity == "file", config.signal.connectivity_file),
        "drive.path": (config.drive.kind == "file", config.drive.path),
    }
    for name, (is_needed, path) in places.items():
        if is_needed and (path is None or not path.exists()):
            raise ConfigError(f"{name}: got {str(path) if path else 'none'!r}, expected an existing file")


def _check_stimulus(config: ExperimentConfig) -> None:
    path, kinds = config.stimulus.path, {config.stimulus.kind}
    if "mixed" in kinds:
        kinds = set(config.stimulus.mixed_kinds)
    from_files = sorted(kinds & set(FROM_FILES))
    if path is None and from_files:
        raise ConfigError(f"stimulus.path: not given, expected the files of kind {from_files[0]}; set stimulus.path")
    if path is not None and not path.exists():
        raise ConfigError(f"stimulus.path: got '{path}', expected an existing file or folder")
