"""Config section `training`: which estimators are fitted, and how the network is trained."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lobula.config.base import Section, param

Estimator = Literal["ridge", "spline", "gnn"]
STEPS_PER_FRAME = 0.2
"""Of the published arithmetic."""


def _distinct(names: tuple[Estimator, ...]) -> tuple[Estimator, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("expected one or more distinct names out of ridge, spline, gnn")
    return names


EstimatorTuple = Annotated[tuple[Estimator, ...], Field(strict=False), AfterValidator(_distinct)]


def _penalty(default: float, meaning: str, search: tuple[float, float]) -> Any:
    return param(default, f"penalty: {meaning}", ge=0.0, scale="log", role="tunable", search=search)


def _rate(name: str) -> Any:
    meaning = f"growth of coeff_{name} with the epochs, c (1 - exp(-rate epoch)); 0: constant"
    return param(0.0, meaning, unit="1/epoch", ge=0.0)


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
    n_epochs: int | None = param(None, "length of the first phase in epochs, in place of n_steps", ge=1)
    augmentation: int = param(
        20, "an epoch has n_frames x augmentation / batch_size x 0.2 steps", ge=1, role="tunable", search=(5, 50)
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
    schedule: Literal["cosine", "warm_restarts", "constant"] = param(
        "cosine", "learning rates after the warm-up: one cosine, cosines of restart_steps each, or constant"
    )
    restart_steps: int = param(1_000, "steps from one warm restart to the next", ge=1, scale="log")
    loss: Literal["scaled_mse", "norm"] = param(
        "scaled_mse",
        "scaled_mse: mean over neurons of the squared error over the target's variance, penalties as means; norm: root "
        "of the sum of squares over the batch, penalties as sums (the published formulas)",
    )
    coeff_g_phi_diff: float = _penalty(1.0, "the message function is monotone", (1e-2, 1e2))
    coeff_g_phi_norm: float = _penalty(1.0, "fixes the scale between message and weight", (1e-2, 1e2))
    coeff_g_phi_weight_L1: float = _penalty(0.0, "absolute parameters of g_phi", (1e-7, 1.0))
    coeff_g_phi_weight_L2: float = _penalty(0.0, "squared parameters of g_phi", (1e-7, 1.0))
    coeff_f_theta_weight_L1: float = _penalty(0.0, "absolute parameters of f_theta", (1e-7, 1.0))
    coeff_f_theta_weight_L2: float = _penalty(0.0, "squared parameters of f_theta", (1e-7, 1.0))
    coeff_f_theta_zero: float = _penalty(0.0, "f_theta is 0 at voltage, message and input 0", (1e-4, 1e2))
    coeff_f_theta_diff: float = _penalty(0.0, "f_theta falls with the voltage", (1e-3, 1e2))
    coeff_f_theta_msg_diff: float = _penalty(0.0, "f_theta rises with the message", (1e-3, 1e2))
    coeff_f_theta_msg_sign: float = _penalty(0.0, "f_theta at voltage 0 has the sign of the message", (1e-3, 1e2))
    coeff_f_theta_linearity: float = _penalty(0.0, "f_theta is a line in the voltage, over mean +- 2 sd", (1e-3, 1e2))
    coeff_f_theta_centering: float = _penalty(0.0, "f_theta is 0 at a neuron's mean voltage", (1e-3, 1e2))
    coeff_W_L1: float = _penalty(0.0, "absolute weight", (1e-7, 1e-2))
    coeff_W_L2: float = _penalty(0.0, "squared weight", (1e-7, 1e-2))
    coeff_W_sign: float = _penalty(0.0, "Dale's law: a neuron's weights have one sign", (1e-4, 1e1))
    coeff_W_L1_rate: float = _rate("W_L1")
    coeff_W_L2_rate: float = _rate("W_L2")
    coeff_g_phi_weight_L1_rate: float = _rate("g_phi_weight_L1")
    coeff_g_phi_weight_L2_rate: float = _rate("g_phi_weight_L2")
    coeff_f_theta_weight_L1_rate: float = _rate("f_theta_weight_L1")
    coeff_f_theta_weight_L2_rate: float = _rate("f_theta_weight_L2")
    shape_penalties_from: float = param(
        0.1, "share of the first phase after which linearity and centering begin to act", ge=0.0, lt=1.0
    )
    two_stage: bool = param(False, "first all parameters, then f_theta and embeddings first (V_rest focus)")
    alternate_joint_ratio: float = param(
        0.4, "two_stage: share of the steps for all parameters", gt=0.0, lt=1.0, role="tunable", search=(0.2, 0.6)
    )
    alternate_lr_ratio: float = param(
        0.1,
        "two_stage: factor on the learning rates of W and g_phi afterwards",
        ge=0.0,
        le=1.0,
        scale="log",
        role="tunable",
        search=(0.01, 0.3),
    )
    regime: Literal["one_step", "recurrent", "multi_start", "neural_ode"] = param(
        "one_step",
        "one_step: dv/dt at each frame; recurrent: time_step Euler steps against the recorded voltage; multi_start: "
        "from all of the time_step frames before to the same one; neural_ode: torchdiffeq over time_step frames",
        role="block_only",
    )
    time_step: int = param(
        1, "frames that are unrolled", unit="frames", ge=1, le=256, role="block_only", search=(1, 64)
    )
    time_step_aligned: bool = param(False, "unrolling starts at multiples of time_step only")
    recurrent_loss: Literal["end", "dense"] = param("end", "error at the last unrolled frame, or at each")
    recurrent_noise: float = param(0.0, "noise added to the voltage at each unrolled step", unit="a.u.", ge=0.0)
    recurrent_start: float = param(0.0, "share of the first phase that is trained one_step before", ge=0.0, lt=1.0)
    consecutive_batch: bool = param(False, "a batch holds frames that follow each other")
    ode_method: Literal["euler", "midpoint", "heun3", "rk4", "dopri5"] = param("rk4", "solver of regime neural_ode")
    ode_rtol: float = param(1e-4, "relative tolerance of dopri5", gt=0.0, scale="log")
    ode_atol: float = param(1e-5, "absolute tolerance of dopri5", unit="a.u.", gt=0.0, scale="log")
    ode_adjoint: bool = param(False, "gradients by the adjoint equation: memory does not grow with time_step")
    state_clamp: float | None = param(None, "unrolled voltages stay within +- this", unit="a.u.", gt=0.0)
    cluster_every: int | None = param(
        None, "steps after which embeddings are replaced by the centre of their cluster; null: never", ge=1
    )
    cluster_method: Literal["gmm", "kmeans", "dbscan", "umap"] = param(
        "gmm", "how embeddings are clustered; umap: DBSCAN on a UMAP of them (extra umap)"
    )
    n_clusters: int = param(65, "clusters of embeddings for gmm and kmeans", ge=1)
    warm_start: Literal["none", "spline"] = param("none", "start g and W from another estimator", role="block_only")
    rounds: int = param(
        0, "alternations of refit and further training of g", ge=0, le=20, role="tunable", search=(0, 4)
    )
    round_steps: int = param(
        300, "optimiser steps per alternation", ge=1, scale="log", role="tunable", search=(100, 5_000)
    )
    gauss_newton_steps: int = param(
        20,
        "Gauss-Newton steps on g after each phase, fewer if they bring nothing",
        ge=0,
        le=50,
        role="tunable",
        search=(0, 20),
    )
    validation_every: int = param(200, "steps between validations", ge=1)
    checkpoint_every: int = param(200, "steps between checkpoints", ge=1)
    grad_clip: float | None = param(
        1.0, "largest norm of the whole gradient", gt=0.0, scale="log", role="tunable", search=(0.1, 10.0)
    )
    grad_clip_W: float | None = param(None, "largest norm of the gradient of the weights, before that", gt=0.0)
    grad_clip_networks: float | None = param(None, "the same for each of both networks", gt=0.0)
    grad_clip_embedding: float | None = param(None, "the same for the embeddings", gt=0.0)
    device: str = param("cpu", "torch device, for example cpu or cuda:0")
    precision: Literal["float32", "tf32", "bf16"] = param(
        "float32",
        "products inside the networks in training steps: float32; tf32 (NVIDIA GPUs: factors rounded to 10 bits, no "
        "effect on a CPU); bf16 (7 bits). Parameters, sums over inputs, losses and refits stay float32",
        role="block_only",
    )

    def steps_per_epoch(self, n_frames: int) -> int:
        """Optimiser steps of an epoch over a recording of that length."""
        return max(1, int(n_frames * self.augmentation // self.batch_size * STEPS_PER_FRAME))

    def joint_steps(self, n_frames: int) -> int:
        """Optimiser steps of the first phase."""
        return self.n_steps if self.n_epochs is None else self.n_epochs * self.steps_per_epoch(n_frames)
