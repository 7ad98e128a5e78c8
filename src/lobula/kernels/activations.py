"""Message functions by name: what a simulator may use as the truth, and what the ridge rung may assume."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import expit

from lobula.errors import ConfigError

Activation = Callable[[np.ndarray], np.ndarray]
"""Elementwise, keeps the dtype."""


def relu(v: np.ndarray) -> np.ndarray:
    """max(v, 0), the published nonlinearity."""
    return np.maximum(v, 0)


def softplus(v: np.ndarray) -> np.ndarray:
    """log(1 + exp(v)); transmits at rest."""
    return np.logaddexp(v, np.zeros((), dtype=v.dtype))


def sigmoid(v: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-v)); bounded, transmits at rest."""
    return expit(v)


def saturating(v: np.ndarray) -> np.ndarray:
    """r / (1 + r) with r = max(v, 0); bounded."""
    r = np.maximum(v, 0)
    return r / (1 + r)


def squared(v: np.ndarray) -> np.ndarray:
    """Square of max(v, 0) up to v = 1, continued by its tangent 2 v - 1.

    A bare square has no bound on its slope, so that recurrent excitation above some voltage runs away.
    """
    r = np.maximum(v, 0)
    return np.where(r < 1, r * r, 2 * r - 1)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": relu,
        "softplus": softplus,
        "tanh": np.tanh,
        "sigmoid": sigmoid,
        "saturating": saturating,
        "squared": squared,
    }
)


def get_activation(name: str) -> Activation:
    """The message function of this name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"activation: got {name!r}, expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
