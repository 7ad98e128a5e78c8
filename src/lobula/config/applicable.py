"""Which fields mean something for which circuit; a field that was set for another one is an error, never ignored."""

from collections.abc import Iterator
from typing import Any

from lobula.config.base import Section
from lobula.config.stimulus import OWN_FIELDS
from lobula.errors import ConfigError

SIGNAL_SECTIONS = ("signal", "drive")
"""Sections of signal networks alone."""
RECORDING_SECTIONS = ("connectome", "signal", "drive", "stimulus", "simulation")
"""Sections that decide a recording."""

_FLY_FIELDS = (
    "connectome.extent",
    "connectome.parameters",
    "simulation.activation",
    "simulation.activation_scale",
    "simulation.variant",
    "simulation.tau_floor",
)
_INSTEAD = {"simulation.activation": "signal.activation", "connectome.parameters": "signal.parameters"}


def applies(section: str, source: str) -> bool:
    """Whether a section means something for circuits from that source."""
    return section not in SIGNAL_SECTIONS or source == "signal"


def refuse_others(config: Any) -> None:
    """Check that nothing is set that the circuit has no use for.

    Raises:
        ConfigError: naming the first such field.
    """
    source = config.connectome.source
    if config.prior.is_active and config.update.form == "self_coupling":
        raise ConfigError(
            "update.form: got self_coupling with a prior, expected linear, tanh or spline: a prior says nothing of a "
            "neuron's coupling to itself; or turn section prior off"
        )
    if config.prior.is_active and config.update.graph == "all_pairs":
        raise ConfigError(
            "update.graph: got all_pairs with a prior, expected known: counts and ties belong to the edges of a known "
            "graph; or turn section prior off"
        )
    _refuse_varying(config)
    if source == "signal":
        _refuse_sparse(config)
        strangers = list(_FLY_FIELDS)
        if config.drive.kind != "visual":
            strangers += _paths(config, "stimulus")
    else:
        strangers = [path for section in SIGNAL_SECTIONS for path in _paths(config, section)]
    for path in strangers:
        section, key = path.split(".")
        values: Section = getattr(config, section)
        value, default = getattr(values, key), type(values).model_fields[key].default
        if value != default:
            hint = _remedy(path, source)
            raise ConfigError(
                f"{path}: got {value!r}, but connectome.source is {source}, which has no use for it{hint}"
            )
    _refuse_other_kinds(config)


def _refuse_other_kinds(config: Any) -> None:
    """Check that no field of another family of movies is set."""
    stimulus = config.stimulus
    for name in stimulus.idle_fields():
        value = getattr(stimulus, name)
        if value != type(stimulus).model_fields[name].default:
            kinds = " or ".join(kind for kind, names in OWN_FIELDS.items() if name in names)
            shown = repr(str(value)) if name == "path" else repr(value)
            raise ConfigError(
                f"stimulus.{name}: got {shown}, but stimulus.kind is {stimulus.kind}, which has no use for it; "
                f"set stimulus.kind={kinds}, or leave it out"
            )


def _refuse_varying(config: Any) -> None:
    """Check that circuits that change are fitted with what can tell it."""
    update, prefix = config.update, f"update.varying: got {config.update.varying} with"
    if config.ridge.widths == "receiver" and (update.varying, update.weights) != ("plasticity", "absolute"):
        raise ConfigError(
            f"ridge.widths: got receiver with update.varying={update.varying} and update.weights={update.weights}, "
            "expected plasticity and absolute; or set ridge.widths=one"
        )
    sharing = config.spline.sharing
    if sharing == "receiver" and (update.varying, update.weights) != ("plasticity", "absolute"):
        raise ConfigError(
            f"spline.sharing: got receiver with update.varying={update.varying} and update.weights={update.weights}, "
            "expected plasticity and absolute; or set spline.sharing=all"
        )
    if update.varying == "none":
        if update.drift_period is not None:
            raise ConfigError("update.drift_period: is given, but update.varying is none; set update.varying=drift")
        return
    if "gnn" in config.training.estimators:
        _refuse_varying_network(config, prefix)
    if sharing not in ("all", "receiver"):
        raise ConfigError(f"{prefix} spline.sharing={sharing}, expected all, or receiver where it is plasticity")
    if config.prior.is_active:
        raise ConfigError(f"{prefix} prior {config.prior.label}, expected none; turn section prior off")
    if update.graph == "all_pairs":
        raise ConfigError(f"{prefix} update.graph=all_pairs, expected known: standard errors leave the change out")
    forms = ("linear", "tanh", "spline") if update.varying == "plasticity" else ("linear", "tanh")
    if update.form not in forms:
        raise ConfigError(f"{prefix} update.form={update.form}, expected {' or '.join(forms)}")
    if config.simulation.trial_frames is not None:
        raise ConfigError(f"{prefix} simulation.trial_frames, expected null: what changes follows from the past")


def _refuse_varying_network(config: Any, prefix: str) -> None:
    """Check that the graph network can be trained on what the spline leaves of a circuit that changes."""
    wanted = {
        "model.name": (config.model.name, "signal"),
        "spline.sharing": (config.spline.sharing, "all"),
        "training.regime": (config.training.regime, "one_step"),
        "recovery.readout": (config.recovery.readout, "refit"),
    }
    for name, (got, expected) in wanted.items():
        if got != expected:
            raise ConfigError(
                f"{prefix} training.estimators gnn and {name}={got}, expected {expected}; or set "
                "training.estimators=[ridge,spline]"
            )


def _refuse_sparse(config: Any) -> None:
    """Check that functions of types are not asked for where pairs of neurons are missing."""
    sharing, fill = config.spline.sharing, config.signal.fill
    typed = sharing == "pair" or (sharing == "type" and config.update.form != "linear")
    if typed and fill < 1 and "spline" in config.training.estimators:
        raise ConfigError(
            f"spline.sharing: got {sharing} with signal.fill={fill:g}, expected signal.fill=1: functions of types "
            "beside own terms need all pairs of neurons; or set spline.sharing=all"
        )


def _paths(config: Any, section: str) -> Iterator[str]:
    return (f"{section}.{key}" for key in type(getattr(config, section)).model_fields)


def _remedy(path: str, source: str) -> str:
    if source != "signal":
        return "; set connectome.source=signal, or leave it out"
    if path.startswith("stimulus."):
        return "; set drive.kind=visual, or leave it out"
    return f"; set {_INSTEAD[path]}" if path in _INSTEAD else "; leave it out"
