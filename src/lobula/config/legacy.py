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
    "ode_state_clamp": "state_clamp",
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
    "training.w_init_mode": "model.w_init",
    "model.w_init_mode": "model.w_init",
    "model.lin_edge_positive": "model.g_phi_positive",
    "model.signal_model_name": "model.name",
}
REGIMES = {"training.recurrent_training": "recurrent", "training.neural_ODE_training": "neural_ode"}
"""Switches that are values of `training.regime` today."""
GONE = {
    "model.input_size": "is derived from model.embedding_dim",
    "model.input_size_update": "is derived from model.embedding_dim",
    "training.recurrent_training_start_epoch": "is training.recurrent_start today, a share of the steps",
}
"""Names without a counterpart of the same meaning, and what is there instead."""
VARIANTS = {"flyvis_A_tanh": "tanh", "flyvis_A_multiple_ReLU": "gain", "flyvis_A_NULL": "no_messages"}
"""Names of models that named another true circuit, fitted by flyvis_A: what `simulation.variant` says today."""


def translate(flat: dict[str, Any], known: set[str], source: str) -> dict[str, Any]:
    """Replace legacy names by today's, with a logged notice for each.

    Args:
        flat: values by path ("section.field").
        known: the paths that exist today.
        source: file or option that the values come from, for messages.

    Raises:
        ConfigError: if a field is given under both names, today's name does not exist in this version, or a name has no
            counterpart.
    """
    result: dict[str, Any] = {}
    for path, value in flat.items():
        section, dot, key = path.partition(".")
        current = f"{SECTIONS.get(section, section)}{dot}{key}"
        if current in GONE and current not in known:
            raise ConfigError(f"{path}: a legacy name; it {GONE[current]}; remove it from {source}")
        if current in REGIMES and current not in known:
            current, value = _regime(path, value, REGIMES[current], source)
            if value is None:
                continue
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


def _regime(path: str, value: Any, regime: str, source: str) -> tuple[str, str | None]:
    """Path and value of what a switch stands for; None where it is off, which the default of the regime says, too."""
    if not isinstance(value, bool):
        raise ConfigError(f"{path}: got {value!r}, expected true or false; or set training.regime={regime}")
    if not value:
        logger.info("%s: %s=false is a legacy switch, left aside; training.regime says which one it is", source, path)
    return "training.regime", regime if value else None


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
