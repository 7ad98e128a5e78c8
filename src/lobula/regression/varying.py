"""Circuits that change over a recording, by the kind of change, with messages of any kind of the source."""

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from lobula.data.split import Split
from lobula.data.varying import Plasticity
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError
from lobula.regression.by_target import joined_by_target
from lobula.regression.circuit import LinearCircuit
from lobula.regression.drifting import fit_drifting
from lobula.regression.edge_messages import GroupMessages, MessageFunction
from lobula.regression.modulated import Problem
from lobula.regression.own_terms import NoTerms, OwnTerms, TanhTerm
from lobula.regression.plasticity import fit_plastic


@dataclass(frozen=True, eq=False)
class Change:
    """What changes, and what is known of it.

    Attributes:
        kind: of the change.
        period: kind drift: [s], if it is known.
        known: kind plasticity: tau [s] and alpha of every neuron, (N,) each, if they are known.
    """

    kind: Literal["plasticity", "drift"]
    period: float | None = None
    known: tuple[np.ndarray, np.ndarray] | None = None


def fit_changing(
    frames: Split,
    wiring: Wiring,
    message: MessageFunction | GroupMessages,
    change: Change,
    target: str,
    max_frames: int | None,
    own: OwnTerms,
) -> LinearCircuit:
    """Evidence ridge on a recording of a circuit that changes, given the message function.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        message: g, maps voltages (T, N) to messages (T, N), or to one per group of targets.
        change: what changes.
        target: "observed" or "drift".
        max_frames: use at most this many frames, spread evenly (None: all).
        own: terms of every neuron's own voltage.

    Raises:
        ConfigError: if the recording consists of trials, or own terms and change do not go together.
    """
    check_changing(frames, change, own)

    def fitted(graph: Wiring, function: MessageFunction) -> LinearCircuit:
        problem = Problem(frames, frames.dt, graph, function, target)
        if change.kind == "plasticity":
            return fit_plastic(problem, own, max_frames, change.known)
        return fit_drifting(problem, cast(NoTerms | TanhTerm, own), max_frames, change.period)

    if not isinstance(message, GroupMessages):
        return fitted(wiring, message)
    if change.kind != "plasticity":
        raise ConfigError("update.varying: got drift with messages by receiver, expected plasticity, or one message")
    parts = [fitted(*pair) for pair in zip(message.targets(wiring), message.functions, strict=True)]
    joined, every = joined_by_target(wiring, message.group, parts), np.arange(wiring.n_neurons)
    values: dict[str, Any] = {
        name: np.stack([getattr(part.varying, name) for part in parts])[message.group, every]
        for name in ("tau", "alpha", "start", "level", "offset")
    }
    return replace(joined, varying=Plasticity(**values))


def check_changing(frames: Split, change: Change, own: OwnTerms) -> None:
    """Check that a recording tells what changes.

    Raises:
        ConfigError: if it consists of trials, or own terms and change do not go together.
    """
    if frames.trials is not None:
        raise ConfigError(
            f"update.varying: got {change.kind} with a recording of trials, expected one without a gap: what changes "
            "follows from the past; leave simulation.trial_frames out"
        )
    if change.kind == "drift" and not isinstance(own, NoTerms | TanhTerm):
        raise ConfigError("update.form: got spline with update.varying=drift, expected linear or tanh")
