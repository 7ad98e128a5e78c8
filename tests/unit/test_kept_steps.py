"""A closed-form fit that was killed goes on after its last round, to the bit."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.support.planted import DT, planted_circuit
from tests.support.signal_recordings import network, recorded

from lobula.config import ExperimentConfig
from lobula.data.kept_steps import KeptSteps
from lobula.data.recording import Recording
from lobula.training.closed_form import ROUNDS, train_spline

ROUNDS_OF_A_FIT = {"spline.n_knots": 6, "spline.n_rounds": 5, "spline.own_knots": 5, "recovery.n_cell_types": 3}
SIGNAL = ROUNDS_OF_A_FIT | {"update.form": "self_coupling", "spline.start": "best", "spline.basis": "cubic"}
CHANGING = SIGNAL | {
    "training.estimators": ["spline"],
    "training.target": "drift",
    "update.form": "tanh",
    "update.weights": "absolute",
    "spline.n_rounds": 3,
}
PLASTIC = [[10.0, 1.0, 1.0, 20.0, 0.05], [10.0, 2.0, 2.0, 8.0, 0.1]]
WIDE = [[10.0, 1.0, 1.0, 1.0, 20.0, 0.05], [10.0, 2.0, 2.0, 4.0, 20.0, 0.05]]
DRIFTING = [[10.0, 1.0, 1.0], [6.0, 2.0, 2.0]]
TYPED = {"update.weights": "absolute", "spline.sharing": "pair", "spline.curve_neurons": 12}


def test_steps_are_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def step(n: int) -> np.ndarray:
        calls.append(n)
        return np.arange(n) / 7

    first = KeptSteps(tmp_path / "deep" / "steps.npy")
    before = [first.once(step, n) for n in (2, 3)]
    again = KeptSteps(tmp_path / "deep" / "steps.npy")
    after = [again.once(step, n) for n in (2, 3, 4)]
    assert calls == [2, 3, 4]
    for one, two in zip(before, after, strict=False):
        np.testing.assert_array_equal(one, two)


def test_a_record_that_was_cut_short_is_computed_again(tmp_path: Path) -> None:
    path = tmp_path / "steps.npy"
    kept = KeptSteps(path)
    for n in (20, 30):
        kept.once(np.arange, n)
    whole = path.read_bytes()
    for cut in (1, 50, 239, len(whole) - 130):
        path.write_bytes(whole[:-cut])
        kept = KeptSteps(path)
        assert [len(kept.once(np.arange, n)) for n in (20, 30)] == [20, 30]
        assert path.read_bytes() == whole


def test_a_file_of_other_inputs_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "steps.npy"

    def value(inputs: str, computed: int) -> int:
        return int(KeptSteps(path, inputs).once(np.array, computed))

    assert [value("some", 1), value("some", 2), value("others", 3), value("others", 4)] == [1, 1, 3, 3]


def records(path: Path) -> list[bytes]:
    """What a file keeps, one by one."""
    content, stream, found = path.read_bytes(), io.BytesIO(path.read_bytes()), [0]
    while stream.tell() < len(content):
        np.load(stream)
        found.append(stream.tell())
    return [content[a:b] for a, b in pairwise(found)]


def planted() -> Recording:
    circuit = planted_circuit(n_frames=1200)
    return Recording.from_arrays(circuit.voltage, circuit.wiring, DT, circuit.stimulus, circuit.drift)


def signal(noise: float, n: int = 24, **kind) -> Recording:
    return recorded(network(n, seed=1, **kind), 900, noise)[0]


@pytest.mark.parametrize(
    ("recording", "values"),
    [
        (planted, ROUNDS_OF_A_FIT),
        (planted, ROUNDS_OF_A_FIT | {"spline.sharing": "type", "spline.start": "best"}),
        (lambda: signal(0.3), SIGNAL),  # by the evidence
        (lambda: signal(0.0), SIGNAL | TYPED),
        (lambda: signal(0.2, 12, model="N6", parameters=PLASTIC), CHANGING | {"update.varying": "plasticity"}),
        (
            lambda: signal(0.2, 12, model="N3", drift_period=9.0, parameters=DRIFTING),
            CHANGING | {"update.varying": "drift", "update.drift_period": 9.0},
        ),
        (
            lambda: signal(0.3, 12, model="N7", parameters=WIDE),
            CHANGING | {"update.varying": "plasticity", "spline.sharing": "receiver"},
        ),
    ],
    ids=["all", "type", "noisy", "pair", "plasticity", "drift", "receiver"],
)
def test_a_fit_goes_on_after_its_last_round(tmp_path: Path, recording, values: dict) -> None:
    data, config = recording(), ExperimentConfig().with_values(values)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_spline(data, config, whole)
    steps, names = records(whole / ROUNDS), sorted(path.name for path in whole.iterdir())
    assert len(steps) > 4
    for n in {1, len(steps) - 2}:
        cut.mkdir(exist_ok=True)
        for path in cut.iterdir():
            path.unlink()
        (cut / ROUNDS).write_bytes(b"".join(steps[:n]) + b"cut short")
        shown: list[int] = []
        train_spline(data, config, cut, lambda round_, score, shown=shown: shown.append(round_))
        assert sorted(path.name for path in cut.iterdir()) == names
        for name in names:
            assert (cut / name).read_bytes() == (whole / name).read_bytes(), (n, name)
        assert len(shown) > 2  # rounds that are known are shown, too
