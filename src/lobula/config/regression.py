"""Config sections `ridge` and `spline`: the closed-form estimators."""

from typing import Literal

from lobula.config.base import Section, param


class RidgeConfig(Section):
    """Evidence ridge with a known message function."""

    activation: Literal["relu", "softplus", "tanh", "sigmoid", "saturating", "squared"] = param(
        "relu", "message function that the regression assumes", role="block_only"
    )
    widths: Literal["one", "receiver"] = param(
        "one",
        "one: messages g(v); receiver: g(v / t) with a width t of every receiving neuron, which is found "
        "(update.varying=plasticity, update.weights=absolute)",
    )
    max_frames: int | None = param(32_000, "training frames used at most; null for all", unit="frames", ge=2)


class SplineConfig(Section):
    """Unknown message function as a monotone spline, alternating with evidence ridge."""

    start: Literal["identity", "best"] = param(
        "identity", "first message function: v itself, or the best of v, its rectifier and tanh of a few widths"
    )
    basis: Literal["linear", "cubic"] = param(
        "linear", "message function between knots: linear; or cubic, closer to functions without a kink"
    )
    n_knots: int = param(
        40,
        "first knots of the message function; as many are added, and (basis=linear) up to some 320 while they help",
        ge=3,
        le=1_000,
        role="tunable",
        search=(10, 120),
    )
    n_rounds: int = param(
        12,
        "alternations at most; four more each time that added knots have helped",
        ge=1,
        le=200,
        role="tunable",
        search=(3, 30),
    )
    sharing: Literal["all", "type", "pair", "neuron", "receiver"] = param(
        "all",
        "who has a message function: all neurons one; or every cell type (clusters of what the shared fit recovers) or "
        "neuron its own, shrunk towards the shared one, where held-out frames are predicted better; or every pair of "
        "cell types, sender and receiver (all pairs connected, update.weights=absolute); or every group of receivers "
        "(update.varying=plasticity, update.weights=absolute)",
        role="block_only",
        search=("all", "type", "pair", "neuron"),
    )
    own_knots: int = param(
        12, "knots at most of what an own function adds to the shared one", ge=3, le=200, role="tunable", search=(5, 30)
    )
    monotone: bool = param(True, "the message function never falls", role="tunable")
    max_frames: int | None = param(32_000, "frames for the weights; null for all", unit="frames", ge=2)
    curve_frames: int = param(
        4_000, "frames for the message function; twenty per input where that is more", unit="frames", ge=2, scale="log"
    )
    curve_neurons: int = param(
        1_500, "equations that determine the message function", unit="neurons", ge=1, scale="log"
    )
    tolerance: float = param(1e-4, "stop when the score moves less than this", ge=0.0, lt=1.0, scale="log")
