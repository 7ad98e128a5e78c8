"""NeuronState and NeuronTimeSeries: named fields in, named fields out, packed columns only at the border."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lobula.data.series import NeuronTimeSeries
from lobula.data.state import DYNAMIC_FIELDS, STATIC_FIELDS, NeuronState
from lobula.data.store import RecordingWriter
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, MissingInputError, ShapeError


@pytest.fixture
def packed(rng: np.random.Generator) -> np.ndarray:
    """(6, 4, 9) in the old layout: index, x, y, voltage, stimulus, group, type, calcium, fluorescence."""
    values = rng.standard_normal((6, 4, 9)).astype("f4")
    values[:, :, [0, 5, 6]] = rng.integers(0, 9, (4, 3))
    values[:, :, 1:3] = values[0, :, 1:3]
    return values


def test_packed_columns_get_their_names(packed: np.ndarray) -> None:
    state = NeuronState.from_numpy(packed[0])
    for name, column in {"index": 0, "voltage": 3, "stimulus": 4, "group_type": 5, "neuron_type": 6}.items():
        assert np.array_equal(getattr(state, name), packed[0, :, column]), name
    assert state.neuron_type is not None
    assert state.neuron_type.dtype == torch.long
    assert np.array_equal(state.to_packed(), packed[0])


def test_series_packs_and_unpacks(packed: np.ndarray) -> None:
    series = NeuronTimeSeries.from_numpy(packed)
    assert (series.n_frames, series.n_neurons) == (6, 4)
    assert np.array_equal(series.to_packed(), packed)
    assert torch.equal(series.frame(2).voltage, torch.from_numpy(packed[2, :, 3]))


def test_subset_clone_detach_to(packed: np.ndarray) -> None:
    series = NeuronTimeSeries.from_numpy(packed)
    part = series.subset(torch.tensor([3, 1]))
    assert np.array_equal(part.to_packed(), packed[:, [3, 1]])
    assert np.array_equal(series.frame(0).subset(torch.tensor([3, 1])).to_packed(), packed[0, [3, 1]])
    copy = series.clone()
    copy.voltage.zero_()
    assert np.array_equal(series.to_packed(), packed)
    assert not series.frame(0).detach().voltage.requires_grad
    assert series.to("cpu").voltage.device.type == "cpu"


def test_zeros_has_every_field() -> None:
    state, series = NeuronState.zeros(3), NeuronTimeSeries.zeros(3, 2)
    for name in STATIC_FIELDS + DYNAMIC_FIELDS:
        assert len(getattr(state, name)) == 3
        assert getattr(series, name).shape[-2 if name == "pos" else -1] == 3
    assert state.index.tolist() == [0, 1, 2]
    assert (series.n_frames, series.n_neurons, NeuronState().n_neurons) == (2, 3, 0)


def test_xnorm_is_one_and_a_half_standard_deviations(packed: np.ndarray) -> None:
    series = NeuronTimeSeries.from_numpy(packed)
    assert float(series.xnorm) == pytest.approx(1.5 * packed[:, :, 3].std(ddof=1), rel=1e-5)
    with pytest.raises(MissingInputError, match="voltage was not loaded"):
        _ = NeuronTimeSeries().xnorm


def test_fields_that_do_not_fit() -> None:
    # the run-time check of the annotations speaks first in tests; without it the class itself refuses
    with pytest.raises(Exception, match=r"expected|neuron"):
        NeuronState(voltage=torch.zeros(3), stimulus=torch.zeros(4))
    with pytest.raises(Exception, match=r"expected|neuron"):
        NeuronTimeSeries(voltage=torch.zeros(2, 3), stimulus=torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"expected \(n_neurons, 9\)"):
        NeuronState.from_numpy(np.zeros((3, 8)))
    with pytest.raises(ShapeError, match="packed series"):
        NeuronTimeSeries.from_numpy(np.zeros((3, 9)))
    with pytest.raises(ShapeError, match="no frames"):
        NeuronTimeSeries.from_frames([])
    with pytest.raises(ShapeError, match=r"frame: got 2, expected 0\.\.1"):
        NeuronTimeSeries.zeros(3, 2).frame(2)


def test_load_reads_only_the_fields_asked_for(tmp_path: Path, small_wiring: Wiring, rng: np.random.Generator) -> None:
    voltage, stimulus = rng.standard_normal((20, 5)).astype("f4"), rng.random((20, 3)).astype("f4")
    static = {"u": np.arange(5), "v": -np.arange(5)}
    writer = RecordingWriter.create(tmp_path / "r.zarr", small_wiring, 0.02, {"train": 20}, static=static)
    writer.append("train", voltage=voltage, stimulus=stimulus)
    series = NeuronTimeSeries.load(tmp_path / "r.zarr", start=2, stop=8)
    assert np.array_equal(series.voltage, voltage[2:8])
    assert series.stimulus is None
    assert series.pos.tolist() == [[0, 0], [1, -1], [2, -2], [3, -3], [4, -4]]
    both = NeuronTimeSeries.load(tmp_path / "r.zarr", fields=("voltage", "stimulus"))
    assert np.array_equal(both.stimulus, small_wiring.spread(stimulus))
    with pytest.raises(ConfigError, match="expected some of voltage"):
        NeuronTimeSeries.load(tmp_path / "r.zarr", fields=("volts",))
    with pytest.raises(MissingInputError, match="but no calcium"):
        NeuronTimeSeries.load(tmp_path / "r.zarr", fields=("calcium",))
