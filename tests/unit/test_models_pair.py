"""Messages that depend on both ends of an edge (flyvis_B): kernel, network, closed forms, training, read-out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.one_column import recorded
from tests.support.planted import DT, planted_circuit

from lobula.config import ExperimentConfig
from lobula.data.estimates import Estimates
from lobula.data.pair_table import PairTable
from lobula.data.recording import Recording
from lobula.data.streams import Streams
from lobula.errors import ConfigError
from lobula.kernels import pair_mlp
from lobula.kernels.perceptron import FUNCTIONS
from lobula.metrics import line_fit
from lobula.models import pair_messages
from lobula.recovery import recover_gnn
from lobula.recovery.pair_gauge import find_pair_gauge
from lobula.regression import accumulate, fit_spline
from lobula.regression.curve import PiecewiseLinear
from lobula.regression.edge_messages import EdgeMessages
from lobula.scoring import make_probe
from lobula.training import new_model, train
from lobula.training.penalties import Penalties, Visited
from lobula.training.warm_start import start_from_spline, write_curve

SMALL = {"model.name": "flyvis_B", "model.hidden_dim": 12, "model.hidden_dim_update": 12, "model.w_init": "randn"}


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n_frames=2000)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def config(**values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({**SMALL, **values})


def plain_pairs(model, voltage: torch.Tensor) -> torch.Tensor:
    """(B, E) messages from the concatenated inputs of every edge, in the precision of the voltage."""
    network, pre, post = model.message_mlp, model.pattern.pre, model.pattern.post
    parts = (network.scalars, network.target_scalars, network.embedding, network.target_embedding)
    weight = torch.cat([layer.weight for layer in parts], dim=1).to(voltage)
    a, v = model.embedding.to(voltage), voltage / model.scales.voltage
    ends = [x.expand(len(v), -1, -1) for x in (a[pre], a[post])]
    x = torch.cat([v[:, pre, None], v[:, post, None], *ends], dim=-1) @ weight.T + network.embedding.bias.to(voltage)
    for layer in network.hidden:
        x = FUNCTIONS[network.activation](x) @ layer.weight.T.to(voltage) + layer.bias.to(voltage)
    value = x[..., 0].square() if model.config.g_phi_positive else x[..., 0]
    return model.scales.voltage * value


@pytest.mark.parametrize("activation", list(FUNCTIONS))
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_kernel_and_its_gradients(activation: str, n_layers: int) -> None:
    rng = torch.Generator().manual_seed(0)
    n, n_edges, batch, width = 5, 11, 3, 4 if n_layers > 1 else 1
    pre, post = torch.randint(0, n, (2, n_edges), generator=rng)
    sizes = [(width, width)] * (n_layers - 2) + [(1, width)] * (n_layers > 1)
    tensors = [torch.randn(n, batch, width, generator=rng, dtype=torch.float64) for _ in range(2)]
    tensors += [torch.randn(*s, generator=rng, dtype=torch.float64) for size in sizes for s in (size, size[:1])]
    for tensor in tensors:
        tensor.requires_grad_(True)

    def evaluate(source: torch.Tensor, target: torch.Tensor, *flat: torch.Tensor) -> torch.Tensor:
        return pair_mlp(source, target, pre, post, list(zip(flat[::2], flat[1::2], strict=True)), activation, rows=9)

    x = tensors[0][pre] + tensors[1][post]
    for weight, bias in zip(tensors[2::2], tensors[3::2], strict=True):
        x = FUNCTIONS[activation](x) @ weight.T + bias
    torch.testing.assert_close(evaluate(*tensors), x[..., 0])
    assert torch.autograd.gradcheck(evaluate, tensors)


def test_blocks_are_invisible_and_lower_precision_is_near(recording: Recording) -> None:
    model = new_model(recording, config())
    voltage = torch.from_numpy(recording["train"].voltage(0, 6))
    found = []
    for lower in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            model.summed_message(voltage).square().sum().backward()
        found.append(model.message_mlp.target_scalars.weight.grad.clone())
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 0.05
    with torch.no_grad():
        many = model.summed_message(voltage.repeat(12, 1))  # more frames than are evaluated at a time
        torch.testing.assert_close(many[-6:], model.summed_message(voltage), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positive", [False, True])
def test_messages_see_both_ends(recording: Recording, positive: bool) -> None:
    model = new_model(recording, config(**{"model.g_phi_positive": positive, "model.mlp_init": "small"}))
    voltage = torch.from_numpy(recording["train"].voltage(0, 3)).double()
    messages = plain_pairs(model, voltage)
    expected = torch.zeros_like(voltage).index_add(1, model.pattern.post, model.weight.double() * messages)
    torch.testing.assert_close(model.summed_message(voltage.float()).double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.messages_between(voltage.float(), voltage.float()).double(), messages,
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    parameters = [*model.groups()["g_phi"], model.weight, model.embedding]
    own = torch.autograd.grad(model.summed_message(voltage.float()).square().sum(), parameters)
    plain = torch.autograd.grad(expected.square().sum(), parameters)
    for a, b in zip(own, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3 * float(b.abs().max()))


def test_penalties_act_on_the_messages_of_all_edges(recording: Recording) -> None:
    model = new_model(recording, config())
    v = torch.from_numpy(recording["train"].voltage(0, 1))
    visited = Visited(v[0] * 0 + 0.3, torch.ones(30))
    penalties = Penalties(config(**{"training.coeff_W_L1": 0.0}).training, visited, 2000)
    penalties.at_step(0, torch.device("cpu"))
    parts, (pre, post) = penalties(model, v), (model.pattern.pre, model.pattern.post)
    step, top = 0.05 * model.scales.xnorm, 2 * model.scales.xnorm

    def g(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:  # every edge as two neurons of its own
        both = torch.arange(len(pre))
        value = model.message_mlp(
            source / model.scales.voltage, target / model.scales.voltage, model.embedding[pre], model.embedding[post],
            both, both
        )  # fmt: skip
        return model.scales.voltage * value.T

    fall = torch.relu(g(v[:, pre], v[:, post]) - g(v[:, pre] + step, v[:, post]))
    assert float(fall.detach().max()) > 0
    torch.testing.assert_close(parts["g_phi_diff"], (fall / step).square().mean(), rtol=1e-4, atol=1e-7)
    high = g(torch.full((1, len(pre)), top), visited.mean[post][None])
    torch.testing.assert_close(parts["g_phi_norm"], (high / top - 1).square().mean(), rtol=1e-4, atol=1e-7)
    gradient = torch.autograd.grad(parts["g_phi_diff"], model.embedding, allow_unused=True)[0]
    assert gradient is None  # embeddings are detached


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"training.regime": "recurrent", "training.time_step": 2, "model.g_phi_shared": "no"},
        {"training.regime": "multi_start", "training.time_step": 2, "training.two_stage": True},
        {"training.regime": "neural_ode", "training.time_step": 2, "training.loss": "norm"},
    ],
)
def test_every_regime_trains_and_resumes(recording: Recording, tmp_path: Path, values: dict) -> None:
    short = {"training.n_steps": 8, "training.rounds": 1, "training.round_steps": 4, "training.checkpoint_every": 3,
             "training.gauss_newton_steps": 1, "training.validation_every": 5}  # fmt: skip
    settings = config(**short, **values)

    class Stop(Exception):
        pass

    def stop(step: int, total: int, numbers: dict[str, float]) -> None:
        if step >= 7:
            raise Stop

    whole = train(recording, settings, tmp_path / "whole")
    with pytest.raises(Stop):
        train(recording, settings, tmp_path / "parts", progress=stop)
    parts = train(recording, settings, tmp_path / "parts")
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def test_tables_and_the_network_agree(recording: Recording) -> None:
    model = new_model(recording, config())
    voltage = recording["train"].voltage(0, 40)
    visited = voltage.min(0), voltage.max(0)
    own = pair_messages(model, visited)
    assert own.table is None
    with torch.no_grad():
        frames = torch.from_numpy(voltage)
        expected = model.messages_between(frames, frames).numpy()
    np.testing.assert_allclose(own.on(voltage, recording.wiring), expected, rtol=1e-5, atol=1e-5)
    model.share_messages()
    shared = pair_messages(model, visited)
    assert shared.table is not None
    with torch.no_grad():
        expected = model.messages_between(frames, frames).numpy()
    np.testing.assert_allclose(shared.on(voltage, recording.wiring), expected, atol=2e-3 * np.abs(expected).max())


def test_products_of_messages_on_edges_are_those_of_messages_of_neurons(recording: Recording) -> None:
    def relu(v: np.ndarray) -> np.ndarray:
        return np.maximum(v, 0)

    on_edges = EdgeMessages(lambda source, target, pre, post: np.maximum(source[:, pre], 0))
    frames, wiring = recording["train"], recording.wiring
    own, other = accumulate(frames, wiring, on_edges), accumulate(frames, wiring, relu)
    for a, b in zip(own.grams, other.grams, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    np.testing.assert_allclose(own.message_std, other.message_std[wiring.pre], rtol=1e-6)


def test_the_gauge_takes_leak_and_offset_out_of_messages(recording: Recording) -> None:
    rng, wiring = np.random.default_rng(0), recording.wiring
    scale, leak, offset = rng.uniform(0.5, 2, wiring.n_edges), *rng.normal(size=(2, wiring.n_edges))
    index = {(j, i): e for e, (j, i) in enumerate(wiring.edge_index.T)}

    def evaluate(source: np.ndarray, target: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
        e = [index[j, i] for j, i in zip(pre, post, strict=True)]
        return offset[e] + leak[e] * target[:, post] + scale[e] * np.maximum(source[:, pre], 0)

    gauge = find_pair_gauge(recording["train"].voltage(0, 600), EdgeMessages(evaluate), wiring)
    ratio = gauge.scale / scale
    np.testing.assert_allclose(ratio, 1.0, rtol=0.05)
    np.testing.assert_allclose(gauge.leak, leak, atol=1e-6)
    np.testing.assert_allclose(gauge.offset, offset, atol=0.06)
    k, _, _ = gauge.settle(np.zeros(30), np.zeros(30), np.ones(wiring.n_edges), wiring)
    np.testing.assert_allclose(k, np.bincount(wiring.post, leak), atol=1e-5)


FIT = {"training.target": "drift", "training.n_steps": 150, "training.rounds": 1, "training.round_steps": 40,
       "training.lr": 5e-3, "model.hidden_dim": 24, "model.hidden_dim_update": 24, "model.w_init": "zeros"}  # fmt: skip


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Estimates of A and B on circuits without and with messages that depend on the target."""

    def driven(source: np.ndarray, target: np.ndarray) -> np.ndarray:
        return np.tanh(np.maximum(source, 0)) * (1 - 0.5 * np.tanh(target))

    found = {}
    for kind, pair in (("plain", None), ("driven", driven)):
        planted = planted_circuit(n_frames=2500, pair=pair)
        data = Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)
        for name in ("flyvis_A", "flyvis_B"):
            settings = config(**{**FIT, "model.name": name})
            model = train(data, settings, tmp_path_factory.mktemp(f"{kind}-{name}"))
            found[kind, name] = planted, recover_gnn(data, model, "drift", settings.recovery), data, model
    return found


