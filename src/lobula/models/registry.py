"""Models by name."""

from collections.abc import Callable

from lobula.errors import ConfigError
from lobula.models.base import AbstractDynamicsModel

_MODELS: dict[str, Callable[..., AbstractDynamicsModel]] = {}


def register(name: str) -> Callable[[type], type]:
    """Class decorator: makes a model available as ``model.name``."""

    def add(cls: type) -> type:
        _MODELS[name] = cls
        return cls

    return add


def build(name: str, *args, **kwargs) -> AbstractDynamicsModel:
    """A new model of that name."""
    if name not in _MODELS:
        raise ConfigError(f"model.name: got {name!r}, expected one of {sorted(_MODELS)}")
    return _MODELS[name](*args, **kwargs)
