"""What the registry says a model reads is what changes its training: every field is tried."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from tests.support.planted import DT, planted_circuit

from lobula.config import ExperimentConfig, params_doc
from lobula.data.annotations import Annotations
from lobula.data.recording import Recording
from lobula.errors import ConfigError
from lobula.models import registry
from lobula.models.fields import SECTIONS, all_but, paths
from lobula.regression import SplineFit, fit_spline, ridge, shared_inputs, tabulate, threads
from lobula.training import run, train

BASE = {"training.n_steps": 5, "training.rounds": 0, "training.round_steps": 2, "training.gauss_newton_steps": 0,
        "training.batch_size": 4, "training.validation_every": 99, "training.checkpoint_every": 2, "training.lr": 1e-2,
        "training.lr_W": 1e-2, "training.lr_embedding": 1e-2, "model.hidden_dim": 6, "model.hidden_dim_update": 6,
        "model.w_init": "randn", "model.g_phi_shared": "no", "training.coeff_g_phi_diff": 1.0}  # fmt: skip
UNROLLED = {"training.regime": "recurrent", "training.time_step": 2}
SOLVER = {"training.regime": "neural_ode", "training.time_step": 2}
EPOCHS = {"training.n_epochs": 3, "training.augmentation": 1}
CLUSTERS = {"training.cluster_every": 2, "training.n_clusters": 2}
RATED = [path for path in all_but() if path.endswith("_rate")]
CONTEXT = {
    "training.augmentation": EPOCHS,
    "training.n_epochs": {"training.augmentation": 1},
    "training.round_steps": {"training.rounds": 1},
    "training.restart_steps": {"training.schedule": "warm_restarts", "training.restart_steps": 2},
    "training.shape_penalties_from": {"training.coeff_f_theta_linearity": 10.0},
    "training.alternate_joint_ratio": {"training.two_stage": True},
    "training.alternate_lr_ratio": {"training.two_stage": True},
    "training.ode_rtol": SOLVER | {"training.ode_method": "dopri5"},
    "training.ode_atol": SOLVER | {"training.ode_method": "dopri5"},
    "training.cluster_method": CLUSTERS,
    "training.n_clusters": CLUSTERS,
    **dict.fromkeys(("training.ode_method", "training.ode_adjoint"), SOLVER),
    **{
        f"training.{name}": UNROLLED
        for name in ("time_step", "time_step_aligned", "recurrent_loss", "recurrent_noise", "recurrent_start")
    },
    "training.state_clamp": UNROLLED,
    **{path: EPOCHS | {path.removesuffix("_rate"): 1.0} for path in RATED},
}
VALUE = {
    "training.regime": UNROLLED,
    "training.target": "drift",
    "training.n_epochs": 7,
    "training.batch_size": 8,
    "training.augmentation": 3,
    "training.warmup_fraction": 0.8,
    "training.restart_steps": 3,
    "training.shape_penalties_from": 0.7,
    "training.alternate_joint_ratio": 0.8,
    "training.time_step": 3,
    "training.recurrent_start": 0.6,
    "training.state_clamp": 0.1,
    "training.ode_method": "euler",
    "training.ode_rtol": 0.5,
    "training.ode_atol": 10.0,
    "training.cluster_every": CLUSTERS,
    "training.cluster_method": "dbscan",
    "training.n_clusters": 4,
    "training.warm_start": "spline",
    "training.grad_clip": 1e-3,
    "training.grad_clip_W": 1e-4,
    "training.grad_clip_networks": 1e-4,
    "training.grad_clip_embedding": 1e-4,
    "training.validation_every": 5,
    "training.precision": "bf16",
    "model.rank": 2,
    "model.g_phi_shared": "yes",
    "model.w_init": "randn_scaled",
    "model.activation": "tanh",
}
NOT_TRIED = {"model.name", "training.estimators", "training.device"}
"""The model itself; which rungs are fitted beside it; where the arithmetic runs."""
REFUSED: dict[str, object] = {
    **{"training.warm_start": "spline", "training.cluster_every": 2, "model.rank": 2},
    **{path: 0.3 for path in all_but() if path.startswith("training.coeff_")},
    **{"prior.synapse_counts": True, "prior.sign": "known", "prior.tied": "soft"},
}
"""Errors where they do not act, instead of notices."""


@pytest.fixture(scope="module")
def data() -> tuple[Recording, SplineFit]:
    planted = planted_circuit(n=8, in_degree=3, n_frames=60)
    known = Annotations(np.arange(8) % 2, ("even", "odd"), np.arange(24.0) + 1.0, np.where(np.arange(8) % 2, 1, -1))
    arrays = planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift
    recording = Recording.from_arrays(*arrays, annotations=known)
    return recording, fit_spline(recording["train"], recording.wiring, n_knots=6, n_rounds=2)


@pytest.fixture
def outcome(data: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trains and returns everything that came of it: parameters, metrics, how often a checkpoint was written."""
    monkeypatch.setattr("lobula.training.warm_start.N_STEPS", 2)
    for module in (ridge, shared_inputs, tabulate, threads):  # to start threads takes longer than what they do here
        monkeypatch.setattr(module, "in_parallel", lambda task, n: [task(i) for i in range(n)])
    saved: list[int] = []
    write = run.save_checkpoint
    monkeypatch.setattr(run, "save_checkpoint", lambda path, content: (saved.append(1), write(path, content)))
    count = iter(range(1000))

    def outcome(name: str, values: dict) -> list[object]:
        config = ExperimentConfig().with_values({**BASE, "model.name": name, **values})
        saved.clear()
        out = tmp_path / str(next(count))
        model = train(data[0], config, out, data[1])
        states = [value.numpy().tobytes() for value in model.state_dict().values()]
        return [*states, (out / "metrics.csv").read_text(), len(saved)]

    return outcome


