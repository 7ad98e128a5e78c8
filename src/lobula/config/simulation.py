"""Config section `simulation`: how the recording is made."""

from typing import Literal

from lobula.config.base import Section, YamlPath, param

TruthActivation = Literal["relu", "softplus", "tanh", "sigmoid", "saturating", "squared"]
Variant = Literal["standard", "tanh", "gain", "no_messages"]


class SimulationConfig(Section):
    """How the recording is made, or which existing recording is used."""

    seed: int = param(0, "root seed of stimulus and noise", ge=0)
    n_frames: int = param(16_000, "training frames", unit="frames", ge=2, role="block_only")
    n_frames_validation: int = param(2_000, "validation frames", unit="frames", ge=2)
    n_frames_test: int = param(2_000, "test frames", unit="frames", ge=2)
    trial_frames: int | None = param(
        None,
        "cut the training frames into trials of this length, each from the grey state, simulated side by side (at "
        "less than half the time per frame, full size); null: one trial",
        unit="frames",
        ge=100,
        le=2_000,
    )
    dt: float = param(0.02, "time step", unit="s", gt=0.0, le=1.0)
    process_noise: float = param(
        0.05, "standard deviation of the noise added per step", unit="a.u.", ge=0.0, role="block_only"
    )
    measurement_noise: float = param(
        0.0, "standard deviation of the noise on the recorded voltage", unit="a.u.", ge=0.0, role="block_only"
    )
    activation: TruthActivation = param("relu", "message function of the true circuit", role="block_only")
    activation_scale: float = param(
        1.0,
        "voltage scale s of the message function, s g(v / s); below 1 a bounded function saturates earlier",
        unit="a.u.",
        gt=0,
        role="block_only",
    )
    variant: Variant = param("standard", "form of the true dynamics", role="block_only")
    tau_floor: Literal["none", "dt"] = param("none", "'dt' floors every tau at the time step, as flyvis does")
    record_drift: bool = param(True, "also store the noise-free dv/dt (target 'drift')")
    recording: YamlPath | None = param(None, "use this recording store instead of simulating")
