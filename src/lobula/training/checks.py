"""Settings that contradict each other, or the model, are errors before a training starts."""

import logging

from lobula.config.experiment import ExperimentConfig
from lobula.errors import ConfigError
from lobula.models import AbstractDynamicsModel, registry
from lobula.training.cluster_embeddings import check_clustering
from lobula.training.distributed import Team
from lobula.training.regimes import check_regime

logger = logging.getLogger(__name__)


def check(config: ExperimentConfig, model: AbstractDynamicsModel, team: Team) -> None:
    """Refuses what cannot be trained, and says which settings have no effect.

    Raises:
        ConfigError: naming the setting.
    """
    settings = config.training
    check_regime(settings)
    check_clustering(settings)
    idle = registry.idle_fields(config) if team.leads else []
    if idle:
        logger.info("%s: no effect with model.name=%s", ", ".join(idle), config.model.name)
    if settings.loss == "norm" and team.size > 1:
        raise ConfigError(f"training.loss: got norm with {team.size} processes, expected one: norms do not add up")
    if not model.learns_messages and (settings.warm_start != "none" or settings.cluster_every is not None):
        raise ConfigError(
            f"model.name: got {config.model.name} with training.warm_start={settings.warm_start} and cluster_every="
            f"{settings.cluster_every}, expected none and null: it has neither a message network nor embeddings"
        )
    rank = model.config.rank
    if rank is not None and config.update.form != "linear":
        raise ConfigError(
            f"update.form: got {config.update.form} with weights of rank {rank}, expected linear: refits of low rank "
            "know a leak alone; or set model.name=signal and model.rank=null"
        )
    if rank is not None and (model.sees_target or settings.warm_start != "none"):
        what = f"model.name={config.model.name}" if model.sees_target else f"training.warm_start={settings.warm_start}"
        raise ConfigError(
            f"model.rank: got {rank} with {what}, expected null: factors act on messages of the sources "
            "alone, and start by themselves"
        )
