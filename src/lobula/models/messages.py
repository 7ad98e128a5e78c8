"""A model's messages as a function of arrays, for the closed-form estimators."""

from collections.abc import Callable

import numpy as np
import torch

from lobula.data.pair_table import PairTable
from lobula.models.base import AbstractDynamicsModel
from lobula.models.pair_gnn import FRAMES, PairGNN
from lobula.regression.edge_messages import EdgeMessages, Messages
from lobula.regression.tabulate import N_POINTS, tabulate

ROWS = 128
SHARED_POINTS = 16385
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
    return tabulate(message_function(model), visited, n_points)


def message_function(model: AbstractDynamicsModel) -> Callable[[np.ndarray], np.ndarray]:
    """Maps voltages (T, N) to the model's messages (T, N), a few frames at a time."""

    @torch.no_grad()
    def message(voltage: np.ndarray) -> np.ndarray:
        frames = torch.from_numpy(np.ascontiguousarray(voltage, dtype=np.float32))
        if model.shared and frames.numel() > SHARED_POINTS:
            grid = torch.linspace(float(frames.min()), float(frames.max()), SHARED_POINTS)
            return np.interp(frames, grid, model.message(grid[:, None])[:, 0]).astype(np.float32)
        return torch.cat([model.message(part) for part in frames.split(ROWS)]).numpy()

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
