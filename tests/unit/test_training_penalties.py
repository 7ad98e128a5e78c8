"""Every penalty in both forms against an independent computation, growth with the epochs, and dead ones."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT, planted_circuit

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, DeadPenaltyError
from lobula.models import CircuitGNN
from lobula.training import new_model, train
from lobula.training.penalties import PENALTIES, Penalties, Visited, as_mean, as_sum

N = 30
SMALL = {"model.hidden_dim": 16, "model.hidden_dim_update": 12, "model.w_init": "randn"}


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n_frames=500)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def network(layers: list[tuple[np.ndarray, np.ndarray]], inputs: np.ndarray) -> np.ndarray:
    """A plain relu network in float64; the first layer takes scalars, then the embedding."""
    for k, (weight, bias) in enumerate(layers):
        inputs = inputs @ weight.T + bias
        if k < len(layers) - 1:
            inputs = np.maximum(inputs, 0)
    return inputs[..., 0]


def layers_of(mlp: torch.nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    def plain(x: torch.Tensor) -> np.ndarray:
        return x.detach().double().numpy()

    first = np.concatenate([plain(mlp.scalars.weight), plain(mlp.embedding.weight)], axis=1)
    return [(first, plain(mlp.embedding.bias)), *((plain(h.weight), plain(h.bias)) for h in mlp.hidden)]


class Plain:
    """g and f of a model in float64, without units."""

    def __init__(self, model: CircuitGNN) -> None:
        self.model, self.a = model, model.embedding.detach().double().numpy()

    def g(self, v: np.ndarray) -> np.ndarray:
        value = network(layers_of(self.model.message_mlp), np.column_stack([v, self.a]))
        return value**2 if self.model.config.g_phi_positive else value

    def f(self, v: np.ndarray, message: np.ndarray | float = 0.0) -> np.ndarray:
        columns = [v, np.broadcast_to(message, N), np.zeros(N)]
        return network(layers_of(self.model.update_mlp), np.column_stack([*columns, self.a]))

    def message(self, v: np.ndarray) -> np.ndarray:
        pattern, w = self.model.pattern, self.model.weight.detach().double().numpy()
        return np.bincount(pattern.post, w * self.g(v)[pattern.pre], N)


def expected(name: str, model: CircuitGNN, v: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> float:
    """The published formula, PROTOCOL section 4."""
    plain, w, xnorm = Plain(model), model.weight.detach().double().numpy(), model.scales.xnorm
    d, zero = 0.05 * xnorm, np.zeros(N)
    norm2, pre = np.linalg.norm, model.pattern.pre.numpy()
    parameters = {
        "g_phi": [p.detach().double().numpy() for p in model.message_mlp.parameters()],
        "f_theta": [p.detach().double().numpy() for p in model.update_mlp.parameters()],
    }
    for net, tensors in parameters.items():
        if name == f"{net}_weight_L1":
            return sum(float(np.abs(p).sum()) for p in tensors)
        if name == f"{net}_weight_L2":
            return sum(float(norm2(p)) for p in tensors)
    if name == "f_theta_linearity":
        grid = np.linspace(-2, 2, 11)
        values = np.stack([plain.f(mean + x * spread) for x in grid])
        left = np.stack([values[:, i] - np.polyval(np.polyfit(grid, values[:, i], 1), grid) for i in range(N)])
        return float(norm2(left))
    if name == "W_sign":
        positive = np.bincount(pre, np.maximum(w, 0), N)
        share = positive / np.maximum(np.bincount(pre, np.abs(w), N), 1e-12)
        return float((share * (1 - share)).sum())
    message = plain.message(v)
    return {
        "W_L1": lambda: float(np.abs(w).sum()),
        "W_L2": lambda: float(norm2(w)),
        "g_phi_diff": lambda: float(norm2(np.maximum(plain.g(v) - plain.g(v + d), 0))),
        "g_phi_norm": lambda: float(norm2(plain.g(np.full(N, 2 * xnorm)) - 2 * xnorm)),
        "f_theta_zero": lambda: float(norm2(plain.f(zero))),
        "f_theta_diff": lambda: float(norm2(np.maximum(plain.f(v + d) - plain.f(v), 0))),
        "f_theta_msg_diff": lambda: float(norm2(np.maximum(plain.f(v, message) - plain.f(v, message + d), 0))),
        "f_theta_msg_sign": lambda: float(norm2(np.tanh(plain.f(zero, message) / 0.1) - np.tanh(message / 0.1))),
        "f_theta_centering": lambda: float((plain.f(mean) ** 2).sum()),
    }[name]()


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("name", PENALTIES)
def test_the_published_form(recording: Recording, name: str, positive: bool) -> None:
    values = {**SMALL, "model.scaling": "none", "model.g_phi_positive": positive, "training.loss": "norm"}
    off = {"training.coeff_g_phi_diff": 0.0, "training.coeff_g_phi_norm": 0.0}
    config = ExperimentConfig().with_values({**values, **off, f"training.coeff_{name}": 0.7})
    model = new_model(recording, config)
    if name == "g_phi_diff" and not positive:  # messages rise at the start: there is nothing to penalise
        with torch.no_grad():
            model.message_mlp.hidden[-1].weight.neg_()
    voltage = recording["train"].voltage(0, 400)
    mean, spread = voltage.mean(0), voltage.std(0)
    penalties = Penalties(config.training, Visited(torch.from_numpy(mean), torch.from_numpy(spread)), 400)
    penalties.at_step(10**6, torch.device("cpu"))
    found = penalties(model, torch.from_numpy(voltage[:1]))
    wanted = expected(name, model, *(x.astype(np.float64) for x in (voltage[0], mean, spread)))
    assert set(found) == {name}
    assert float(found[name].detach()) == pytest.approx(0.7 * wanted, rel=2e-4, abs=1e-7)
    assert wanted > 0


@pytest.mark.parametrize("name", PENALTIES)
def test_the_mean_form_means_the_same_at_every_size(recording: Recording, name: str) -> None:
    """The sum form of n numbers is n times their mean (L1), or the root of n times the mean square (L2)."""
    model = new_model(recording, ExperimentConfig().with_values({**SMALL, "model.scaling": "none"}))
    voltage = torch.from_numpy(recording["train"].voltage(0, 1))
    residuals, kind = PENALTIES[name]
    parts = residuals(model, voltage, Visited(voltage[0], 0.1 + voltage[0].abs()))
    mean = float(as_mean(parts, kind).detach())
    n, unit = sum(r.numel() for r, _ in parts), parts[0][1]
    total = n * mean * (unit if kind == "L1" else unit**2 if kind == "square" else 1.0)
    if kind == "L2":
        squares = sum(float(as_sum([part], kind).detach()) ** 2 for part in parts)
        assert squares == pytest.approx(n * mean * unit**2, rel=1e-4)
    else:
        assert float(as_sum(parts, kind).detach()) == pytest.approx(total, rel=1e-4)


def settings(**values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({f"training.{name}": value for name, value in values.items()})


VISITED = Visited(torch.zeros(N), torch.ones(N))


def test_coefficients_grow_with_the_epochs() -> None:
    training = settings(coeff_W_L1=2.0, coeff_W_L1_rate=0.5, n_epochs=3, batch_size=2, augmentation=10).training
    per_epoch = training.steps_per_epoch(100)
    assert per_epoch == int(100 * 10 // 2 * 0.2)
    penalties = Penalties(training, VISITED, 100)
    grown = [penalties.coefficient("W_L1", epoch * per_epoch) for epoch in range(3)]
    assert grown == [pytest.approx(2.0 * (1 - math.exp(-0.5 * epoch))) for epoch in range(3)]


def test_the_published_recipe_has_128000_steps_per_epoch() -> None:
    assert settings(batch_size=2, augmentation=20).training.steps_per_epoch(64_000) == 128_000


def test_a_coefficient_that_grows_in_a_training_of_one_epoch_is_an_error() -> None:
    with pytest.raises(DeadPenaltyError, match=r"W_L1: its coefficient grows .* set training\.coeff_W_L1_rate=0"):
        Penalties(settings(coeff_W_L1=5e-5, coeff_W_L1_rate=0.5, n_epochs=1).training, VISITED, 64_000)


def test_penalties_on_the_shape_of_f_begin_late() -> None:
    training = settings(coeff_f_theta_linearity=1.0, n_steps=100, shape_penalties_from=0.25).training
    penalties = Penalties(training, VISITED, 100)
    assert [penalties.coefficient("f_theta_linearity", step) for step in (0, 24, 25, 99)] == [0, 0, 1, 1]


def test_a_penalty_on_the_shape_of_f_that_begins_after_the_end_is_an_error() -> None:
    training = settings(coeff_f_theta_centering=1.0, n_steps=10, shape_penalties_from=0.95).training
    with pytest.raises(DeadPenaltyError, match=r"f_theta_centering: begins at step 9\.5, after the last of 10"):
        Penalties(training, VISITED, 100)


@pytest.fixture(scope="module")
def ring() -> Recording:
    """Every neuron has one output, so that Dale's law holds whatever the weights: the penalty W_sign is exactly 0."""
    planted = planted_circuit(n_frames=500)
    column = planted.wiring.stimulus_column
    wiring = Wiring.from_edges(np.stack([np.arange(N), np.roll(np.arange(N), 1)]), N, column)
    return Recording.from_arrays(planted.voltage, wiring, DT, planted.stimulus, planted.drift)


