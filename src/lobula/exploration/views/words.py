"""Values and names as the views write them: numbers read back exactly, fields and scores by short names."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lobula.exploration.records import NodeRecord, RunRecord, Snapshot
from lobula.exploration.study import Objective

LABELS = {
    "W.r2": "connectivity_R2",
    "W.fit_r2": "connectivity_fit_R2",
    "tau.r2": "tau_R2",
    "tau.fit_r2": "tau_fit_R2",
    "v_rest.r2": "V_rest_R2",
    "v_rest.fit_r2": "V_rest_fit_R2",
    "cell_types.accuracy": "cluster_accuracy",
    "prediction.one_step_fraction_explained": "test_R2",
    "prediction.one_step_pearson": "test_pearson",
    "prediction.rollout_pearson": "rollout_pearson",
}
"""Names of the logs for the scores of the estimator that a study judges; others keep their path."""
_SHORT = {"training.lr_embedding": "lr_emb", "training.augmentation": "aug_loop"}


def number(value: Any) -> str:
    """A value of a config or a score, so that YAML reads back the same value: 8.1e-05, -0.3, true, null, [1, 2]."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(number(item) for item in value)}]"
    return one_line(str(value))


def rounded(value: float | None, digits: int = 4) -> str:
    """A derived figure in tables, such as a mean."""
    return "-" if value is None else f"{value:.{digits}g}"


def one_line(text: str) -> str:
    """Text without line breaks and with single spaces: what somebody wrote must not add lines to a log."""
    return " ".join(text.split())


def stamp(seconds: float) -> str:
    """Time of an event, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Name of every field without its section, where that is unambiguous."""
    paths = list(dict.fromkeys(paths))
    names = [_SHORT.get(path, path.rpartition(".")[2]) for path in paths]
    return {
        path: name if names.count(name) == 1 and "." in path else path for path, name in zip(paths, names, strict=True)
    }


def metric_label(objective: Objective, path: str) -> str:
    """Name of a score in the logs."""
    rung, _, rest = path.partition(".")
    return LABELS.get(rest, path) if rung == objective.metric.partition(".")[0] else path


def shown_metrics(objective: Objective, metrics: Mapping[str, float]) -> dict[str, float]:
    """Scores that a log shows, the objective first, by path."""
    rung = objective.metric.partition(".")[0]
    wanted = [objective.metric, *([objective.second] if objective.second else [])]
    wanted += [f"{rung}.{name}" for name in LABELS] + list(objective.report)
    return {path: metrics[path] for path in dict.fromkeys(wanted) if path in metrics}


def config_paths(snapshot: Snapshot) -> list[str]:
    """Fields that an entry states: the block's, and those that the study may vary if it names them."""
    study = snapshot.study
    named = [entry if isinstance(entry, str) else entry.path for entry in study.space]
    return list(dict.fromkeys([*([study.blocks.path] if study.blocks.path else []), *named]))


def config_values(snapshot: Snapshot, node: NodeRecord, bases: dict[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Values of a node's config by path: the stated fields, and whatever else differs from the base of its block.

    Args:
        snapshot: what the study knows.
        node: the node.
        bases: base configs by block, kept between calls; filled here.
    """
    if node.block not in bases:
        bases[node.block] = snapshot.study.base_config(node.block).to_dict()
    base, values = bases[node.block], {}
    for path in [*config_paths(snapshot), *node.values]:
        section, _, field = path.partition(".")
        values[path] = node.values[path] if path in node.values else base[section][field]
    return values


def pairs(values: Mapping[str, Any]) -> str:
    """name=value, name=value."""
    return ", ".join(f"{name}={number(value)}" for name, value in values.items())


def facts_of(run: RunRecord, key: str) -> Mapping[str, Any]:
    """A mapping among the facts of a run; empty where there is none."""
    found = run.facts.get(key)
    return found if isinstance(found, Mapping) else {}
