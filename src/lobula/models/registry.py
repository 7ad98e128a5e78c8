"""Models by name, and which settings each of them reads."""

from collections.abc import Callable
from dataclasses import dataclass

from lobula.config.experiment import ExperimentConfig
from lobula.config.messages import nearest_name
from lobula.errors import ConfigError
from lobula.models.base import AbstractDynamicsModel
from lobula.models.fields import SECTIONS, paths


@dataclass(frozen=True)
class Entry:
    """A model.

    Attributes:
        build: makes one.
        equation: dv_i/dt in words of mathematics: f is the update network, g the message network, a an embedding.
        reads: fields of the sections `model`, `training` and `prior` that act on it.
    """

    build: Callable[..., AbstractDynamicsModel]
    equation: str
    reads: frozenset[str]


_MODELS: dict[str, Entry] = {}


def register(name: str, equation: str, reads: frozenset[str]) -> Callable[[type], type]:
    """Class decorator: makes a model available as ``model.name``.

    Args:
        name: of the model.
        equation: dv_i/dt, see `Entry`.
        reads: the fields that act on it, see `fields.all_but`.
    """

    def add(cls: type) -> type:
        _MODELS[name] = Entry(cls, equation, reads)
        return cls

    return add


def names() -> tuple[str, ...]:
    """Names of all models, sorted."""
    return tuple(sorted(_MODELS))


def entry(name: str) -> Entry:
    """The model of that name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in _MODELS:
        nearest = nearest_name(name, names())
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise ConfigError(f"model.name: got {name!r}, expected one of {', '.join(names())}{hint}")
    return _MODELS[name]


def build(name: str, *args, **kwargs) -> AbstractDynamicsModel:
    """A new model of that name."""
    return entry(name).build(*args, **kwargs)


def without_effect(name: str) -> list[str]:
    """Fields of the sections in `Entry.reads` that do not act on the model of that name."""
    reads = entry(name).reads
    return [path for section in SECTIONS for path in paths(section) if path not in reads]


def idle_fields(config: ExperimentConfig) -> list[str]:
    """Fields that differ from their defaults and do not act on the config's model."""
    given, default = config.to_dict(), ExperimentConfig().to_dict()
    places = (path.split(".") for path in without_effect(config.model.name))
    return [f"{section}.{key}" for section, key in places if given[section][key] != default[section][key]]