def test_a_circuit_of_plain_messages_is_recovered(fits: dict) -> None:
    planted, estimates, _, _ = fits["plain", "flyvis_B"]
    slope, r2 = line_fit(planted.weight, estimates.edges["weight"].to_numpy())
    assert r2 > 0.99
    assert slope == pytest.approx(1.0, abs=0.05)
    assert line_fit(planted.tau, estimates.neurons["tau"].to_numpy())[1] > 0.98


def test_messages_that_depend_on_the_target_are_found_by_b_and_not_by_a(fits: dict) -> None:
    (planted, of_a, _, _), (_, of_b, _, _) = fits["driven", "flyvis_A"], fits["driven", "flyvis_B"]
    assert of_b.notes["held_out_log_error"] < of_a.notes["held_out_log_error"] - 0.7
    r2 = {name: line_fit(planted.weight, e.edges["weight"].to_numpy())[1] for name, e in (("A", of_a), ("B", of_b))}
    assert r2["B"] > 0.99 > r2["A"], r2
    assert of_b.pair is not None


def test_estimates_keep_the_function_of_both_ends(fits: dict, tmp_path: Path) -> None:
    _, estimates, data, _ = fits["driven", "flyvis_B"]
    estimates.save(tmp_path / "e.zarr")
    again = Estimates.load(tmp_path / "e.zarr")
    split = data["validation"]
    voltage, external = split.voltage(0, 50), data.wiring.spread(split.stimulus(0, 50))
    np.testing.assert_array_equal(again.drift(voltage, external), estimates.drift(voltage, external))
    error = np.log(np.mean((again.drift(voltage, external) - split.target("drift", 0, 50)) ** 2))
    assert error == pytest.approx(np.log(np.mean(split.target("drift", 0, 50) ** 2)) - 5, abs=4)
    assert again.predict(voltage[:2], split.stimulus(0, 20)[None].repeat(2, 0)).shape == (2, 20, 30)


