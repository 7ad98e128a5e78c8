"""Names of the original descriptions and of the reference, read and translated, and used nowhere else."""

import logging
from typing import Any

from lobula.errors import ConfigError

logger = logging.getLogger(__name__)

SECTIONS = {
    "graph_model": "model",
    "graph_model_config": "model",
    "simulation_config": "simulation",
    "training_config": "training",
}

_TRAINING = {
    "learning_rate_W_start": "lr_W",
    "learning_rate_start": "lr",
    "learning_rate_embedding_start": "lr_embedding",
    "coeff_edge_diff": "coeff_g_phi_diff",
    "coeff_edge_norm": "coeff_g_phi_norm",
    "coeff_edge_weight_L1": "coeff_g_phi_weight_L1",
    "coeff_edge_weight_L2": "coeff_g_phi_weight_L2",
    "coeff_phi_weight_L1": "coeff_f_theta_weight_L1",
    "coeff_phi_weight_L2": "coeff_f_theta_weight_L2",
    "coeff_lin_phi_zero": "coeff_f_theta_zero",
    "coeff_edge_weight_L1_rate": "coeff_g_phi_weight_L1_rate",
    "coeff_edge_weight_L2_rate": "coeff_g_phi_weight_L2_rate",
    "coeff_phi_weight_L1_rate": "coeff_f_theta_weight_L1_rate",
    "coeff_phi_weight_L2_rate": "coeff_f_theta_weight_L2_rate",
    "data_augmentation_loop": "augmentation",
    "alternate_training": "two_stage",
    "noise_recurrent_level": "recurrent_noise",
}
NAMES = {f"training.{old}": f"training.{new}" for old, new in _TRAINING.items()} | {
    "training.noise_model_level": "simulation.process_noise",
    "simulation.noise_model_level": "simulation.process_noise",
    "simulation.measurement_noise_level": "simulation.measurement_noise",
    "simulation.delta_t": "simulation.dt",
    "simulation.connectivity_filling_factor": "signal.fill",
    "simulation.connectivity_rank": "signal.rank",
    "simulation.Dale_law": "signal.dale_law",
    "simulation.Dale_law_factor": "signal.dale_factor",
    "simulation.n_neurons": "signal.n_neurons",
    "model.lin_edge_positive": "model.g_phi_positive",
    "model.signal_model_name": "model.name",
}
VARIANTS = {"flyvis_A_tanh": "tanh", "flyvis_A_multiple_ReLU": "gain", "flyvis_A_NULL": "no_messages"}
"""Names of models that named another true circuit, fitted by flyvis_A: what `simulation.variant` says today."""


def translate(flat: dict[str, Any], known: set[str], source: str) -> dict[str, Any]:
    """Replace legacy names by today's, with a logged notice for each.

    Args:
        flat: values by path ("section.field").
        known: the paths that exist today.
        source: file or option that the values come from, for messages.

    Raises:
        ConfigError: if a field is given under both names, or today's name does not exist in this version.
    """
    result: dict[str, Any] = {}
    for path, value in flat.items():
        section, dot, key = path.partition(".")
        current = f"{SECTIONS.get(section, section)}{dot}{key}"
        new = current if current in known else NAMES.get(current, current)
        if new != current and new not in known:
            raise ConfigError(
                f"{path}: legacy name of {new}, which this version does not offer; remove it from {source}"
            )
        if new in result or (new != path and new in flat):
            raise ConfigError(f"{path}: the same field as {new}, which is given too; keep {new} only")
        if new != path:
            logger.info("%s: %s is a legacy name and is read as %s", source, path, new)
        result[new] = value
    return _with_variant(result, source)


def _with_variant(values: dict[str, Any], source: str) -> dict[str, Any]:
    """A model's name that stands for a variant of the true circuit becomes model and variant."""
    name = values.get("model.name")
    variant = VARIANTS.get(name) if isinstance(name, str) else None
    if variant is None:
        return values
    given = values.get("simulation.variant", variant)
    if given != variant:
        raise ConfigError(
            f"model.name: {name} stands for simulation.variant={variant}, but {source} gives {given}; keep one of them"
        )
    logger.info(
        "%s: model.name=%s is a legacy name and is read as flyvis_A with simulation.variant=%s", source, name, variant
    )
    return {**values, "model.name": "flyvis_A", "simulation.variant": variant}
