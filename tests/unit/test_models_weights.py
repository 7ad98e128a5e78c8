"""Weights that obey a prior while the network is trained, and after it was read out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.planted import DT, Typed, typed_circuit
from torch.nn.utils import parametrize

from lobula.config import ExperimentConfig
from lobula.data.annotations import Annotations
from lobula.data.recording import Recording
from lobula.data.streams import Streams
from lobula.errors import ConfigError
from lobula.metrics import line_fit
from lobula.models.low_rank import set_weight, weight_parameters
from lobula.models.weights import WeightForm, shape_weights
from lobula.recovery import recover_gnn
from lobula.regression import WeightPrior, fit_spline
from lobula.training import load_model, new_model, train
from lobula.training.warm_start import start_from_spline

SMALL = {"training.n_steps": 30, "training.rounds": 1, "training.round_steps": 10, "training.gauss_newton_steps": 1,
         "training.validation_every": 20, "model.hidden_dim": 12, "model.hidden_dim_update": 12,
         "recovery.n_cell_types": 4}  # fmt: skip
EVERYTHING = {"prior.synapse_counts": True, "prior.sign": "known", "prior.tied": "hard"}


@pytest.fixture(scope="module")
def circuit() -> Typed:
    return typed_circuit(n_frames=500)


@pytest.fixture(scope="module")
def recording(circuit: Typed) -> Recording:
    p = circuit.planted
    known = Annotations.checked(p.wiring, circuit.cell_type, circuit.n_synapses, circuit.sign)
    return Recording.from_arrays(p.voltage, p.wiring, DT, p.stimulus, annotations=known)


def config(**values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({**SMALL, **values})


def assert_tied(circuit: Typed, weight: np.ndarray) -> None:
    wiring = circuit.planted.wiring
    kinds = circuit.cell_type[wiring.edge_index]
    for pair in np.unique(kinds, axis=1).T:
        strength = (weight / circuit.n_synapses)[(kinds == pair[:, None]).all(0)]
        np.testing.assert_allclose(strength, strength[0], rtol=1e-5)


@pytest.mark.parametrize("tied", ["none", "soft", "hard"])
def test_parameters_of_given_weights_make_the_nearest_weights(circuit: Typed, tied: str) -> None:
    wiring, rng = circuit.planted.wiring, np.random.default_rng(0)
    prior = WeightPrior(wiring, circuit.n_synapses, circuit.cell_type, tied, circuit.sign)
    groups, sign = prior.groups(wiring, circuit.sign), circuit.sign[wiring.pre]
    form = WeightForm(prior.scale, prior.tied, groups.of_edge, sign)

    def nearest(weight: np.ndarray) -> np.ndarray:
        made = form.right_inverse(torch.as_tensor(weight, dtype=torch.float32))
        return form(*(made if isinstance(made, tuple) else (made,))).numpy()

    allowed = circuit.planted.weight  # it obeys all of it
    np.testing.assert_allclose(nearest(allowed), allowed, rtol=1e-4)
    other = rng.normal(0, 0.1, wiring.n_edges)
    assert np.all(sign * nearest(other) > 0)
    if tied != "hard":
        kept = sign * other > 0.02 * circuit.n_synapses
        np.testing.assert_allclose(nearest(other)[kept], other[kept], rtol=1e-4)
        return
    best = nearest(allowed + other * sign * np.sign(other))
    assert_tied(circuit, best)


def test_without_a_prior_the_model_is_as_it_was(recording: Recording) -> None:
    model = new_model(recording, config())
    assert not parametrize.is_parametrized(model)
    assert weight_parameters(model) == [model.weight]
    assert isinstance(model.weight, torch.nn.Parameter)


@pytest.mark.parametrize("name", ["flyvis_A", "flyvis_linear"])
def test_gradient_descent_keeps_ties_and_signs(circuit: Typed, recording: Recording, name: str) -> None:
    model = new_model(recording, config(**EVERYTHING, **{"model.name": name}))
    own = weight_parameters(model)
    assert [p.shape for p in own] == [(16,)]
    assert model.groups()["W"] == own
    optimiser = torch.optim.SGD(own, lr=0.5)
    before = model.weight.detach().clone()
    voltage = torch.from_numpy(recording["train"].voltage(0, 20))
    for _ in range(5):
        optimiser.zero_grad()
        (model.summed_message(voltage) - 1.0).square().mean().backward()
        optimiser.step()
    weight = model.weight.detach()
    assert float((weight - before).abs().max()) > 1e-3
    assert_tied(circuit, weight.double().numpy())
    assert np.all(circuit.sign[circuit.planted.wiring.pre] * weight.numpy() >= 0)


def test_soft_ties_have_means_and_deviations(recording: Recording) -> None:
    model = new_model(recording, config(**{"prior.tied": "soft"}))
    assert sorted(p.numel() for p in weight_parameters(model)) == [16, 400]
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    set_weight(model, values)
    torch.testing.assert_close(model.weight.detach(), values)


def test_the_warm_start_fills_the_form(circuit: Typed, recording: Recording) -> None:
    spline = fit_spline(recording["train"], recording.wiring, n_knots=8, n_rounds=2)
    model = new_model(recording, config(**EVERYTHING))
    start_from_spline(model, spline, recording.wiring, recording["train"], Streams(0))
    weight = model.weight.detach().double().numpy()
    assert_tied(circuit, weight)
    assert line_fit(circuit.planted.weight, weight)[1] > 0.7


def test_the_whole_rung_obeys_the_prior(circuit: Typed, recording: Recording, tmp_path: Path) -> None:
    settings = config(**EVERYTHING)
    model = train(recording, settings, tmp_path)
    again = load_model(recording, settings, tmp_path)
    torch.testing.assert_close(again.weight, model.weight, rtol=0, atol=0)
    found = recover_gnn(recording, again, "observed", settings.recovery, prior=settings.prior)
    weight = found.edges["weight"].to_numpy()
    assert_tied(circuit, weight)
    assert np.all(circuit.sign[circuit.planted.wiring.pre] * weight >= 0)
    assert found.notes["prior"] == "counts, Dale known, tied hard"
    free = recover_gnn(recording, again, "observed", settings.recovery).edges["weight"].to_numpy()
    scores = [line_fit(circuit.planted.weight, w)[1] for w in (weight, free)]
    assert scores[0] > scores[1] + 0.2
    for readout in ("on_distribution", "reference"):
        other = recover_gnn(recording, again, "observed", config(**{"recovery.readout": readout}).recovery)
        assert len(other.edges) == recording.wiring.n_edges


def test_a_model_without_a_weight_per_edge_is_refused(recording: Recording) -> None:
    model = new_model(recording, config())
    shape_weights(model, WeightPrior.of(config(**EVERYTHING).prior, recording))
    with pytest.raises(ConfigError, match="no weight per edge"):
        shape_weights(model, WeightPrior.of(config(**EVERYTHING).prior, recording))