def test_read_outs(fits: dict) -> None:
    planted, _, data, model = fits["plain", "flyvis_B"]
    with pytest.raises(ConfigError, match=r"recovery\.readout: got reference .* expected refit or on_distribution"):
        recover_gnn(data, model, "drift", config(**{"recovery.readout": "reference"}).recovery)
    estimates = recover_gnn(data, model, "drift", config(**{"recovery.readout": "on_distribution"}).recovery)
    assert np.isfinite(estimates.edges["weight"]).all()
    assert line_fit(planted.weight, estimates.edges["weight"].to_numpy())[1] > 0.2  # slopes of a short training


def test_scores_during_training() -> None:
    recording, truth = recorded(n_frames=600)
    probe, model = make_probe(truth, recording), new_model(recording, config())
    assert set(probe(model, None)) == {"connectivity_r2", "vrest_r2", "tau_r2"}
    circuit, n = truth.connectome, truth.connectome.n_neurons
    model.share_messages()
    write_curve(model, PiecewiseLinear(np.array([-1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])))
    k = -1 / circuit.tau
    held = {"k": k, "c": -k * circuit.v_rest, "theta": -k[circuit.wiring.post] * circuit.weight}
    scores = probe(model, {name: torch.from_numpy(x) for name, x in held.items()})
    assert min(scores.values()) > 0.999, (scores, n)


