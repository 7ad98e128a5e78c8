"""Config section `model`: the network of the gnn rung. Input sizes follow from it and are never typed."""

from typing import Literal

from lobula.config.base import Section, param


class ModelConfig(Section):
    """The message and update networks and what they start from."""

    name: Literal["flyvis_A", "flyvis_B", "flyvis_linear", "flyvis_linear_tanh", "signal", "signal_low_rank"] = param(
        "flyvis_A",
        "flyvis_A: graph network; flyvis_B: the same with messages that depend on the target, too (cost per edge); "
        "flyvis_linear(_tanh): the known equation with free parameters; signal: messages are added to what a neuron "
        "does by itself; signal_low_rank: the same with weights of rank model.rank (null: 20)",
    )
    hidden_dim: int = param(64, "hidden units of g_phi", ge=1, scale="log", role="tunable", search=(16, 256))
    n_layers: int = param(3, "linear layers of g_phi", ge=1, le=10, role="tunable", search=(2, 5))
    hidden_dim_update: int = param(64, "hidden units of f_theta", ge=1, scale="log", role="tunable", search=(16, 256))
    n_layers_update: int = param(3, "linear layers of f_theta", ge=1, le=10, role="tunable", search=(2, 5))
    embedding_dim: int = param(2, "length D of a neuron's embedding", ge=1, le=64, role="tunable", search=(1, 8))
    activation: Literal["relu", "tanh", "sigmoid", "leaky_relu", "softplus"] = param(
        "relu", "nonlinearity of both networks", role="tunable"
    )
    g_phi_positive: bool = param(False, "square the output of g_phi", role="tunable")
    g_phi_shared: Literal["auto", "yes", "no"] = param(
        "auto", "one message function for all neurons; auto: unless held-out prediction objects", role="tunable"
    )
    embedding_init: Literal["random", "ones"] = param("random", "start of the embeddings", role="tunable")
    mlp_init: Literal["fan_in", "small"] = param(
        "fan_in", "start of the networks: all layers by their inputs; or layers after the first N(0, 0.1), bias 0"
    )
    scaling: Literal["recording", "none"] = param(
        "recording", "networks see and give values in units of the recording's spread, or as they are"
    )
    rank: int | None = param(
        None, "weights are a product W_L W_R of this rank; null: one free weight per edge", ge=1, role="block_only"
    )
    w_init: Literal["zeros", "randn", "randn_scaled"] = param("zeros", "start of the edge weights", role="tunable")
