"""Neurons that share inputs share a product; every neuron's matrix is the same as computed by itself."""

import numpy as np
import pytest

from lobula.connectome import optic_lobe
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.regression import shared_inputs
from lobula.regression.gram import NO_TERMS, accumulate, design_rows
from lobula.regression.own_terms import OwnTerms, TanhTerm
from lobula.regression.shared_inputs import GroupGrams, GroupSums, input_groups
from lobula.regression.threads import neuron_major

DT = 0.02


def relu(voltage: np.ndarray) -> np.ndarray:
    return np.maximum(voltage, 0)


@pytest.fixture(scope="module")
def wiring() -> Wiring:
    return optic_lobe(2).wiring


@pytest.mark.parametrize("with_stimulus", [True, False])
@pytest.mark.parametrize("own", [NO_TERMS, TanhTerm()], ids=["leak", "tanh"])
def test_matrices_are_those_of_each_neuron_by_itself(
    wiring: Wiring, own: OwnTerms, with_stimulus: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_inputs, "FEWEST_FRAMES", 0)
    monkeypatch.setattr("lobula.regression.gram.BLOCK_FRAMES", 37)  # several blocks
    monkeypatch.setattr(shared_inputs, "PRODUCT_FRAMES", 25)  # and products
    rng = np.random.default_rng(0)
    voltage = rng.normal(size=(100, wiring.n_neurons)).astype(np.float32)
    stimulus = rng.random((100, wiring.n_columns), dtype=np.float32) if with_stimulus else None
    split = Recording.from_arrays(voltage, wiring, DT, stimulus)["train"]
    found = accumulate(split, wiring, relu, own=own)
    n = found.n_frames
    v, y = neuron_major(split.voltage(0, n)), neuron_major(split.target("observed", 0, n))
    frames = split.stimulus(0, n)
    e = None if frames is None else neuron_major(wiring.spread(frames))
    assert isinstance(found.grams, GroupGrams)
    assert len(found.grams.groups) < 0.5 * wiring.n_neurons
    for i in range(wiring.n_neurons):
        external = e if found.has_stimulus[i] else None
        rows = design_rows(i, wiring, np.maximum(v, 0), v, external, y, own=own)
        np.testing.assert_allclose(found.grams[i], rows @ rows.T, rtol=1e-9, atol=1e-6)


def test_groups_hold_every_neuron_once_with_all_of_its_inputs(wiring: Wiring) -> None:
    groups = input_groups(wiring, wiring.pre, 3, shared_inputs.FEWEST_FRAMES)
    members = np.concatenate([group.members for group in groups])
    np.testing.assert_array_equal(np.sort(members), np.arange(wiring.n_neurons))
    for group in groups:
        inputs = [wiring.pre[wiring.indptr[i] : wiring.indptr[i + 1]] for i in group.members]
        np.testing.assert_array_equal(group.sources, np.unique(np.concatenate(inputs)))


def test_neurons_without_common_inputs_stay_alone() -> None:
    apart = Wiring.from_edges(np.array([[0, 1, 2, 3], [4, 5, 6, 7]]), 8)
    groups = input_groups(apart, apart.pre, 3, shared_inputs.FEWEST_FRAMES)
    assert sorted(len(group.members) for group in groups) == [1] * 8


@pytest.mark.parametrize("noise", [1.0, 1e-3])
def test_products_are_of_32_bits_where_noise_is_larger_than_their_rounding(
    wiring: Wiring, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Voltages far off zero, whose products rounded as they are would lose the variance."""
    monkeypatch.setattr(shared_inputs, "FEWEST_FRAMES", 0)
    monkeypatch.setattr(shared_inputs, "PRODUCT_FRAMES", 400)
    rng = np.random.default_rng(0)
    n = wiring.n_neurons
    voltage = (30.0 + 0.1 * rng.normal(size=(1500, n))).astype(np.float32)
    drift = voltage - 30.0 + 0.1 * noise * rng.normal(size=voltage.shape)
    split = Recording.from_arrays(voltage, wiring, DT, None, drift.astype(np.float32))["train"]
    sums, frames = GroupSums(wiring, wiring.pre, NO_TERMS, split.n_frames), split.n_frames
    for start in range(0, frames, 500):
        stop = min(start + 500, frames)
        v = split.voltage(start, stop)
        sums.add(relu(v), v, None, split.target("drift", start, stop))
    rounded = bool(sums._centre)
    assert rounded == (noise > 0.1)
    grams = sums.grams(np.zeros(n, dtype=bool))
    v, y = neuron_major(split.voltage(0, frames)), neuron_major(split.target("drift", 0, frames))
    for i in range(0, n, 20):
        exact, constant = design_rows(i, wiring, v, v, None, y), int(wiring.in_degree[i]) + 1
        exact, found = exact @ exact.T, grams[i]
        centred = [g - np.outer(g[constant], g[constant]) / g[constant, constant] for g in (exact, found)]
        scale = np.sqrt(np.maximum(np.diag(centred[0]), 1e-300))
        scale[constant] = 1.0
        off = np.abs(centred[1] - centred[0]) / np.outer(scale, scale)
        assert off.max() < (1e-6 if rounded else 1e-9)
