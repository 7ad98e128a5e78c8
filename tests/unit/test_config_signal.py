"""Config of signal networks: what applies to which circuit, and that the fly's digests did not notice."""

import pytest

from lobula.config import ExperimentConfig, load_config, recipe_names, save_config, section_names
from lobula.errors import ConfigError
from lobula.simulation.signal.models import SIGNAL_MODELS
from lobula.simulation.signal.network import make_equation

SIGNAL = [name for name in recipe_names() if name.startswith("signal-")]


@pytest.mark.parametrize("name", SIGNAL)
def test_recipes_describe_networks(name):
    config = load_config(name)
    assert (config.connectome.source, config.simulation.dt) == ("signal", 0.01)
    settings = config.signal
    equation = make_equation(settings.model, settings.parameters, settings.activation, settings.message_functions)
    assert equation.n_types == 4
    assert config.signal.n_neurons == (200 if name == "signal-small" else 1_000)


def test_published_network():
    config = load_config("signal-n2")
    assert config.signal.parameters == ((10, 1, 1), (10, 2, 1), (10, 1, 2), (10, 2, 2))
    assert (config.signal.fill, load_config("signal-sparse").signal.fill) == (1.0, 0.75)
    assert config.simulation.n_frames == 100_000


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        ("fly-small", "signal.fill=0.5", "signal.fill: got 0.5, but connectome.source is optic_lobe"),
        ("fly-small", "drive.kind=triggered", "set connectome.source=signal, or leave it out"),
        ("signal-small", "connectome.extent=2", "connectome.extent: got 2, but connectome.source is signal"),
        ("signal-small", "simulation.activation=tanh", "set signal.activation"),
        ("signal-small", "simulation.variant=gain", "has no use for it; leave it out"),
        ("signal-small", "stimulus.kind=flash", "set drive.kind=visual, or leave it out"),
        ("signal-small", "signal.connectivity=cauchy", "expected lorentz or gaussian or"),
        ("signal-small", "signal.parameters=[[1, a, 2]]", "signal.parameters.0.1: got 'a', expected a number"),
        ("signal-small", "signal.parameters=3", "expected a list"),
        ("signal-small", "signal.fill=0", "expected a value > 0"),
        ("signal-small", "signal.connectivity=file", "signal.connectivity_file: got 'none', expected an existing file"),
        ("signal-small", "drive.kind=file", "drive.path: got 'none', expected an existing file"),
        ("signal-small", "signal.fil=0.5", "did you mean"),
    ],
)
def test_what_does_not_apply_is_one_clear_line(recipe, override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_eye_brings_the_section_stimulus():
    config = load_config("signal-small", ["drive.kind=visual", "stimulus.kind=flash"])
    assert config.stimulus.kind == "flash"


def test_sections_of_networks_do_not_count_for_the_fly():
    fly, signal = ExperimentConfig(), load_config("signal-small")
    others = [name for name in section_names() if name not in ("signal", "drive")]
    assert fly.digest() == fly.digest(*others)  # as before there were networks
    assert signal.digest() != signal.digest(*others)
    assert fly.digest("connectome", "signal", "drive") == fly.digest("connectome")
    for path, value in (("signal.fill", 0.7), ("drive.kind", "triggered"), ("signal.parameters", [[1, 2, 3]])):
        assert signal.with_values({path: value}).digest() != signal.digest()


@pytest.mark.parametrize("model", SIGNAL_MODELS)
def test_any_network_survives_yaml(tmp_path, model):
    values = {"signal.model": model, "signal.parameters": SIGNAL_MODELS[model].defaults, "drive.kind": "triggered"}
    config = load_config("signal-small").with_values(values | {"signal.message_functions": None})
    (tmp_path / "config.yaml").write_text(save_config(config))
    assert load_config(tmp_path / "config.yaml") == config


def test_legacy_names_of_networks(tmp_path):
    (tmp_path / "old.yaml").write_text(
        "connectome: {source: signal}\n"
        "simulation: {connectivity_filling_factor: 0.75, n_neurons: 500, Dale_law: true, Dale_law_factor: 0.8}\n"
    )
    settings = load_config(tmp_path / "old.yaml").signal
    assert (settings.fill, settings.n_neurons, settings.dale_law, settings.dale_factor) == (0.75, 500, True, 0.8)


def test_a_prior_on_weights_says_nothing_of_self_coupling() -> None:
    values = {"update.form": "self_coupling", "prior.sign": "inferred"}
    with pytest.raises(ConfigError, match=r"update\.form"):
        ExperimentConfig().with_values(values)
    ExperimentConfig().with_values({**values, "update.form": "tanh"})


@pytest.mark.parametrize("recipe", ["signal-n4", "signal-n5"])
def test_functions_of_types_need_all_pairs(recipe: str) -> None:
    with pytest.raises(ConfigError, match=r"spline\.sharing: got (type|pair) with signal\.fill=0\.5"):
        load_config(recipe, overrides=["signal.fill=0.5"])
    load_config(recipe, overrides=["signal.fill=0.5", "spline.sharing=all"])
