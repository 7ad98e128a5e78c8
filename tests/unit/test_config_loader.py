"""Loading a config: recipes, files, overrides, and one clear line for every mistake."""

import logging
from pathlib import Path

import pytest

from lobula.config import ExperimentConfig, load_config, recipe_names, save_config
from lobula.errors import ConfigError, LobulaError

FULL_SIZE = {"fly-noise-free": 0.0, "fly-noise-005": 0.05, "fly-noise-05": 0.5}
PUBLISHED = {"gs-noise-free": 0.0, "gs": 0.05, "gs-noise-05": 0.5, "gs-two-stage": 0.05}


def test_small_recipe() -> None:
    config = load_config("fly-small")
    assert (config.connectome.extent, config.simulation.process_noise) == (3, 0.05)


@pytest.mark.parametrize(("name", "process_noise"), [*FULL_SIZE.items(), *PUBLISHED.items()])
def test_full_size_recipes(name: str, process_noise: float) -> None:
    config = load_config(name)
    assert (config.connectome.extent, config.simulation.n_frames) == (8, 64_000)
    assert config.simulation.process_noise == process_noise


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_is_named_after_its_file_and_described(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert config.description


@pytest.mark.parametrize(
    ("text", "value"),
    [("6e-4", 6e-4), ("8.1e-05", 8.1e-05), ("1E-3", 1e-3), (".5", 0.5), ("1.e-2", 1e-2), ("5_0e-3", 0.05)],
)
def test_numbers_with_exponents_are_numbers(text: str, value: float) -> None:
    assert load_config("fly-small", [f"training.lr={text}"]).training.lr == value


def test_overrides_apply_in_order_and_keep_the_rest() -> None:
    config = load_config("fly-small", ["training.seed=1", "training.seed=2", "ridge.max_frames=null", "name=other"])
    assert (config.training.seed, config.ridge.max_frames, config.name) == (2, None, "other")
    assert config.training.n_steps == load_config("fly-small").training.n_steps


def test_lists_and_integers_for_numbers() -> None:
    config = load_config("fly-small", ["training.estimators=[spline, gnn]", "simulation.dt=1"])
    assert config.training.estimators == ("spline", "gnn")
    assert isinstance(config.simulation.dt, float)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.coef_W_L1=1", "did you mean coeff_W_L1? (lobula info params training)"),
        ("trainin.seed=1", "did you mean training.seed?"),
        ("training.dt=1", "did you mean simulation.dt?"),
        ("seed=1", "did you mean simulation.seed?"),
        ("training=1", "expected section.field=value"),
        ("training.seed", "expected section.field=value"),
        ("training.seed=", "no value"),
        ("training.n_steps=3.5", "training.n_steps: got 3.5, expected an integer"),
        ("training.n_steps=abc", "got 'abc', expected an integer"),
        ("simulation.seed=true", "got True, expected an integer"),
        ("simulation.record_drift=yes", "got 'yes', expected true or false"),
        ("simulation.seed=-1", "expected a value >= 0"),
        ("connectome.extent=21", "connectome.extent: got 21, expected a value <= 20"),
        ("training.lr=0", "expected a value > 0"),
        ("training.lr=.nan", "expected a finite number"),
        ("training.lr=.inf", "expected a"),
        ("training.warm_start=splin", "expected none or spline; did you mean spline?"),
        ("training.estimators=[]", "distinct names out of ridge, spline, gnn"),
        ("training.estimators=[ridge, ridge]", "distinct names out of ridge, spline, gnn"),
        ("training.estimators=ridge", "expected a list"),
        ("training.estimators=[a]", "expected ridge or spline or gnn"),
        ("ridge.max_frames=1", "expected a value >= 2"),
        ("simulation.recording=nowhere.zarr", "simulation.recording: got 'nowhere.zarr', expected an existing"),
        ("connectome.parameters=calibratd", "expected 'calibrated' or an existing file"),
        ("training.lr=[1", "not valid YAML"),
    ],
)
def test_bad_override_is_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("fly-small", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainin:\n  seed: 1\n", "trainin: no such field; did you mean training?"),
        ("training:\n  sed: 1\n", "training.sed: no such field; did you mean seed?"),
        ("training: 3\n", "training: got 3, expected a section with fields"),
        ("training:\n  seed: 1\n  seed: 2\n", "in line 3: key 'seed' appears twice"),
        ("- 1\n- 2\n", "got list, expected sections with fields"),
        ("training: {seed: 1\n", "not valid YAML in line"),
        ("training: {seed: -1, lr: 0, x: 1}\n", "; training.lr: got 0"),
    ],
)
def test_bad_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean fly-small"):
        load_config("fly-smal")
    with pytest.raises(ConfigError, match="no such file or recipe"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="a directory"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LobulaError, match="cannot be read as text"):
        load_config(tmp_path / "binary.yaml")


