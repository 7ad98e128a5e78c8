"""The plain formulations compute what lobula computes, so that the ratios compare like with like."""

import json

import numpy as np
import pytest
import torch

from lobula.bench import plain
from lobula.bench.gpu import least_seconds, rows_on
from lobula.bench.rows import DT, Sizes, driven_recording, own_model, own_simulation, random_frames
from lobula.bench.run import chosen_rows, run_rows
from lobula.bench.scale import exponent
from lobula.bench.signal import signal_model
from lobula.bench.timing import compared, interleaved
from lobula.connectome import optic_lobe
from lobula.data import Wiring
from lobula.errors import ConfigError
from lobula.models import GraphNetwork
from lobula.regression.fit import fit_circuit


@pytest.mark.parametrize("kind", ["fly", "signal"])
def test_the_plain_network_is_the_same_network(kind: str) -> None:
    wiring = optic_lobe(0).wiring if kind == "fly" else Wiring.all_pairs(12)
    model: GraphNetwork = own_model(wiring, hidden=8) if kind == "fly" else signal_model(wiring, hidden=8)
    slow = (plain.PlainGNN if kind == "fly" else plain.PlainSignalGNN)(wiring, 8)
    with torch.no_grad():
        slow.embedding.copy_(model.embedding)
        model.weight.copy_(slow.weight)
        for own, other in ((model.message_mlp, slow.message_mlp), (model.update_mlp, slow.update_mlp)):
            other[0].weight.copy_(torch.cat([own.scalars.weight, own.embedding.weight], 1))
            other[0].bias.copy_(own.embedding.bias)
            for layer, copied in zip(own.hidden, (other[2], other[4]), strict=True):
                copied.weight.copy_(layer.weight)
                copied.bias.copy_(layer.bias)
    voltage, external, target = random_frames(wiring, 3)
    losses = []
    for network in (model, slow):
        loss = (network(voltage, external) - target).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(model.weight.grad, slow.weight.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(model.embedding.grad, slow.embedding.grad, rtol=1e-3, atol=1e-6)


def test_the_plain_simulation_and_ridge_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = optic_lobe(1)
    stimulus = np.random.default_rng(0).random((40, circuit.wiring.n_columns), dtype=np.float32)
    monkeypatch.setattr("lobula.bench.rows.SIGMA", 0.0)
    np.testing.assert_allclose(
        own_simulation(circuit, stimulus), plain.simulate(circuit, stimulus, DT, 0.0), rtol=1e-3, atol=1e-3
    )
    monkeypatch.setattr("lobula.bench.rows.SIGMA", 0.2)
    split = driven_recording(circuit, 4000)["train"]
    voltage, y = split.voltage(), split.target("observed")
    external = circuit.wiring.spread(split.stimulus())[: len(y)]
    some = np.flatnonzero(circuit.wiring.in_degree > 3)[:5]
    found = plain.ridge(np.maximum(voltage[:-1], 0), voltage[:-1], external, y, circuit.wiring, some)
    own = fit_circuit(split, circuit.wiring, lambda v: np.maximum(v, 0))
    for i, coefficients in zip(some, found, strict=True):
        assert coefficients[-3] == pytest.approx(own.k[i], rel=0.05)


def test_rows_run_and_can_be_written_as_json() -> None:
    names = ["step", "simulate", "ridge", "recover", "signal"]
    result = run_rows(names, Sizes(extent=0, repeats=1, n_frames=100, signal_neurons=20))
    json.dumps(result)
    assert {row["row"] for row in result["rows"]} == set(names)
    assert all(row["seconds"] > 0 and row["plain_seconds"] > 0 for row in result["rows"])
    assert result["limits"]["gemm_gflop_per_s"] > 0


def rows_of_a_gpu(device: str) -> None:
    """Run there, and what they say fits together."""
    found = rows_on(torch.device(device), Sizes(extent=0, repeats=1, n_frames=400), n_steps=12)
    rows = {row.name: row for row in found}
    json.dumps([row.to_dict() for row in found])
    assert len(rows) == 5
    assert all(row.seconds > 0 for row in found)
    step, published = rows[f"{device}: training step, batch 4"], rows[f"{device}: step of gs"]
    assert step.facts["recorded"] == (device == "cuda")
    assert 0.0 < step.facts["share_of_allowed"] < 1.0
    assert 0.0 < published.facts["share_of_allowed"] < 1.0
    assert published.spread[0] <= published.seconds <= published.spread[1]
    assert published.facts["gflop"] > rows[f"{device}: training step, batch 2"].facts["gflop"], "penalties"


def test_rows_of_a_gpu_run_on_a_cpu() -> None:
    rows_of_a_gpu("cpu")


@pytest.mark.gpu
def test_rows_of_a_gpu() -> None:
    rows_of_a_gpu("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_row_is_refused_and_no_part_of_all() -> None:
    assert "gpu" not in chosen_rows(["all"])
    with pytest.raises(ConfigError, match="bench gpu: got a machine without a GPU"):
        run_rows(["gpu"], Sizes())


def test_what_a_step_needs_at_least() -> None:
    """By hand: 3 neurons, 2 edges, one frame, 80 units."""
    wiring = Wiring.from_edges(np.array([[0, 1], [1, 2]]), 3)
    layers = 80 * (80 + 1 + 2 + 1) + 80 * (80 + 3 + 2 + 1)
    needs = least_seconds(wiring, 1, {"gemm_gflop_per_s": 1e-9, "copy_gb_per_s": 1e9})
    assert needs["gflop"] == pytest.approx(6e-9 * (3 * layers + 2))
    assert needs["allowed_seconds"] == pytest.approx(6.0 * (3 * layers + 2))
    more = least_seconds(wiring, 1, {"gemm_gflop_per_s": 1e9, "copy_gb_per_s": 1e-9})
    assert more["allowed_seconds"] == pytest.approx(4 * (8 * (2 + 6 + layers) + 4 + 9) + 32)


def test_an_unknown_row_is_named() -> None:
    with pytest.raises(ConfigError, match=r"bench: got 'stap', expected one of step"):
        run_rows(["stap"], Sizes())


def test_competitors_take_turns() -> None:
    calls: list[str] = []
    interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert calls == ["a", "b"] * 3
    row = compared("x", lambda: None, None, 1, {})
    assert row.ratio is None


def test_exponent_of_a_power_law():
    size = np.array([10, 40, 90, 250])
    assert exponent(size, 3e-3 * size**1.2) == pytest.approx(1.2)
