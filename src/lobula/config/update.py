"""Config section `update`: what a neuron does by itself, and in which unit weights are stated."""

from typing import Literal

from lobula.config.base import Section, param


class UpdateConfig(Section):
    """The form of the equations that closed-form fits assume."""

    graph: Literal["known", "all_pairs"] = param(
        "known",
        "which connections are candidates: those of the recording's graph; or, where that is not known, every pair of "
        "neurons (no self-loops), and a column present of the estimates says which of them there are",
        role="block_only",
    )
    form: Literal["linear", "self_coupling", "tanh", "spline"] = param(
        "linear",
        "what a neuron does by itself: linear: a leak; self_coupling: and a multiple of its own message; tanh: and a "
        "multiple of tanh v; spline: any smooth function",
        role="block_only",
    )
    varying: Literal["none", "plasticity", "drift"] = param(
        "none",
        "what changes over the recording: none; plasticity: a gain of every neuron, that its own activity depresses "
        "and that recovers; drift: leak, offset, multiple of tanh and gain, with one period (forms linear and tanh, "
        "plasticity also spline; the network with model.name=signal, from what the spline finds)",
    )
    drift_period: float | None = param(None, "varying drift: the period; null finds it", unit="s", gt=0.0)
    n_knots: int = param(16, "form spline: knots of every neuron's function", ge=4, le=100)
    weights: Literal["per_leak", "absolute"] = param(
        "per_leak",
        "per_leak: W = -theta / k, messages in units of a rectifier; absolute: theta, what a message adds to dv/dt, "
        "in units of half the range of a neuron's messages",
        role="block_only",
    )
