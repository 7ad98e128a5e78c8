"""A tiny random circuit with known truth, its recording as arrays, and what a fit should find."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lobula.config import ExperimentConfig
from lobula.data.wiring import Wiring

DT = 0.02


@dataclass(frozen=True)
class Planted:
    """Truth and recording: weights (E,), tau and v_rest (N,), voltage (T, N), stimulus (T, H), drift (T, N)."""

    wiring: Wiring
    weight: np.ndarray
    tau: np.ndarray
    v_rest: np.ndarray
    voltage: np.ndarray
    stimulus: np.ndarray
    drift: np.ndarray


def configured(base: Mapping[str, Any]) -> Callable[..., ExperimentConfig]:
    """A function from fields to the config that has them and those of a base; the rest is default."""
    return lambda **values: ExperimentConfig().with_values({**base, **values})


def planted_circuit(
    n: int = 30, in_degree: int = 5, n_frames: int = 4000, noise: float = 0.3, seed: int = 0, activation=None, pair=None
) -> Planted:
    """Simulates a random graded circuit with a plain dense loop in float64; the first four neurons get a stimulus.

    Messages are activation(v_source), or pair(v_source, v_target).
    """
    rng = np.random.default_rng(seed)
    post = np.repeat(np.arange(n), in_degree)
    pre = np.concatenate([rng.choice(np.delete(np.arange(n), i), in_degree, replace=False) for i in range(n)])
    column = np.where(np.arange(n) < 4, np.arange(n), -1)
    wiring = Wiring.from_edges(np.stack([pre, post]), n, column)
    weight = rng.normal(0.0, 0.6 / np.sqrt(in_degree), wiring.n_edges)
    return _recorded(wiring, weight, n_frames, noise, rng, activation, pair)


@dataclass(frozen=True)
class Typed:
    """A circuit of cell types, and what is known of it: types and signs (N,), synapse counts (E,)."""

    planted: Planted
    cell_type: np.ndarray
    sign: np.ndarray
    n_synapses: np.ndarray


def typed_circuit(
    n: int = 40, n_types: int = 4, in_degree: int = 10, n_frames: int = 400, noise: float = 0.3, seed: int = 0
) -> Typed:
    """W = sign of the source's type x synapse count x strength of the pair of types; too few frames for its edges."""
    rng = np.random.default_rng(seed)
    post = np.repeat(np.arange(n), in_degree)
    pre = np.concatenate([rng.choice(np.delete(np.arange(n), i), in_degree, replace=False) for i in range(n)])
    column = np.where(np.arange(n) < 4, np.arange(n), -1)
    wiring = Wiring.from_edges(np.stack([pre, post]), n, column)
    cell_type = rng.permutation(np.arange(n) % n_types)
    sign = np.where(cell_type % 2 == 0, 1, -1)
    counts = rng.integers(1, 12, wiring.n_edges).astype(float)
    strength = rng.uniform(0.01, 0.08, (n_types, n_types))
    weight = sign[wiring.pre] * counts * strength[cell_type[wiring.pre], cell_type[wiring.post]]
    return Typed(_recorded(wiring, weight, n_frames, noise, rng), cell_type, sign, counts)


def _recorded(
    wiring: Wiring,
    weight: np.ndarray,
    n_frames: int,
    noise: float,
    rng: np.random.Generator,
    activation=None,
    pair=None,
) -> Planted:
    """Gives the circuit time constants and rests, and simulates it."""
    activation = activation or (lambda v: np.maximum(v, 0.0))
    n, column = wiring.n_neurons, wiring.stimulus_column
    tau, v_rest = rng.uniform(0.05, 0.2, n), rng.normal(0.3, 0.2, n)
    matrix = np.zeros((n, n))
    matrix[wiring.post, wiring.pre] = weight
    stimulus = rng.random((n_frames, 4))
    voltage, drift = np.empty((n_frames, n)), np.empty((n_frames, n))
    v = v_rest.copy()
    for t in range(n_frames):
        external = np.where(column >= 0, stimulus[t][np.maximum(column, 0)], 0.0)
        voltage[t] = v
        summed = matrix @ activation(v) if pair is None else (matrix * pair(v[None, :], v[:, None])).sum(1)
        drift[t] = (-v + v_rest + summed + external) / tau
        v = v + DT * drift[t] + noise * rng.standard_normal(n)
    return Planted(wiring, weight, tau, v_rest, voltage.astype("f4"), stimulus.astype("f4"), drift.astype("f4"))
