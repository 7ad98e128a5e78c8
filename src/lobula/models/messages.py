"""A model's messages as a function of arrays, for the closed-form estimators."""

import numpy as np
import torch

from lobula.data.pair_table import PairTable
from lobula.models.base import AbstractDynamicsModel
from lobula.models.pair_gnn import FRAMES, PairGNN
from lobula.regression.edge_messages import EdgeMessages, MessageFunction, Messages
from lobula.regression.tabulate import N_POINTS, NeuronCurves, tabulate

ROWS = 128
SHARED_POINTS = 65537
"""Of a table that all neurons share: 256 KB, in the cache of a core; a network's bend is off by 1e-5 of the range."""
TARGET_POINTS = 129
"""Voltages of the target in a table of messages that all pairs share; sources have `SOURCE_POINTS`."""
SOURCE_POINTS = 1025


def learned_messages(
    model: AbstractDynamicsModel, visited: tuple[np.ndarray, np.ndarray], n_points: int = N_POINTS
) -> Messages:
    """The messages of a model, tabulated where that is cheaper than evaluating its network at every frame.

    Args:
        model: its present messages are taken; further training does not change tables.
        visited: lowest and highest voltage of every neuron, each (N,) [a.u.]; see `data.split.Split.visited_range`.
        n_points: points per neuron of the table of a message function of the source alone.
    """
    if isinstance(model, PairGNN):
        return pair_messages(model, visited)
    return shared_table(model, visited) if model.shared else tabulate(message_function(model), visited, n_points)


def shared_table(model: AbstractDynamicsModel, visited: tuple[np.ndarray, np.ndarray]) -> NeuronCurves:
    """The one message function of all neurons as a table over the voltages that any of them visits."""
    ends = np.array([visited[0].min()]), np.array([visited[1].max()])
    return tabulate(_evaluated(model), ends, SHARED_POINTS)


def message_function(model: AbstractDynamicsModel) -> MessageFunction:
    """Maps voltages (T, N) to the model's messages (T, N), a few frames at a time."""

    evaluated = _evaluated(model)

    def message(voltage: np.ndarray) -> np.ndarray:
        frames = np.ascontiguousarray(voltage, dtype=np.float32)
        if model.shared and frames.size > SHARED_POINTS:
            return shared_table(model, (frames, frames))(frames)
        return evaluated(frames)

    return message


def _evaluated(model: AbstractDynamicsModel) -> MessageFunction:
    """The network at every frame."""

    @torch.no_grad()
    def message(voltage: np.ndarray) -> np.ndarray:
        return torch.cat([model.message(part) for part in torch.from_numpy(voltage).split(ROWS)]).numpy()

    return message


def pair_messages(model: PairGNN, visited: tuple[np.ndarray, np.ndarray]) -> EdgeMessages:
    """Messages on edges: a table of both voltages where all pairs share one function, else the network itself."""

    @torch.no_grad()
    def network(source: np.ndarray, target: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        states = [torch.from_numpy(np.asarray(v, dtype=np.float32)).split(FRAMES) for v in (source, target)]
        ends = [torch.from_numpy(np.array(end)) for end in (pre, post)]
        return torch.cat([model.on_edges(*pair, *ends).T for pair in zip(*states, strict=True)]).numpy()

    if not model.shared:
        return EdgeMessages(network)
    low, high = float(visited[0].min()), float(visited[1].max())
    target, source = (np.linspace(low, high, n) for n in (TARGET_POINTS, SOURCE_POINTS))
    every_source, every_target = np.tile(np.arange(SOURCE_POINTS), TARGET_POINTS), np.arange(TARGET_POINTS)
    values = network(source[None], target[None], every_source, every_target.repeat(SOURCE_POINTS))
    return EdgeMessages.shared(PairTable(target, source, values.reshape(TARGET_POINTS, SOURCE_POINTS)))
