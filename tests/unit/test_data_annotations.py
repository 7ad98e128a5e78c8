"""Annotations: what is stored, what is refused, and that nobody reads them unasked."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.planted import DT, Typed, typed_circuit

import lobula
from lobula.config import ExperimentConfig
from lobula.connectome import optic_lobe
from lobula.data.annotations import Annotations, annotate, read_facts
from lobula.data.recording import Recording
from lobula.data.store import RecordingWriter
from lobula.data.wiring import Wiring
from lobula.errors import LobulaError, MissingInputError, ShapeError, StoreError
from lobula.regression import solver_for
from lobula.simulation import simulate


@pytest.fixture(scope="module")
def circuit() -> Typed:
    return typed_circuit(n=16, n_types=3, in_degree=5, n_frames=200)


def write(path: Path, circuit: Typed, annotations: Annotations | None = None) -> Recording:
    p = circuit.planted
    frames = {"train": len(p.voltage)}
    with RecordingWriter.create(path, p.wiring, DT, frames, ("voltage",), annotations=annotations) as writer:
        writer.append("train", voltage=p.voltage)
    return Recording.open(path)


def with_prior(**values: object) -> ExperimentConfig:
    return ExperimentConfig().with_values({f"prior.{name}": value for name, value in values.items()})


def test_annotations_survive_the_store(tmp_path: Path, circuit: Typed) -> None:
    names = np.array(["Mi1", "Tm3", "T4a"])[circuit.cell_type]
    given = Annotations.checked(circuit.planted.wiring, names, circuit.n_synapses, circuit.sign)
    found = write(tmp_path / "r.zarr", circuit, given).annotations
    assert found.cell_type_names == ("Mi1", "T4a", "Tm3")
    np.testing.assert_array_equal(np.array(found.cell_type_names)[found.cell_type], names)
    np.testing.assert_array_equal(found.n_synapses, circuit.n_synapses)
    np.testing.assert_array_equal(found.sign, circuit.sign)
    assert found.known == ("cell_type", "n_synapses", "sign")


def test_every_part_is_optional(tmp_path: Path, circuit: Typed) -> None:
    assert write(tmp_path / "none.zarr", circuit).annotations.known == ()
    assert not (tmp_path / "none.zarr" / "annotations").exists()
    given = Annotations.checked(circuit.planted.wiring, sign=circuit.sign)
    found = write(tmp_path / "sign.zarr", circuit, given).annotations
    assert (found.known, found.cell_type, found.cell_type_names) == (("sign",), None, ())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"cell_type": np.zeros(3, int)}, r"cell_type: got shape \(3,\), expected \(16,\)"),
        ({"n_synapses": np.ones(16)}, r"n_synapses: got shape \(16,\), expected \(80,\)"),
        ({"n_synapses": np.zeros(80)}, "expected counts > 0"),
        ({"n_synapses": np.full(80, np.nan)}, "expected counts > 0"),
        ({"sign": np.full(16, 2)}, r"sign: got \[2\], expected \+1, -1, or 0"),
        ({"sign": np.ones((16, 1))}, "one value per neuron"),
        ({"cell_type": np.full(16, 5), "cell_type_names": ("a", "b")}, "expected indices into 2 names"),
    ],
)
def test_what_does_not_fit_is_refused(circuit: Typed, given: dict, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        Annotations.checked(circuit.planted.wiring, **given)


@pytest.mark.parametrize(
    ("values", "lacking"),
    [({"synapse_counts": True}, "n_synapses"), ({"tied": "soft"}, "cell_type"), ({"sign": "known"}, "sign")],
)
def test_a_prior_without_its_annotation_is_one_clear_error(circuit: Typed, values: dict, lacking: str) -> None:
    p = circuit.planted
    recording = Recording.from_arrays(p.voltage, p.wiring, DT)
    with pytest.raises(MissingInputError, match=f"holds no annotations, expected {lacking}; add it with") as caught:
        solver_for(with_prior(**values).prior, recording)
    assert isinstance(caught.value, LobulaError)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"prior.{next(iter(values))}")


def test_signs_can_be_inferred_without_annotations(circuit: Typed) -> None:
    p = circuit.planted
    settings = {"method": "ridge", "prior.sign": "inferred"}
    found = lobula.fit(p.voltage, p.wiring, DT, p.stimulus, **settings)
    assert found.notes["prior"] == "Dale inferred"


def test_the_store_takes_counts_in_the_order_of_the_edges_given(tmp_path: Path, circuit: Typed) -> None:
    wiring = circuit.planted.wiring
    order = np.random.default_rng(0).permutation(wiring.n_edges)
    shuffled = Wiring.from_edges(wiring.edge_index[:, order], wiring.n_neurons)
    with RecordingWriter.create(tmp_path / "r.zarr", shuffled, DT, {"train": 0}, ("voltage",)):
        pass
    assert annotate(tmp_path / "r.zarr", n_synapses=circuit.n_synapses[order]) == ("n_synapses",)
    found = Recording.open(tmp_path / "r.zarr").annotations
    np.testing.assert_array_equal(found.n_synapses, circuit.n_synapses)
    assert annotate(tmp_path / "r.zarr", sign=circuit.sign) == ("n_synapses", "sign")
    assert annotate(tmp_path / "r.zarr", sign=-circuit.sign) == ("n_synapses", "sign")
    again = Recording.open(tmp_path / "r.zarr").annotations
    np.testing.assert_array_equal(again.sign, -circuit.sign)
    np.testing.assert_array_equal(again.n_synapses, circuit.n_synapses)
    with pytest.raises(ShapeError, match="n_synapses: got shape"):
        annotate(tmp_path / "r.zarr", n_synapses=np.ones(3))


def test_files_of_facts_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", sign=np.ones(3))
    assert set(read_facts(tmp_path / "good.npz")) == {"sign"}
    np.savez(tmp_path / "bad.npz", weight=np.ones(3))
    with pytest.raises(ShapeError, match="holds weight, expected any of cell_type, n_synapses, sign"):
        read_facts(tmp_path / "bad.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(StoreError, match="no readable"):
        read_facts(tmp_path / "text.npz")
    with pytest.raises(MissingInputError, match="no such file"):
        read_facts(tmp_path / "none.npz")


def test_the_simulator_annotates_and_nobody_reads_it_unasked(tmp_path: Path) -> None:
    values = {"connectome.extent": 1, "simulation.n_frames": 60, "simulation.n_frames_validation": 30}
    config = ExperimentConfig().with_values(values | {"simulation.n_frames_test": 30, "training.estimators": ["ridge"]})
    lobula.simulate(config, tmp_path, progress=False)
    found, c = Recording.open(tmp_path / "recording.zarr").annotations, optic_lobe(1)
    np.testing.assert_array_equal(found.cell_type, c.cell_type)
    np.testing.assert_array_equal(found.n_synapses, c.n_syn)
    assert found.cell_type_names == c.cell_type_names
    assert found.sign is not None
    pre = c.wiring.pre
    for j in range(c.n_neurons):  # 0 for both signs, or no output
        own = set(c.sign[pre == j].tolist())
        assert found.sign[j] == (own.pop() if len(own) == 1 else 0)
    for file in (tmp_path / "recording.zarr" / "annotations").rglob("zarr.json"):
        file.write_text("{")
    lobula.train(config, tmp_path, progress=False)
    with pytest.raises(StoreError, match="annotations are damaged"):
        lobula.train(config.with_values({"prior.tied": "hard"}), tmp_path, progress=False)
    shutil.rmtree(tmp_path / "recording.zarr" / "annotations")
    with pytest.raises(MissingInputError, match=r"prior\.tied=hard"):
        lobula.train(config.with_values({"prior.tied": "hard"}), tmp_path, progress=False)


def test_a_recording_of_yesterday_goes_on(tmp_path: Path) -> None:
    """A store without annotations has the digest of one with them: it is resumed, not written again."""
    values = {"connectome.extent": 1, "simulation.n_frames": 40, "simulation.n_frames_validation": 20}
    config = ExperimentConfig().with_values(values | {"simulation.n_frames_test": 20})
    path = simulate(config, tmp_path, progress=False)
    shutil.rmtree(path / "annotations")
    before = (path / "train" / "voltage" / "c" / "0" / "0").stat().st_mtime_ns
    simulate(config, tmp_path, progress=False)
    assert (path / "train" / "voltage" / "c" / "0" / "0").stat().st_mtime_ns == before
    assert Recording.open(path).annotations.known == ()
