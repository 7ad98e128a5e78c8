"""Settings that contradict each other, or the model, are errors before a training starts."""

import logging

from lobula.config.experiment import ExperimentConfig
from lobula.config.training import TrainingConfig
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
    check_idle(settings)
    check_clustering(settings)
    _refuse_idle_penalties(config)
    if team.leads:
        _say_what_is_idle(config)
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


def check_idle(settings: TrainingConfig) -> None:
    """Refuses settings that were given and that the others keep from acting.

    Raises:
        ConfigError: naming the first such setting and what it needs.
    """
    for name, (acts, needed) in _needs(settings).items():
        value, default = getattr(settings, name), TrainingConfig.model_fields[name].default
        if value != default and not acts:
            raise ConfigError(
                f"training.{name}: got {value}, expected {default}: it has no effect without {needed}; set that, or "
                f"leave training.{name} out"
            )


def cannot_act(config: ExperimentConfig) -> set[str]:
    """Fields of `model` and `training` that change nothing, or are refused, whatever their value: the model has nothing
    for them, or other settings keep them from acting."""
    settings = config.training
    found = set(registry.without_effect(config.model.name))
    found |= {f"training.{name}" for name, (acts, _) in _needs(settings).items() if not acts}
    if settings.n_epochs is not None:
        return found | {"training.n_steps"}
    grows = any(getattr(settings, name) > 0 for name in TrainingConfig.model_fields if name.endswith("_rate"))
    return found if grows else found | {"training.augmentation"}


def _needs(settings: TrainingConfig) -> dict[str, tuple[bool, str]]:
    """Whether a setting can act, and what it needs for that, by name."""
    solver, adaptive = settings.regime == "neural_ode", settings.ode_method == "dopri5"
    tolerance = (solver and adaptive, "training.regime=neural_ode and training.ode_method=dopri5")
    stage = (settings.two_stage, "training.two_stage=true")
    needs = {
        "recurrent_loss": (settings.regime == "recurrent", "training.regime=recurrent"),
        "ode_adjoint": (solver, "training.regime=neural_ode"),
        "ode_rtol": tolerance,
        "ode_atol": tolerance,
        "alternate_joint_ratio": stage,
        "alternate_lr_ratio": stage,
        "restart_steps": (settings.schedule == "warm_restarts", "training.schedule=warm_restarts"),
    }
    for name in TrainingConfig.model_fields:
        if name.endswith("_rate") and name.startswith("coeff_"):
            coefficient = name.removesuffix("_rate")
            needs[name] = (getattr(settings, coefficient) > 0, f"a positive training.{coefficient}")
    return needs


def _say_what_is_idle(config: ExperimentConfig) -> None:
    """Logs settings that were given and do not act on the model, and a solver that nothing is solved with."""
    idle = registry.idle_fields(config)
    if idle:
        logger.info("%s: no effect with model.name=%s", ", ".join(idle), config.model.name)
    method, default = config.training.ode_method, TrainingConfig.model_fields["ode_method"].default
    if method != default and config.training.regime != "neural_ode":
        logger.info("training.ode_method=%s: no effect with training.regime=%s", method, config.training.regime)


def _refuse_idle_penalties(config: ExperimentConfig) -> None:
    """Check that no penalty was switched on that the model has nothing for; defaults may stay."""
    for path in registry.idle_fields(config):
        name = path.removeprefix("training.")
        if name.startswith("coeff_") and not name.endswith("_rate") and getattr(config.training, name) > 0:
            raise ConfigError(
                f"{path}: got {getattr(config.training, name)}, expected 0: model.name={config.model.name} has nothing "
                f"that it acts on; set {path}=0, or choose another model.name"
            )
