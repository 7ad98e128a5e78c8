"""Which settings of the sections `model`, `training` and `prior` a model reads: what its registry entry says."""

from collections.abc import Iterable

from lobula.config.experiment import ExperimentConfig

SECTIONS = ("model", "training", "prior")

MESSAGE_NETWORK = (
    "model.hidden_dim",
    "model.n_layers",
    "model.g_phi_positive",
    "model.g_phi_shared",
    "training.rounds",
    "training.round_steps",
    "training.gauss_newton_steps",
    "training.warm_start",
    "training.coeff_g_phi_diff",
    "training.coeff_g_phi_norm",
    "training.coeff_g_phi_weight_L1",
    "training.coeff_g_phi_weight_L2",
    "training.coeff_g_phi_weight_L1_rate",
    "training.coeff_g_phi_weight_L2_rate",
)
"""Of a message function that is learned."""

UPDATE_NETWORK = (
    "model.hidden_dim_update",
    "model.n_layers_update",
    "training.coeff_f_theta_weight_L1",
    "training.coeff_f_theta_weight_L2",
    "training.coeff_f_theta_weight_L1_rate",
    "training.coeff_f_theta_weight_L2_rate",
    "training.coeff_f_theta_zero",
    "training.coeff_f_theta_diff",
    "training.coeff_f_theta_msg_diff",
    "training.coeff_f_theta_msg_sign",
    "training.coeff_f_theta_linearity",
    "training.coeff_f_theta_centering",
    "training.shape_penalties_from",
)
"""Of an update that is learned."""

ANY_NETWORK = ("model.activation", "model.mlp_init", "model.scaling", "training.precision")

EMBEDDING = (
    "model.embedding_dim",
    "model.embedding_init",
    "training.lr_embedding",
    "training.grad_clip_embedding",
    "training.cluster_every",
    "training.cluster_method",
    "training.n_clusters",
)

FACTORS = ("model.rank",)
"""Of weights of low rank."""

PRIOR = ("prior.synapse_counts", "prior.sign", "prior.tied")
"""Of one free weight per edge."""


def all_but(*groups: Iterable[str]) -> frozenset[str]:
    """Every field of the sections but those of some groups."""
    left_out = {path for group in groups for path in group}
    return frozenset(path for section in SECTIONS for path in paths(section)) - left_out


def paths(section: str) -> list[str]:
    """Every field of a section, "section.field"."""
    annotation = ExperimentConfig.model_fields[section].annotation
    return [f"{section}.{key}" for key in annotation.model_fields]  # type: ignore[union-attr]