def other(path: str) -> dict[str, object]:
    """Another value than in `BASE` or the context of the field."""
    section, key = path.split(".")
    value = VALUE.get(path)
    if isinstance(value, dict):
        return value
    if value is None:
        here = ExperimentConfig().with_values({**BASE, **CONTEXT.get(path, {})}).to_dict()[section][key]
        row = next(row for row in params_doc(section) if row.path == path)
        if row.kind == "bool":
            value = not here
        elif row.kind == "choice":
            value = next(choice for choice in row.valid.split(" | ") if choice != here)
        elif row.kind == "int":
            value = here + 1
        else:
            value = 0.5 * here if here else 0.5
    return {path: value}


def tried(name: str) -> list[str]:
    """The fields of A; of the others, those that may act on one model and not on another."""
    reads = registry.entry(name).reads - NOT_TRIED
    if name == "flyvis_B":
        reads = {path for path in reads if "g_phi" in path or path.startswith("model") or "embedding" in path}
    if name == "flyvis_linear_tanh":  # the same network as flyvis_linear
        reads = {"training.lr", "model.w_init", "model.rank"}
    if name.startswith("signal"):  # what differs from A is the update
        reads = {path for path in reads if "f_theta" in path or "update" in path or path == "model.rank"}
    return sorted(reads)


@pytest.mark.parametrize("name", registry.names())
def test_what_is_listed_acts(outcome, name: str) -> None:
    known: dict[str, list[object]] = {}
    idle = []
    for path in tried(name):
        context = CONTEXT.get(path, {})
        key = str(sorted(context.items()))
        if key not in known:
            known[key] = outcome(name, context)
        if outcome(name, {**context, **other(path)}) == known[key]:
            idle.append(path)
    assert idle == []


@pytest.mark.parametrize("name", registry.names())
def test_what_is_not_listed_does_not(outcome, caplog: pytest.LogCaptureFixture, name: str) -> None:
    silent = sorted(all_but() - registry.entry(name).reads - NOT_TRIED - set(REFUSED))
    values = {key: value for path in silent for key, value in other(path).items()}
    with caplog.at_level(logging.INFO, logger="lobula"):
        assert outcome(name, values) == outcome(name, {})
    for path in silent:
        assert path in caplog.text
    assert (f"no effect with model.name={name}" in caplog.text) is bool(silent)
    for path in set(REFUSED) - registry.entry(name).reads:
        section, key = path.split(".")
        with pytest.raises(ConfigError, match="prior: .* has no weight per edge" if section == "prior" else key):
            outcome(name, {path: REFUSED[path]})


def test_the_list_names_fields_that_exist() -> None:
    every = {path for section in SECTIONS for path in paths(section)}
    assert every == {row.path for section in SECTIONS for row in params_doc(section)}
    for name in registry.names():
        assert registry.entry(name).reads <= every
    assert set(CONTEXT) | set(VALUE) <= every
    with pytest.raises(ConfigError, match="did you mean flyvis_A"):
        registry.entry("flyvis_a")


def test_the_documentation_has_the_equation_of_every_model() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
    shown = re.findall(r"^\| `(\w+)` \| (.*?) \|", page, flags=re.MULTILINE)
    assert sorted(shown) == [(name, registry.entry(name).equation) for name in registry.names()]