def short(n_steps: int, **values: object) -> ExperimentConfig:
    fixed = {"n_steps": n_steps, "rounds": 0, "gauss_newton_steps": 0, "validation_every": 10, "batch_size": 2}
    return settings(**fixed, **values).with_values(SMALL)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_a_penalty_that_never_acts_ends_the_training(ring: Recording, tmp_path: Path, device: str) -> None:
    dale = {"coeff_W_sign": 1.0, "device": device}
    with pytest.raises(DeadPenaltyError, match="W_sign: stayed exactly 0 for 30 steps"):
        train(ring, short(30, **dale), tmp_path / "end")
    assert not (tmp_path / "end" / "best.pt").exists()
    with pytest.raises(DeadPenaltyError, match=r"W_sign: stayed exactly 0 for 50\d steps"):
        train(ring, short(700, **dale), tmp_path / "long")
    train(ring, short(15, **dale), tmp_path / "few")  # too few steps to tell


def test_a_penalty_that_the_model_has_nothing_for_is_an_error(ring: Recording, tmp_path: Path) -> None:
    control = short(5).with_values({"model.name": "flyvis_linear"})
    train(ring, control, tmp_path)  # defaults of penalties on messages may stay
    train(ring, control.with_values({"training.coeff_g_phi_norm": 0.0, "training.coeff_W_L2": 0.1}), tmp_path / "b")
    with pytest.raises(ConfigError, match=r"coeff_f_theta_zero: got 0\.1, expected 0: model\.name=flyvis_linear"):
        train(ring, control.with_values({"training.coeff_f_theta_zero": 0.1}), tmp_path)
