"""Config section `scoring`: how estimates are compared with the truth."""

from lobula.config.base import Section, param


class ScoringConfig(Section):
    """How estimates are compared with the truth."""

    outlier_threshold: float = param(
        5.0, "absolute error beyond which a value counts as an outlier", unit="a.u.", gt=0.0
    )
    rollout_steps: int = param(200, "length of a rollout on held-out frames", unit="frames", ge=1)
    n_rollouts: int = param(10, "rollouts", ge=1)
    ceiling: bool = param(True, "first score ridge with the true message function")
