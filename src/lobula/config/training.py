"""Config section `training`: which estimators are fitted, and how the network is trained."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lobula.config.base import Section, param

Estimator = Literal["ridge", "spline", "gnn"]


def _distinct(names: tuple[Estimator, ...]) -> tuple[Estimator, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("expected one or more distinct names out of ridge, spline, gnn")
    return names


EstimatorTuple = Annotated[tuple[Estimator, ...], Field(strict=False), AfterValidator(_distinct)]


class TrainingConfig(Section):
    """Which estimators are fitted to which target, and the optimisation of the gnn."""

    seed: int = param(0, "root seed of initialisation and sampling", ge=0)
    estimators: EstimatorTuple = param(("ridge", "spline", "gnn"), "rungs of the ladder that are fitted")
    target: Literal["observed", "drift"] = param(
        "observed", "what is fitted: recorded difference or exact dv/dt", role="block_only"
    )
    n_steps: int = param(
        800, "optimiser steps of the first phase", ge=1, scale="log", role="tunable", search=(500, 50_000)
    )
    batch_size: int = param(8, "frames per step", unit="frames", ge=1, scale="log", role="tunable", search=(1, 64))
    lr: float = param(
        2e-3, "learning rate of the networks", gt=0.0, lt=1.0, scale="log", role="tunable", search=(1e-4, 2e-2)
    )
    lr_W: float = param(
        2e-3, "learning rate of the edge weights", gt=0.0, lt=1.0, scale="log", role="tunable", search=(1e-4, 5e-2)
    )
    lr_embedding: float = param(
        2e-3, "learning rate of the embeddings", gt=0.0, lt=1.0, scale="log", role="tunable", search=(1e-4, 2e-2)
    )
    warmup_fraction: float = param(
        0.05, "share of the steps that warms up", ge=0.0, lt=1.0, role="tunable", search=(0.0, 0.2)
    )
    final_lr_fraction: float = param(
        0.02, "learning rate at the end of the cosine, as a share", ge=0.0, le=1.0, role="tunable", search=(0.0, 0.2)
    )
    loss: Literal["scaled_mse"] = param(
        "scaled_mse", "mean over neurons of the squared error over the target's variance"
    )
    coeff_g_phi_diff: float = param(
        1.0, "penalty: the message function is monotone", ge=0.0, scale="log", role="tunable", search=(1e-2, 1e2)
    )
    coeff_g_phi_norm: float = param(
        1.0,
        "penalty: fixes the scale between message and weight",
        ge=0.0,
        scale="log",
        role="tunable",
        search=(1e-2, 1e2),
    )
    coeff_W_L1: float = param(
        0.0, "penalty: mean absolute weight", ge=0.0, scale="log", role="tunable", search=(1e-7, 1e-2)
    )
    coeff_W_L2: float = param(
        0.0, "penalty: mean squared weight", ge=0.0, scale="log", role="tunable", search=(1e-7, 1e-2)
    )
    warm_start: Literal["none", "spline"] = param("none", "start g and W from another estimator", role="block_only")
    rounds: int = param(
        2, "alternations of refit and further training of g", ge=0, le=20, role="tunable", search=(0, 4)
    )
    round_steps: int = param(
        300, "optimiser steps per alternation", ge=1, scale="log", role="tunable", search=(100, 5_000)
    )
    gauss_newton_steps: int = param(
        3, "Gauss-Newton steps on the last layer of g after each phase", ge=0, le=50, role="tunable", search=(0, 10)
    )
    validation_every: int = param(200, "steps between validations", ge=1)
    checkpoint_every: int = param(200, "steps between checkpoints", ge=1)
    grad_clip: float = param(
        1.0, "largest norm of the gradient", gt=0.0, scale="log", role="tunable", search=(0.1, 10.0)
    )
    device: str = param("cpu", "torch device, for example cpu or cuda:0")
    precision: Literal["float32", "tf32", "bf16"] = param(
        "float32",
        "products inside the networks in training steps: float32; tf32 (NVIDIA GPUs: factors rounded to 10 bits, no "
        "effect on a CPU); bf16 (7 bits). Parameters, sums over inputs, losses and refits stay float32",
        role="block_only",
    )
