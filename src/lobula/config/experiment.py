"""The whole config of an experiment."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lobula.config.applicable import applies, refuse_others
from lobula.config.base import Section, param
from lobula.config.connectome import ConnectomeConfig
from lobula.config.messages import one_line
from lobula.config.model import ModelConfig
from lobula.config.prior import PriorConfig
from lobula.config.recovery import RecoveryConfig
from lobula.config.regression import RidgeConfig, SplineConfig
from lobula.config.report import ReportConfig
from lobula.config.scoring import ScoringConfig
from lobula.config.signal import DriveConfig, SignalConfig
from lobula.config.simulation import SimulationConfig
from lobula.config.stimulus import StimulusConfig
from lobula.config.training import TrainingConfig
from lobula.config.update import UpdateConfig
from lobula.errors import ConfigError


class ExperimentConfig(Section):
    """Everything that decides an experiment. Frozen; make a changed copy with `with_values`.

    Attributes:
        name: short name, also the default name of the run directory.
        description: one sentence on what the experiment is for.
    """

    name: str = param("experiment", "short name of the experiment")
    description: str = param("", "what the experiment is for")
    connectome: ConnectomeConfig = ConnectomeConfig()
    signal: SignalConfig = SignalConfig()
    drive: DriveConfig = DriveConfig()
    stimulus: StimulusConfig = StimulusConfig()
    simulation: SimulationConfig = SimulationConfig()
    training: TrainingConfig = TrainingConfig()
    model: ModelConfig = ModelConfig()
    update: UpdateConfig = UpdateConfig()
    ridge: RidgeConfig = RidgeConfig()
    spline: SplineConfig = SplineConfig()
    prior: PriorConfig = PriorConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    scoring: ScoringConfig = ScoringConfig()
    report: ReportConfig = ReportConfig()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ExperimentConfig":
        """Validate nested plain values.

        Raises:
            ConfigError: one line that names every bad key or value.
        """
        try:
            config = cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(one_line(error, cls)) from None
        refuse_others(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as YAML and JSON can hold them; `from_dict` reads them back to an equal config."""
        return self.model_dump(mode="json")

    def with_values(self, values: Mapping[str, Any]) -> "ExperimentConfig":
        """A copy with some fields changed.

        Args:
            values: new values by path, for example ``{"training.seed": 1}``.

        Raises:
            ConfigError: if a path or a value is not valid.
        """
        document = self.to_dict()
        for path, value in values.items():
            *sections, key = path.split(".")
            place = document
            for section in sections:
                place = place.setdefault(section, {})
                if not isinstance(place, dict):
                    raise ConfigError(f"{path}: {section} is a field, not a section; expected section.field")
            place[key] = value
        return ExperimentConfig.from_dict(document)

    @property
    def network_needs_spline(self) -> bool:
        """Whether the graph network begins with what the spline found."""
        return self.training.warm_start == "spline" or self.update.varying != "none"

    @property
    def fitted_estimators(self) -> list[str]:
        """The estimators in their order, and before the network the spline that it begins with."""
        names: list[str] = list(self.training.estimators)
        if "gnn" not in names or not self.network_needs_spline:
            return names
        others = [name for name in names if name != "spline"]
        first = others.index("gnn")
        return [*others[:first], "spline", *others[first:]]

    def digest(self, *sections: str, exclude: tuple[str, ...] = ()) -> str:
        """SHA-256 of some sections: equal digests mean equal settings.

        Args:
            sections: section names; none means all of them (name and description never count, nor do sections that mean
                nothing for this circuit).
            exclude: paths that do not count, for example ``("simulation.seed",)``.

        Raises:
            ConfigError: if a section does not exist.
        """
        document = self.to_dict()
        names = sections or tuple(section_names())
        unknown = [name for name in names if name not in section_names()]
        if unknown:
            raise ConfigError(f"digest: no section {unknown[0]!r}, expected some of {', '.join(section_names())}")
        chosen = {
            f"{name}.{key}": value
            for name in names
            if applies(name, self.connectome.source)
            for key, value in document[name].items()
            if f"{name}.{key}" not in exclude
        }
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def section_names() -> tuple[str, ...]:
    """Names of the sections, in the order of the config."""
    return tuple(name for name, field in ExperimentConfig.model_fields.items() if is_section(field.annotation))


def is_section(annotation: Any) -> bool:
    """Whether a field's annotation is a config section."""
    return isinstance(annotation, type) and issubclass(annotation, Section)
