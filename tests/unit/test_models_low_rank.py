"""Weights of low rank: factors as weights, sums through latent variables, and the regression that keeps the rank."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError
from lobula.kernels import SparsePattern
from lobula.metrics import line_fit
from lobula.models.low_rank import LowRankWeights, low_rank, set_weight, weight_parameters
from lobula.recovery import recover_gnn
from lobula.regression import fit_circuit
from lobula.regression.latent import Products, fit_low_rank, right_step
from lobula.training import load_model, new_model, train

N, RANK = 40, 2
SMALL = {"model.rank": RANK, "model.hidden_dim": 12, "model.hidden_dim_update": 12, "model.w_init": "randn",
         "training.n_steps": 30, "training.rounds": 1, "training.round_steps": 10, "training.checkpoint_every": 7,
         "training.validation_every": 10}  # fmt: skip


def relu(v: np.ndarray) -> np.ndarray:
    return np.maximum(v, 0)


def graph(kind: str, n: int = N) -> Wiring:
    pairs = np.stack(np.meshgrid(np.arange(n), np.arange(n))).reshape(2, -1)
    keep = {
        "loops": np.ones(n * n, bool),
        "complete": pairs[0] != pairs[1],
        "sparse": np.random.default_rng(0).random(n * n) < 0.4,
    }
    return Wiring.from_edges(pairs[:, keep[kind]], n)


def planted(n_frames: int, kind: str = "complete", noise: float = 0.3) -> tuple[np.ndarray, Recording]:
    """Weights (E,) of rank 2 and a recording of a noisy circuit that has them."""
    rng, wiring = np.random.default_rng(0), graph(kind)
    mask = np.zeros((N, N))
    mask[wiring.post, wiring.pre] = 1
    weight = rng.normal(size=(N, RANK)) @ rng.normal(size=(RANK, N)) / np.sqrt(RANK * N) * mask
    tau, rest = rng.uniform(0.05, 0.2, N), rng.normal(0.3, 0.2, N)
    voltage, drift, v = *np.empty((2, n_frames, N)), rest.copy()
    for t in range(n_frames):
        voltage[t], drift[t] = v, (-v + rest + weight @ relu(v)) / tau
        v = v + DT * drift[t] + noise * rng.standard_normal(N)
    data = Recording.from_arrays(voltage.astype("f4"), wiring, DT, None, drift.astype("f4"))
    return weight[wiring.post, wiring.pre], data


def config(**values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({**SMALL, **values})


@pytest.fixture(scope="module")
def recording() -> Recording:
    return planted(600)[1]


@pytest.mark.parametrize("kind", ["loops", "complete", "sparse"])
@pytest.mark.parametrize("name", ["flyvis_A", "flyvis_linear"])
def test_the_sum_is_that_of_the_product_of_the_factors(kind: str, name: str) -> None:
    model = new_model(planted(50, kind)[1], config(**{"model.name": name}))
    form, left, right = low_rank(model)
    assert form.is_complete is (kind != "sparse")
    matrix = torch.zeros(N, N).index_put((model.pattern.post, model.pattern.pre), (left @ right)[
        model.pattern.post, model.pattern.pre])  # fmt: skip
    voltage = torch.randn(5, N, generator=torch.Generator().manual_seed(0))
    expected = model.message(voltage) @ matrix.T
    torch.testing.assert_close(model.summed_message(voltage), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.weight, matrix[model.pattern.post, model.pattern.pre])
    ways = (model.summed_message(voltage), expected)
    gradients = [torch.autograd.grad(way.square().sum(), [left, right], retain_graph=True) for way in ways]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))
    assert model.groups()["W"] == [left, right]
    assert sum(p.numel() for p in model.groups()["W"]) == 2 * RANK * N


def test_where_weights_start(recording: Recording) -> None:
    size = {}
    for start in ("zeros", "randn", "randn_scaled"):
        model = new_model(recording, config(**{"model.w_init": start}))
        size[start] = float(model.weight.detach().std())
        left, right = weight_parameters(model)
        torch.autograd.grad(model.weight.sum(), [left, right])
        assert float(right.detach().std()) > 0.01  # else no step could leave zero
    assert size["zeros"] == 0
    assert size["randn"] == pytest.approx(1.0, rel=0.5)
    assert size["randn_scaled"] == pytest.approx(size["randn"] * recording.wiring.n_edges**-0.5, rel=0.1)


def test_given_weights_are_taken_as_far_as_the_rank_allows(recording: Recording) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(N, 3)) * [5, 2, 0.1] @ rng.normal(size=(3, N))
    form = LowRankWeights(SparsePattern(graph("loops")), RANK)
    weight = torch.as_tensor(matrix[form.pattern.post, form.pattern.pre], dtype=torch.float32)
    found = form(*form.right_inverse(weight)).numpy()
    u, s, v = np.linalg.svd(matrix)
    best = ((u[:, :RANK] * s[:RANK]) @ v[:RANK])[form.pattern.post, form.pattern.pre]
    np.testing.assert_allclose(found, best, atol=1e-3 * s[0])
    model = new_model(recording, config())
    before = model.weight.detach().clone()
    set_weight(model, 2 * before)  # the diagonal is not given, so the rest is met nearly only
    assert line_fit(before.numpy(), model.weight.detach().numpy())[1] > 0.95


def test_training_resumes_exactly_and_keeps_the_rank(recording: Recording, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, total: int, numbers: dict[str, float]) -> None:
        if step >= 20:
            raise Stop

    whole = train(recording, config(), tmp_path / "whole")
    with pytest.raises(Stop):
        train(recording, config(), tmp_path / "parts", progress=stop)
    parts = train(recording, config(), tmp_path / "parts")
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)
    model = load_model(recording, config(), tmp_path / "whole")
    form, left, right = low_rank(model)
    assert np.linalg.matrix_rank((left @ right).detach().numpy()) == RANK
    assert not form.has_loops


def test_the_right_factor_is_the_least_squares_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lobula.regression.latent.CG_STEPS", 400)
    _, data = planted(400, "sparse")
    frames, wiring = data["train"], data.wiring
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(N, RANK)))[0].T
    products = Products.of(frames, wiring, relu, "observed", None)
    rng, n = np.random.default_rng(1), frames.n_targets("observed")
    left, ones = rng.normal(size=(N, RANK)), np.ones(N)
    fit = fit_circuit(frames, graph("sparse"), relu)
    held = dict(vars(fit), theta=left.ravel(), k=-5 * ones, c=2 * ones, q=0 * ones, residual_std=0.5 + rng.random(N),
                regularisation=rng.random(N) / n)  # fmt: skip
    circuit = type(fit)(**held)
    found = right_step(products, wiring, circuit, directions)
    voltage, y = frames.voltage(0, n).astype(float), frames.target("observed", 0, n).astype(float)
    variance = circuit.residual_std**2
    importance = np.sqrt(1 / (variance + 1e-2 * np.median(variance) + 1e-12))
    rows, wanted = [], []
    for i in range(N):
        inputs = wiring.pre[wiring.post == i]
        design = np.zeros((n + len(inputs), RANK, N))
        shrink = np.sqrt(n * circuit.regularisation[i]) * np.eye(len(inputs))
        design[:, :, inputs] = left[i][:, None] * np.concatenate([relu(voltage[:, inputs]), shrink])[:, None]
        rows.append(importance[i] * design.reshape(len(design), -1))
        residual = np.r_[y[:, i] + 5 * voltage[:, i] - 2, np.zeros(len(inputs))]
        wanted.append(importance[i] * residual)
    solution = np.linalg.lstsq(np.concatenate(rows), np.concatenate(wanted), rcond=None)[0].reshape(RANK, N)
    np.testing.assert_allclose(found, solution, rtol=1e-3, atol=1e-3 * np.abs(solution).max())


def test_few_frames_suffice_where_weights_are_of_low_rank(tmp_path: Path) -> None:
    true, data = planted(1500)
    free = fit_circuit(data["train"], data.wiring, relu)
    r2 = {"free": line_fit(true, free.weight(data.wiring))[1]}
    for rank in (1, RANK):
        settings = config(**{"model.rank": rank, "model.name": "flyvis_linear", "training.n_steps": 200,
                             "training.lr": 1e-2, "training.lr_W": 1e-2, "model.w_init": "randn_scaled"})  # fmt: skip
        model = train(data, settings, tmp_path / str(rank))
        estimates = recover_gnn(data, model, "observed", settings.recovery)
        r2[rank] = line_fit(true, estimates.edges["weight"].to_numpy())[1]
    assert r2[RANK] > 0.85
    assert r2["free"] < 0.6
    assert r2[1] < 0.6


def test_a_network_of_unknown_messages_finds_them(tmp_path: Path) -> None:
    true, data = planted(1500)
    settings = config(**{"training.n_steps": 150, "training.lr": 5e-3, "training.lr_W": 2e-2, "training.rounds": 2,
                         "training.round_steps": 60, "model.w_init": "randn_scaled"})  # fmt: skip
    estimates = recover_gnn(data, train(data, settings, tmp_path), "observed", settings.recovery)
    assert line_fit(true, estimates.edges["weight"].to_numpy())[1] > 0.75


def test_full_rank_is_ridge() -> None:
    _, data = planted(400, "sparse")
    frames, wiring = data["train"], data.wiring
    own = fit_low_rank(frames, wiring, relu, np.random.default_rng(0).normal(size=(N, N)), "drift")
    other = fit_circuit(frames, wiring, relu, "drift")
    np.testing.assert_allclose(own.weight(wiring), other.weight(wiring), atol=1e-3)
    np.testing.assert_allclose(own.tau, other.tau, rtol=1e-3)


def test_what_does_not_go_together_is_refused(recording: Recording, tmp_path: Path) -> None:
    for values in ({"model.name": "flyvis_B"}, {"training.warm_start": "spline"}):
        with pytest.raises(ConfigError, match=r"model\.rank: got 2 with .* expected null"):
            train(recording, config(**values), tmp_path)
