"""Reading the circuit back: the gauge, the table of estimates, prediction, and `lobula.fit`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.support.planted import DT, Planted, planted_circuit

import lobula
from lobula.config.recovery import RecoveryConfig
from lobula.data.estimates import Estimates
from lobula.errors import ConfigError, LobulaError, MissingInputError, NonFiniteError, ShapeError, StoreError
from lobula.kernels import get_activation
from lobula.metrics import hungarian_accuracy
from lobula.recovery import recover_circuit
from lobula.recovery.cell_types import agreed, find_cell_types, neuron_features
from lobula.recovery.gauge import find_gauge
from lobula.regression import fit_circuit


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_circuit(n_frames=3000)


@pytest.fixture(scope="module")
def estimates(planted: Planted) -> Estimates:
    return lobula.fit(planted.voltage, planted.wiring, DT, planted.stimulus, method="ridge", drift=planted.drift)


def test_gauge_undoes_scale_and_offset_of_every_neuron() -> None:
    rng = np.random.default_rng(0)
    voltage = rng.normal(0.3, 0.5, (500, 20)).astype("f4")
    scale, offset = rng.uniform(0.5, 2.0, 20), rng.normal(0.0, 1.0, 20)
    gauge = find_gauge(voltage, lambda v: scale * np.maximum(v, 0) + offset)
    ratio = gauge.scale / scale
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.02)
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(gauge.offset, offset, atol=0.08)


def test_estimates_are_in_original_ids_and_order_does_not_matter(planted: Planted) -> None:
    wiring = planted.wiring
    shuffled = np.random.default_rng(1).permutation(wiring.n_edges)
    ids = np.arange(wiring.n_neurons) + 1000
    renamed = lobula.Wiring.from_edges(wiring.edge_index[:, shuffled], wiring.n_neurons, wiring.stimulus_column, ids)
    result = lobula.fit(planted.voltage, renamed, DT, planted.stimulus, method="ridge", drift=planted.drift)
    truth = pd.DataFrame({"pre": ids[wiring.pre], "post": ids[wiring.post], "true": planted.weight})
    merged = result.edges.merge(truth, on=["pre", "post"])
    assert len(merged) == wiring.n_edges
    np.testing.assert_allclose(merged["weight"], merged["true"], atol=1e-3)
    assert list(result.neurons["id"]) == list(ids)


def test_prediction_follows_the_recording(planted: Planted, estimates: Estimates) -> None:
    quiet = planted_circuit(n_frames=300, noise=0.0)
    rolled = estimates.predict(quiet.voltage[0], quiet.stimulus[:200])
    np.testing.assert_allclose(rolled, quiet.voltage[1:201], atol=5e-3)
    many = estimates.predict(quiet.voltage[:2], np.stack([quiet.stimulus[:50], quiet.stimulus[1:51]]))
    np.testing.assert_allclose(many[0], rolled[:50], atol=1e-6)


def test_estimates_survive_the_disk(estimates: Estimates, tmp_path: Path) -> None:
    estimates.save(tmp_path / "e.zarr")
    again = Estimates.load(tmp_path / "e.zarr")
    pd.testing.assert_frame_equal(again.edges, estimates.edges)
    pd.testing.assert_frame_equal(again.neurons, estimates.neurons)
    assert again.notes == estimates.notes
    v = np.linspace(-1, 2, 30)[None]
    np.testing.assert_array_equal(again.drift(v), estimates.drift(v))
    (tmp_path / "e.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match="truncated or"):
        Estimates.load(tmp_path / "e.zarr")
    with pytest.raises(MissingInputError, match="run the recover stage"):
        Estimates.load(tmp_path / "none.zarr")


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda p: {"voltage": p.voltage.T}, ShapeError, "transpose it"),
        (lambda p: {"voltage": p.voltage[:5]}, ShapeError, "record longer"),
        (lambda p: {"voltage": np.where(np.arange(3000)[:, None] == 7, np.nan, p.voltage)}, NonFiniteError, "frame 7"),
        (lambda p: {"method": "lasso"}, ConfigError, "expected 'ridge'"),
        (lambda p: {"dt": 0.0}, ConfigError, "dt"),
        (lambda p: {"cell_types": np.zeros(3)}, ShapeError, "cell_types"),
        (lambda p: {"stimulus": p.stimulus[:10]}, ShapeError, "stimulus"),
        (lambda p: {"wiring": p.wiring.edge_index}, ShapeError, "Wiring.from_edges"),
        (lambda p: {"n_stepz": 3}, ConfigError, "n_steps"),
    ],
)
def test_bad_input_is_named(planted: Planted, change, error: type[LobulaError], text: str) -> None:
    arguments = {"voltage": planted.voltage, "wiring": planted.wiring, "dt": DT, "stimulus": planted.stimulus,
                 "method": "ridge"} | change(planted)  # fmt: skip
    with pytest.raises(error, match=text) as caught:
        lobula.fit(**arguments)
    assert "\n" not in str(caught.value)


def test_known_cell_types_name_a_column(planted: Planted) -> None:
    types = np.arange(planted.wiring.n_neurons) % 3
    result = lobula.fit(planted.voltage, planted.wiring, DT, planted.stimulus, cell_types=types, method="ridge")
    np.testing.assert_array_equal(result.neurons["cell_type"], types)
    assert result.neurons["cluster"].nunique() <= 3


@pytest.mark.parametrize(("readout", "same"), [("refit", True), ("on_distribution", False)])
def test_types_are_found_by_the_embedding_where_there_is_no_refit(planted: Planted, readout, same: bool) -> None:
    recording = lobula.Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus)
    relu = get_activation("relu")
    circuit, settings = fit_circuit(recording["train"], planted.wiring, relu), RecoveryConfig(readout=readout)
    noise = np.random.default_rng(0).normal(size=(2, planted.wiring.n_neurons, 4))
    settings = settings.model_copy(update={"n_cell_types": 3})
    found = [recover_circuit(recording, circuit, relu, "gnn", "observed", settings, embedding=e) for e in noise]
    first, second = (estimates.neurons["cluster"].to_numpy() for estimates in found)
    assert (hungarian_accuracy(first, second) == 1) == same


@pytest.mark.parametrize("n_types", [None, 4])
def test_clusterings_that_split_and_merge_other_types_agree_on_the_types(n_types: int | None) -> None:
    """Each of nine clusterings merges two of four types, or splits one, and has a tenth of the neurons anywhere."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(4), 100)
    labels = []
    for vote in range(9):
        one = kind.copy()
        if vote % 3 == 0:
            one[kind == vote // 3] = 3
        else:
            one[(kind == vote % 4) & (rng.random(400) < 0.5)] = 4
        stray = rng.random(400) < 0.1
        one[stray] = rng.integers(0, 4, int(stray.sum()))
        labels.append(one)
    found = agreed(np.stack(labels, 1), rng.permutation(400)[:300], n_types)
    right = [hungarian_accuracy(kind, one) for one in [*labels, found]]
    assert max(right[:-1]) < 0.9
    assert right[-1] > 0.98


def test_one_neuron_is_one_type() -> None:
    wiring = lobula.Wiring.from_edges(np.array([[0], [0]]), 1)
    found = find_cell_types(wiring, np.zeros((1, 3)), np.ones(1))
    assert (found.n_types, found.gmm.tolist()) == (1, [0])


def test_clusters_find_types_and_their_number() -> None:
    """Three types that differ in one value and in whom they talk to; the number of types is not given."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), 60)
    pre, post = np.nonzero((kind[:, None] + 1) % 3 == kind[None])
    keep = rng.random(len(pre)) < 0.1
    wiring = lobula.Wiring.from_edges(np.stack([pre[keep], post[keep]]), 180)
    weight = np.array([1.0, -1.0, 0.5])[kind[wiring.pre]] + 0.1 * rng.standard_normal(wiring.n_edges)
    tau = np.array([0.05, 0.1, 0.2])[kind] * rng.lognormal(0, 0.05, 180)
    found = find_cell_types(wiring, neuron_features(wiring, weight, tau, rng.normal(size=180), None), weight)
    assert found.n_types == 3
    assert found.stability > 0.9
    assert hungarian_accuracy(kind, found.gmm) > 0.95
    scrambled = rng.permutation(found.gmm)
    assert hungarian_accuracy(kind, scrambled) < 0.6
