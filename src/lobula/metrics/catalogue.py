"""Every figure that is compared over seeds, between runs and with a reference, and which direction of it is better."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["higher", "lower", "one", "same"]
"""Better is more, less, nearer to 1; "same": any change is worse."""
RUNGS = ("ridge", "spline", "gnn")
CEILING = "ceiling"


@dataclass(frozen=True)
class Quantity:
    """A figure of one rung.

    Attributes:
        name: path in the rung's scores, joined by dots.
        label: as tables show it.
        better: direction.
        floor: change below which nobody should worry, in units of the figure.
        relative_floor: the same as a share of the figure.
        repeats: whether a seed gives it again up to rounding, so that the spread over seeds excuses nothing.
    """

    name: str
    label: str
    better: Direction
    floor: float = 0.005
    relative_floor: float = 0.0
    repeats: bool = False

    def of(self, scores: Mapping[str, Any]) -> float | None:
        """The figure in the scores of a rung; None if it is not there, or not a finite number."""
        value: Any = scores
        for key in self.name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)

    def tolerance(self, median: float, sd: float) -> float:
        """Change that a check lets pass: 3 sd over seeds, and no less than the floors; the floors if it repeats."""
        return max(0.0 if self.repeats else 3.0 * sd, self.floor, self.relative_floor * abs(median))


QUANTITIES = (
    Quantity("W.fit_r2", "W fit R²", "higher"),
    Quantity("W.r2", "W R²", "higher", 0.01),
    Quantity("W.slope", "W slope", "one", 0.01),
    Quantity("W.relative_error", "W relative error", "lower"),
    Quantity("W.sign_accuracy", "W sign accuracy", "higher"),
    Quantity("W.identifiable.fit_r2", "W fit R², identifiable", "higher"),
    Quantity("W.identifiable.share", "W identifiable, share", "higher"),
    Quantity("W.n_nonfinite", "W not finite", "lower", 0.5),
    Quantity("tau.fit_r2", "tau fit R²", "higher"),
    Quantity("tau.r2", "tau R²", "higher", 0.01),
    Quantity("tau.slope", "tau slope", "one", 0.01),
    Quantity("v_rest.fit_r2", "V_rest fit R²", "higher"),
    Quantity("v_rest.r2", "V_rest R²", "higher", 0.01),
    Quantity("v_rest.slope", "V_rest slope", "one", 0.01),
    Quantity("cell_types.accuracy", "cell types, accuracy", "higher", 0.02),
    Quantity("cell_types.ari", "cell types, ARI", "higher", 0.02),
    Quantity("spectrum.alignment_senders", "directions of senders", "higher", 0.01),
    Quantity("spectrum.alignment_receivers", "directions of receivers", "higher", 0.01),
    Quantity("prediction.one_step_rmse", "one-step RMSE", "lower", 0.0, 0.01),
    Quantity("prediction.one_step_pearson", "one-step r", "higher"),
    Quantity("prediction.rollout_rmse", "rollout RMSE", "lower", 0.0, 0.02),
    Quantity("prediction.rollout_pearson", "rollout r", "higher"),
    Quantity("prediction.rollout_noise_free_rmse", "noise-free rollout RMSE", "lower", 0.0, 0.02),
    Quantity("prediction.rollout_noise_free_pearson", "noise-free rollout r", "higher"),
)
COLLAPSE = QUANTITIES[0]
COLLAPSE_SHARE = 0.5


def rungs_of(scores: Mapping[str, Any]) -> list[str]:
    """Rungs that a scores.json holds, the ceiling last."""
    return [name for name in (*RUNGS, CEILING) if isinstance(scores.get(name), Mapping)]


def rung_label(scores: Mapping[str, Any], rung: str) -> str:
    """A rung as tables name it, with the prior that it was fitted under: "ridge (Dale known, tied hard)"."""
    own = scores.get(rung)
    prior = own.get("prior") if isinstance(own, Mapping) else None
    return f"{rung} ({prior})" if prior else rung


def has_collapsed(scores: Mapping[str, Any], rung: str) -> bool:
    """Whether the rung's weights are lost: their fit R2 is missing, or below half of the ceiling's (of 1 without one).

    False where there is no truth, and so no score of weights at all.
    """
    if "W" not in scores.get(rung, {}):
        return False
    best = COLLAPSE.of(scores.get(CEILING) or {})
    value = COLLAPSE.of(scores[rung])
    return value is None or value < COLLAPSE_SHARE * (1.0 if best is None else best)


def worse_by(better: Direction, reference: float, value: float) -> float:
    """How much worse a value is than a reference, in units of the figure; negative: better."""
    if better == "higher":
        return reference - value
    if better == "lower":
        return value - reference
    if better == "one":
        return abs(value - 1.0) - abs(reference - 1.0)
    return abs(value - reference)
