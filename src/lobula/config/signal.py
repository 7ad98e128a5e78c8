"""Config sections `signal` and `drive`: random networks of four or so cell types, and what drives them."""

from typing import Annotated, Literal

from pydantic import Field

from lobula.config.base import Section, StrTuple, YamlPath, param

SignalModelName = Literal["N2", "N3", "N4", "N5", "N6", "N7", "N11"]
Connectivity = Literal[
    "lorentz", "gaussian", "low_rank", "uniform", "ring_attractor", "successor", "structured", "file"
]
Psi = Literal["tanh", "relu", "softplus", "sigmoid", "saturating", "squared"]
TypeRow = Annotated[tuple[float, ...], Field(strict=False)]
TypeTable = Annotated[tuple[TypeRow, ...], Field(strict=False)]
Drive = Literal["none", "oscillatory", "triggered", "visual", "file"]


class SignalConfig(Section):
    """A signal network; used where connectome.source is signal. Fields that its kind does not use are ignored."""

    model: SignalModelName = param("N2", "equation of the neurons, see docs/signal.md")
    parameters: TypeTable | None = param(
        None, "one row of parameters per cell type, in the model's order; null: the model's own four types"
    )
    activation: Psi = param("tanh", "message function psi")
    message_functions: StrTuple | None = param(
        None, "model N11: message function of every cell type; null: tanh, sigmoid, saturating, tanh"
    )
    drift_period: float = param(1_000.0, "model N3: time from each type to the next and back", unit="s", gt=0.0)
    n_neurons: int = param(1_000, "size of the network", unit="neurons", ge=2)
    connectivity: Connectivity = param("lorentz", "how the weights are drawn")
    connectivity_file: YamlPath | None = param(
        None, "connectivity file: .npy, .npz, .csv or .pt of a matrix (N, N), row postsynaptic, or of a list of edges"
    )
    fill: float = param(1.0, "probability that a connection is kept", gt=0.0, le=1.0)
    rank: int = param(20, "rank of connectivity low_rank", ge=1)
    dale_law: bool = param(False, "all connections out of a neuron have one sign")
    dale_factor: float = param(0.5, "dale_law: share of excitatory neurons", ge=0.0, le=1.0)
    u0_scale: float = param(5.0, "standard deviation of the initial state", unit="a.u.", ge=0.0)
    burn_in: int = param(1_000, "frames from the initial state that are not recorded", unit="frames", ge=0)
    record_plasticity: bool = param(False, "models N6 and N7: keep the plasticity of every frame with the truth")


class DriveConfig(Section):
    """External input of a signal network. Fields that its kind does not use are ignored."""

    kind: Drive = param(
        "none",
        "oscillatory: sinusoids of random amplitude; triggered: pulses at random times; visual: what section stimulus "
        "describes; file: a .npy array (T, N)",
    )
    path: YamlPath | None = param(None, "kind file: the array, repeated from its start where it ends")
    amplitude: float = param(1.0, "largest amplitude of a sinusoid or pulse", unit="a.u.", gt=0.0)
    frequency: float = param(0.5, "kind oscillatory", unit="Hz", gt=0.0)
    n_driven: int | None = param(None, "neurons that receive it, drawn by the seed; null: all", ge=1)
    pulse_interval: int = param(500, "kind triggered: one pulse in every such stretch", unit="frames", ge=2)
    pulse_frames: int = param(50, "kind triggered: length of a pulse", unit="frames", ge=1)
