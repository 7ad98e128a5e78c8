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


def signal(noise: float) -> Recording:
    return recorded(network(24, seed=1), 900, noise)[0]


@pytest.mark.parametrize(
    ("recording", "values"),
    [
        (planted, ROUNDS_OF_A_FIT),
        (planted, ROUNDS_OF_A_FIT | {"spline.sharing": "type", "spline.start": "best"}),
        (lambda: signal(0.3), SIGNAL),  # by the evidence
        (lambda: signal(0.0), SIGNAL | TYPED),
    ],
    ids=["all", "type", "noisy", "pair"],
)
def test_a_fit_goes_on_after_its_last_round(tmp_path: Path, recording, values: dict) -> None:
    data, config = recording(), ExperimentConfig().with_values(values)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_spline(data, config, whole)
    steps, names = records(whole / ROUNDS), sorted(path.name for path in whole.iterdir())
    assert len(steps) > 4
    for n in {1, 2, len(steps) // 2, len(steps) - 1, len(steps)}:
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