def test_a_warm_start_is_the_spline_whatever_the_target(recording: Recording) -> None:
    spline = fit_spline(recording["train"], recording.wiring, "drift", n_rounds=4)
    model = new_model(recording, config(**{"model.hidden_dim": 64}))
    start_from_spline(model, spline, recording.wiring, recording["train"], Streams(0))
    voltage = torch.from_numpy(recording["validation"].voltage(0, 50))
    with torch.no_grad():
        found = model.messages_between(voltage, voltage.flip(0)).numpy()
    expected = spline.curve(voltage.numpy())[:, recording.wiring.pre]
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.05 * expected.std()


def test_a_table_is_interpolated_and_continued() -> None:
    target, source = np.linspace(-1, 1, 5), np.linspace(-2, 2, 9)
    table = PairTable(target, source, 2 * source[None] - 3 * target[:, None] + 1)
    v = np.array([[-0.3, 0.7], [4.0, -5.0]])
    got = table.on_edges(v, v, np.array([0, 1, 1]), np.array([1, 0, 1]))
    np.testing.assert_allclose(got, 2 * v[:, [0, 1, 1]] - 3 * v[:, [1, 0, 1]] + 1, rtol=1e-6)
    changed = table.changed(1.0, -3.0, 2.0).on_edges(v, v, np.array([0]), np.array([1]))
    np.testing.assert_allclose(changed, v[:, [0]], rtol=1e-6)


@pytest.mark.gpu
def test_a_gpu_gives_the_sums_and_gradients_of_a_cpu(recording: Recording, tmp_path: Path) -> None:
    model = new_model(recording, config())
    voltage, found = torch.from_numpy(recording["train"].voltage(0, 6)), []
    for device in ("cpu", "cuda:0"):
        model.to(device).zero_grad()
        summed = model.summed_message(voltage.to(device))
        summed.square().sum().backward()
        found.append([summed.detach().cpu(), *(p.grad.cpu() for p in model.groups()["g_phi"])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))
    short = {"training.n_steps": 20, "training.rounds": 1, "training.round_steps": 8, "training.device": "cuda:0"}
    weights = []
    for device in ("cpu", "cuda:0"):
        settings = config(**{**short, "training.device": device})
        estimates = recover_gnn(recording, train(recording, settings, tmp_path / device), "observed", settings.recovery)
        weights.append(estimates.edges["weight"].to_numpy())
    assert line_fit(*weights)[1] > 0.95