def test_empty_file_and_empty_section_mean_defaults(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load_config(file) == ExperimentConfig()
    file.write_text("training:\nname: x\n")
    assert load_config(file).training == ExperimentConfig().training


def test_legacy_names_are_read_with_a_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(
        "graph_model: {hidden_dim: 80}\n"
        "simulation: {noise_model_level: 0.5}\n"
        "training: {learning_rate_W_start: 6e-4, coeff_edge_diff: 750}\n"
    )
    with caplog.at_level(logging.INFO, logger="lobula"):
        config = load_config(file, ["training.learning_rate_start=1.2E-3"])
    assert (config.model.hidden_dim, config.simulation.process_noise) == (80, 0.5)
    assert (config.training.lr_W, config.training.lr, config.training.coeff_g_phi_diff) == (6e-4, 1.2e-3, 750.0)
    assert "training.learning_rate_W_start is a legacy name and is read as training.lr_W" in caplog.text


@pytest.mark.parametrize(
    ("name", "variant"),
    [("flyvis_A_tanh", "tanh"), ("flyvis_A_multiple_ReLU", "gain"), ("flyvis_A_NULL", "no_messages")],
)
def test_names_of_models_that_were_variants_of_the_circuit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, variant: str
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(f"graph_model: {{signal_model_name: {name}}}\n")
    with caplog.at_level(logging.INFO, logger="lobula"):
        for config in (load_config(file), load_config("fly-small", [f"model.name={name}"])):
            assert (config.model.name, config.simulation.variant) == ("flyvis_A", variant)
    assert f"{name} is a legacy name and is read as flyvis_A with simulation.variant={variant}" in caplog.text
    file.write_text(f"model: {{name: {name}}}\nsimulation: {{variant: standard}}\n")
    with pytest.raises(ConfigError, match=f"stands for simulation.variant={variant}, but .* gives standard"):
        load_config(file)


def test_legacy_switches_are_regimes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "old.yaml"
    for recurrent, ode, regime in ((True, False, "recurrent"), (False, True, "neural_ode"), (False, False, "one_step")):
        file.write_text(f"training: {{recurrent_training: {recurrent}, neural_ODE_training: {ode}, time_step: 4}}\n")
        assert load_config(file).training.regime == regime
    with caplog.at_level(logging.INFO, logger="lobula"):
        settings = ["training.recurrent_training=true", "training.neural_ODE_training=false"]
        assert load_config("fly-small", settings).training.regime == "recurrent"
    assert "training.recurrent_training is a legacy name and is read as training.regime" in caplog.text
    assert "training.neural_ODE_training=false is a legacy switch" in caplog.text


def test_legacy_starts_of_weights_and_clamps(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("training: {w_init_mode: randn_scaled, ode_state_clamp: 10.0}\n")
    config = load_config(file)
    assert (config.model.w_init, config.training.state_clamp) == ("randn_scaled", 10.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "graph_model: {input_size: 3}",
            r"graph_model\.input_size: a legacy name; it is derived from",
        ),
        ("graph_model: {input_size_update: 5}", r"input_size_update: .* derived from model\.embedding_dim; remove it"),
        ("training: {recurrent_training_start_epoch: 1}", r"training\.recurrent_start today, a share of the steps"),
        ("training: {recurrent_training: true, neural_ODE_training: true}", r"the same field as training\.regime"),
        ("training: {recurrent_training: true, regime: one_step}", r"the same field as training\.regime"),
        ("training: {neural_ODE_training: 1}", r"got 1, expected true or false; or set training\.regime=neural_ode"),
    ],
)
def test_legacy_names_without_a_counterpart_say_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_legacy_and_current_name_together_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    file.write_text("training: {learning_rate_W_start: 6e-4, lr_W: 1e-3}\n")
    with pytest.raises(ConfigError, match=r"the same field as training\.lr_W"):
        load_config(file)


def test_resolved_config_is_read_back_equal(tmp_path: Path) -> None:
    config = load_config("fly-noise-05", ["training.estimators=[gnn]", "training.lr=6e-4", "ridge.max_frames=null"])
    file = tmp_path / "config.yaml"
    file.write_text(save_config(config))
    assert load_config(file) == config
    assert load_config(file).digest() == config.digest()
