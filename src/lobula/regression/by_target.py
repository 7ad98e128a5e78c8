"""Circuits whose messages depend on the group of the target: solved group by group, put together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lobula.data.wiring import Wiring
from lobula.regression.circuit import LinearCircuit
from lobula.regression.edge_messages import GroupMessages, MessageFunction

PER_NEURON = ("k", "c", "q", "k_stderr", "c_stderr", "residual_std", "regularisation", "own_gain")
PER_EDGE = ("theta", "theta_stderr", "weight_stderr", "resolution")


def solve_by_target(
    wiring: Wiring, message: GroupMessages, fitted: Callable[[Wiring, MessageFunction], LinearCircuit]
) -> LinearCircuit:
    """One circuit out of one per group of targets.

    Args:
        wiring: the graph.
        message: messages by group.
        fitted: the circuit of a graph with the inputs of one group, and its messages.
    """
    parts = [fitted(*pair) for pair in zip(message.targets(wiring), message.functions, strict=True)]
    return joined_by_target(wiring, message.group, parts)


def joined_by_target(wiring: Wiring, group: np.ndarray, parts: list[LinearCircuit]) -> LinearCircuit:
    """Every neuron's equation from the circuit of its group, each on a graph with the inputs of that group alone."""
    found: dict[str, Any] = {}
    for name in PER_NEURON:
        values = np.stack([getattr(part, name) for part in parts])
        found[name] = values[group, np.arange(wiring.n_neurons)] if values.shape[1] else values[0]
    for name in PER_EDGE:
        found[name] = np.empty(wiring.n_edges)
        for r, part in enumerate(parts):
            found[name][group[wiring.post] == r] = getattr(part, name)
    statistics: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in ("message_mean", "message_std")
    }
    return replace(parts[0], **found, **statistics)
