"""Conversion: the same numbers come out, cut as asked, whatever interrupts it, with the truth beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support import old_stores

from lobula.data.convert import Conversion, Source, convert, plan_conversion
from lobula.data.recording import Recording
from lobula.data.store import RecordingWriter
from lobula.errors import ConfigError, EdgeError, MissingInputError, NonFiniteError, ShapeError, StoreError
from lobula.simulation.legacy_truth import OldParameters, convert_with_truth
from lobula.simulation.truth import Truth

EDGES = old_stores.EDGES
LAYOUTS = ["v3", "v2", "v1", "npy"]


def planned(path: Path, **options) -> Conversion:
    return plan_conversion(Source.open(path, **options), EDGES, 0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_are_those_of_the_old_store(tmp_path: Path, layout: str) -> None:
    values = old_stores.frames(50)
    path = old_stores.write(tmp_path / "x", layout, values)
    convert(planned(path), tmp_path / "recording.zarr")
    recording = Recording.open(tmp_path / "recording.zarr")
    assert recording.dt == 0.02
    assert [recording[split].n_frames for split in recording.splits] == [40, 5, 5]
    at = 0
    for split in recording.splits:
        part, n = recording[split], recording[split].n_frames
        np.testing.assert_array_equal(part.voltage(), values["voltage"][at : at + n])
        np.testing.assert_array_equal(recording.wiring.spread(part.stimulus()), values["stimulus"][at : at + n])
        at += n
    assert recording["train"].fields == ("voltage", "stimulus")
    np.testing.assert_array_equal(recording.static["pos"], old_stores.static()["pos"])
    assert "neuron_type" not in recording.static  # an answer
    assert {tuple(edge) for edge in recording.wiring.edge_index.T} == {tuple(edge) for edge in EDGES.T}


def test_stimulus_is_stored_once_per_column(tmp_path: Path) -> None:
    plan = planned(old_stores.write(tmp_path / "x", "v3", old_stores.frames(50)))
    assert plan.wiring.n_columns == 2
    assert plan.wiring.stimulus_column.tolist() == [0, 0, 1, -1, -1, -1]
    convert(plan, tmp_path / "recording.zarr")
    recording = Recording.open(tmp_path / "recording.zarr")
    assert recording["test"].stimulus().shape == (5, 2)
    np.testing.assert_array_equal(recording.column_positions, old_stores.static()["pos"][[0, 2]])


def test_light_that_differs_in_one_frame_is_another_column(tmp_path: Path) -> None:
    values = old_stores.frames(50)
    values["stimulus"][31, 1] += 1e-3
    plan = planned(old_stores.write(tmp_path / "x", "v3", values))
    assert plan.wiring.stimulus_column.tolist() == [0, 1, 2, -1, -1, -1]


@pytest.mark.parametrize("every", [False, True])
def test_stimulus_of_nobody_or_of_everybody(tmp_path: Path, every: bool) -> None:
    values = old_stores.frames(50)
    values["stimulus"] = np.random.default_rng(0).random((50, 6)).astype("f4") * every
    plan = planned(old_stores.write(tmp_path / "x", "v3", values))
    assert plan.wiring.stimulus_column is None
    assert plan.fields == (("voltage", "stimulus") if every else ("voltage",))
    convert(plan, tmp_path / "recording.zarr")
    if every:
        np.testing.assert_array_equal(
            Recording.open(tmp_path / "recording.zarr")["test"].stimulus(), values["stimulus"][45:]
        )


def test_dataset_with_a_test_store_and_derivatives(tmp_path: Path) -> None:
    folder = old_stores.write_dataset(tmp_path / "old")
    convert(planned(folder), tmp_path / "recording.zarr")
    recording = Recording.open(tmp_path / "recording.zarr")
    train, test = old_stores.frames(90, 1), old_stores.frames(30, 2)
    assert {split: recording[split].n_frames for split in recording.splits} == {
        "train": 80,
        "validation": 10,
        "test": 30,
    }
    np.testing.assert_array_equal(recording["train"].voltage(), train["voltage"][:80])
    np.testing.assert_array_equal(recording["validation"].voltage(), train["voltage"][80:])
    np.testing.assert_array_equal(recording["test"].voltage(), test["voltage"])
    assert recording.has_drift
    np.testing.assert_array_equal(recording["validation"].drift(), train["drift"][80:])
    np.testing.assert_array_equal(recording["test"].target("drift"), test["drift"])


def test_noise_is_part_of_what_was_recorded_and_kept_with_the_truth(tmp_path: Path) -> None:
    values = old_stores.frames(50)
    values["noise"] = np.random.default_rng(1).normal(0, 0.1, (50, 6)).astype("f4")
    path = old_stores.write(tmp_path / "old" / "x_list_0", "v3", values)
    torch.save(old_stores.parameters(), tmp_path / "old" / "ode_params.pt")
    plan = planned(path)
    assert convert_with_truth(plan, OldParameters.find(plan.source.folders), tmp_path / "new")
    recorded = Recording.open(tmp_path / "new/recording.zarr")["test"].voltage()
    np.testing.assert_array_equal(recorded, values["voltage"][45:] + values["noise"][45:])
    truth = Truth.load(tmp_path / "new/truth.zarr")
    np.testing.assert_array_equal(truth.measurement_noise("test", 0, 5), values["noise"][45:])


@pytest.mark.parametrize("bundled", [True, False])
def test_truth_follows_the_order_of_the_wiring(tmp_path: Path, bundled: bool) -> None:
    folder = old_stores.write_dataset(tmp_path / "old")
    known = old_stores.parameters()
    if not bundled:
        (folder / "ode_params.pt").unlink()
        for name, file in {
            "W": "weights",
            "tau_i": "tau_i",
            "V_i_rest": "V_i_rest",
            "edge_index": "edge_index",
        }.items():
            torch.save(known[name], folder / f"{file}.pt")
    plan = planned(folder)
    assert convert_with_truth(plan, OldParameters.find(plan.source.folders), tmp_path / "new")
    truth = Truth.load(tmp_path / "new/truth.zarr")
    circuit = truth.connectome
    expected = {(pre, post): w for pre, post, w in zip(*EDGES.tolist(), known["W"].tolist(), strict=True)}
    pairs = zip(*circuit.wiring.edge_index.tolist(), strict=True)
    assert dict(zip(pairs, circuit.weight.tolist(), strict=True)) == pytest.approx(expected)
    np.testing.assert_allclose(circuit.tau, known["tau_i"])
    np.testing.assert_allclose(circuit.v_rest, known["V_i_rest"])
    assert [circuit.cell_type_names[k] for k in circuit.cell_type] == [f"type {k}" for k in (4, 4, 1, 1, 0, 0)]
    assert truth.dynamics.activation == "relu"
    # the truth explains the derivatives that the old program stored
    recording = Recording.open(tmp_path / "new/recording.zarr")
    voltage, stimulus = recording["test"].voltage(), recording.wiring.spread(recording["test"].stimulus())
    message = np.maximum(voltage, 0) @ circuit.wiring.csr(circuit.weight).T.toarray()
    drift = (-voltage + circuit.v_rest + message + stimulus) / circuit.tau
    np.testing.assert_allclose(recording["test"].drift(), drift, rtol=1e-4, atol=1e-4)


def test_interrupted_it_goes_on_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lobula.data.convert.CHUNK_FRAMES", 10)
    folder = old_stores.write_dataset(tmp_path / "old")
    known = OldParameters.find((folder,))
    convert_with_truth(planned(folder), known, tmp_path / "whole")
    out, n_written = tmp_path / "cut", 0

    def stop(n: int) -> None:
        nonlocal n_written
        n_written += n
        if n_written >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_with_truth(planned(folder), known, out, advance=stop)
    assert RecordingWriter.resume(out / "recording.zarr").n_frames_written("train") == 40
    skipped: list[int] = []
    convert_with_truth(planned(folder), known, out, advance=skipped.append)
    assert skipped[0] == 40
    for store in ("recording.zarr", "truth.zarr"):
        files = sorted(f.relative_to(out / store) for f in (out / store).rglob("*") if f.is_file())
        assert files == sorted(
            f.relative_to(tmp_path / "whole" / store) for f in (tmp_path / "whole" / store).rglob("*") if f.is_file()
        )
        for file in files:
            assert (out / store / file).read_bytes() == (tmp_path / "whole" / store / file).read_bytes()


def test_other_settings_write_it_again(tmp_path: Path) -> None:
    path = old_stores.write(tmp_path / "x", "v3", old_stores.frames(50))
    convert(planned(path), tmp_path / "r.zarr")
    before = (tmp_path / "r.zarr" / "zarr.json").stat().st_mtime_ns
    convert(planned(path), tmp_path / "r.zarr")
    assert (tmp_path / "r.zarr" / "zarr.json").stat().st_mtime_ns == before
    convert(plan_conversion(Source.open(path), EDGES, 0.01), tmp_path / "r.zarr")
    assert Recording.open(tmp_path / "r.zarr").dt == 0.01
    convert(plan_conversion(Source.open(path, (0.5, 0.25, 0.25)), EDGES, 0.01), tmp_path / "r.zarr")
    assert Recording.open(tmp_path / "r.zarr")["train"].n_frames == 25


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = old_stores.write(tmp_path / "x", "v3", old_stores.frames(50))
    source = Source.open(path)
    with pytest.raises(ConfigError, match="dt: got 0, expected seconds > 0"):
        plan_conversion(source, EDGES, 0)
    with pytest.raises(EdgeError, match=r"edge 0 \(7 -> 0\) is out of range, expected 0..5"):
        plan_conversion(source, np.array([[7], [0]]), 0.02)
    with pytest.raises(ShapeError, match="transpose it"):
        plan_conversion(source, EDGES.T, 0.02)
    with pytest.raises(ConfigError, match="three shares"):
        Source.open(path, (0.5, 0.1, 0.1))
    with pytest.raises(ShapeError, match="fewer than two"):
        Source.open(path, (0.98, 0.01, 0.01))
    with pytest.raises(MissingInputError, match="nowhere: does not exist"):
        Source.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="empty: no old store here, expected voltage"):
        Source.open(tmp_path / "empty")
    old_stores.write_array(tmp_path / "old/x_list_train/voltage.zarr", np.ones((9, 6)))
    old_stores.write_array(tmp_path / "old/x_list_test/voltage.zarr", np.ones((9, 5)))
    with pytest.raises(ShapeError, match="5 neurons, expected 6 as in"):
        Source.open(tmp_path / "old")
    old_stores.write_array(tmp_path / "new/x_list_0/voltage.zarr", np.ones((30, 6)))
    old_stores.write_array(tmp_path / "new/y_list_0.zarr", np.ones((29, 6, 1)))
    with pytest.raises(ShapeError, match=r"y_list_0\.zarr: got shape \(29, 6, 1\), expected \(30, 6\)"):
        Source.open(tmp_path / "new")


@pytest.mark.parametrize("field", ["voltage", "stimulus"])
def test_values_that_are_not_finite_are_named(tmp_path: Path, field: str) -> None:
    values = old_stores.frames(50)
    values[field][43, 2] = np.nan
    path = old_stores.write(tmp_path / "x", "v3", values)
    with pytest.raises(NonFiniteError, match=rf"x/{field}: nan at frame 43, (neuron|column) 2 .*repair or leave out"):
        convert(planned(path), tmp_path / "recording.zarr")


def test_a_lost_chunk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lobula.data.convert.CHUNK_FRAMES", 7)
    path = old_stores.write(tmp_path / "x", "v3", old_stores.frames(50))
    (path / "voltage.zarr" / "3.0").unlink()  # zarr reads zeros instead
    with pytest.raises(StoreError, match=r"voltage is 0 in all frames 21\.\.27, expected .*copy the store again"):
        convert(planned(path), tmp_path / "recording.zarr")


def test_parameters_that_do_not_fit(tmp_path: Path) -> None:
    folder = old_stores.write_dataset(tmp_path / "old")
    plan, known = planned(folder), old_stores.parameters()

    def attempt(**changes: torch.Tensor) -> bool:
        torch.save({**known, **changes}, folder / "ode_params.pt")
        return convert_with_truth(plan, OldParameters.find((folder,)), tmp_path / "new")

    with pytest.raises(ShapeError, match="weight has 7 values, expected 8, one per edge"):
        attempt(W=known["W"][:7])
    with pytest.raises(ShapeError, match="tau has 7 values, expected 6, one per neuron"):
        attempt(tau_i=torch.ones(7))
    with pytest.raises(NonFiniteError, match="v_rest of neuron 2 is nan"):
        attempt(V_i_rest=torch.tensor([0, 0, torch.nan, 0, 0, 0]))
    assert not (tmp_path / "new" / "truth.zarr").exists()
    assert not attempt(edge_index=torch.from_numpy(EDGES[::-1].copy()))  # other edges than those given
    assert attempt()
    with pytest.raises(StoreError, match="the truth of another recording"):
        convert_with_truth(plan, None, tmp_path / "new")
    (folder / "ode_params.pt").write_bytes(b"nothing")
    with pytest.raises(StoreError, match=r"ode_params\.pt: no readable tensors"):
        OldParameters.find((folder,))
    torch.save([1, 2], folder / "ode_params.pt")
    with pytest.raises(StoreError, match="holds list, expected a tensor or a dictionary"):
        OldParameters.find((folder,))


def test_parameters_that_are_not_whole_leave_the_truth_out(tmp_path: Path) -> None:
    folder = old_stores.write_dataset(tmp_path / "old")
    torch.save({"edge_index": torch.from_numpy(EDGES)}, folder / "ode_params.pt")
    plan = planned(folder)
    assert not convert_with_truth(plan, OldParameters.find((folder,)), tmp_path / "new")
    assert not (tmp_path / "new" / "truth.zarr").exists()
    assert Recording.open(tmp_path / "new/recording.zarr")["test"].n_frames == 30
