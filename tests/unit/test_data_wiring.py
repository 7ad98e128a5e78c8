"""Wiring: sorted edges, both directions, columns, and what makes a list of edges invalid."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from lobula.data.wiring import Wiring
from lobula.errors import EdgeError, ShapeError, StoreError


@st.composite
def wirings(draw: st.DrawFn) -> Wiring:
    n = draw(st.integers(1, 8))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), unique=True, max_size=20))
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    columns = np.array(draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n)))
    return Wiring.from_edges(edges, n, stimulus_column=columns, n_columns=4)


def dense(wiring: Wiring, values: np.ndarray) -> np.ndarray:
    matrix = np.zeros((wiring.n_neurons, wiring.n_neurons))
    matrix[wiring.post, wiring.pre] = values
    return matrix


def test_edges_are_sorted_by_post_then_pre() -> None:
    given_edges = np.array([[3, 0, 2, 1], [1, 2, 1, 0]])
    wiring = Wiring.from_edges(given_edges, 4)
    assert wiring.edge_index.tolist() == [[1, 2, 3, 0], [0, 1, 1, 2]]
    assert np.array_equal(wiring.edge_index, given_edges[:, wiring.edge_order])
    assert wiring.edge_index.dtype == np.int64
    assert wiring.indptr.tolist() == [0, 1, 3, 4, 4]
    assert wiring.in_degree.tolist() == [1, 2, 1, 0]
    assert wiring.out_degree.tolist() == [1, 1, 1, 1]


def test_arrays_are_read_only(small_wiring: Wiring) -> None:
    for array in (small_wiring.edge_index, small_wiring.indptr, small_wiring.transpose[0], small_wiring.neuron_ids):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@given(wirings())
def test_csr_sums_over_sources_and_transpose_lists_targets(wiring: Wiring) -> None:
    values = np.arange(1.0, wiring.n_edges + 1)
    matrix = dense(wiring, values)
    assert np.array_equal(wiring.csr(values).toarray(), matrix)
    perm, indptr_out = wiring.transpose
    for j in range(wiring.n_neurons):
        out = perm[indptr_out[j] : indptr_out[j + 1]]
        assert np.array_equal(wiring.post[out], np.flatnonzero(matrix[:, j]))
        assert np.array_equal(matrix[wiring.post[out], j], values[out])


@given(wirings(), st.randoms(use_true_random=False))
def test_relabelling_neurons_permutes_messages_and_input(wiring: Wiring, random) -> None:
    perm = np.array(random.sample(range(wiring.n_neurons), wiring.n_neurons))
    relabelled = wiring.relabel(perm)
    values, signal = np.arange(1.0, wiring.n_edges + 1), np.arange(1.0, wiring.n_neurons + 1)
    sums = relabelled.csr(values[relabelled.edge_order]) @ signal[perm]
    assert np.array_equal(sums, (wiring.csr(values) @ signal)[perm])
    stimulus = np.arange(8.0).reshape(2, 4)
    if wiring.n_neurons != 4:
        assert np.array_equal(relabelled.spread(stimulus), wiring.spread(stimulus)[:, perm])
    assert np.array_equal(relabelled.neuron_ids, wiring.neuron_ids[perm])


def test_subset_keeps_the_edges_among_its_neurons(small_wiring: Wiring) -> None:
    part = small_wiring.subset(np.array([4, 2, 3]))
    assert part.edge_index.tolist() == [[0, 2, 1], [0, 0, 2]]
    kept = small_wiring.edge_index[:, part.edge_order]
    assert np.array_equal(np.array([4, 2, 3])[part.edge_index], kept)
    assert part.neuron_ids.tolist() == [4, 2, 3]
    with pytest.raises(ShapeError, match="distinct"):
        small_wiring.subset(np.array([1, 1]))


def test_spread_per_column_and_per_neuron(small_wiring: Wiring) -> None:
    per_column = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=np.float32)
    assert small_wiring.spread(per_column).tolist() == [[3, 1, 0, 0, 0], [6, 4, 0, 0, 0]]
    assert small_wiring.spread(per_column[0]).tolist() == [3, 1, 0, 0, 0]
    assert small_wiring.spread(per_column).dtype == np.float32
    per_neuron = np.ones((2, 5))
    assert small_wiring.spread(per_neuron) is per_neuron
    with pytest.raises(ShapeError, match=r"\(T, 3\) per column or \(T, 5\) per neuron"):
        small_wiring.spread(np.ones((2, 4)))


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        ([[0, 1], [1, 3]], EdgeError, r"edge 1 \(1 -> 3\) is out of range, expected 0..2"),
        ([[0, -1], [1, 2]], EdgeError, "out of range"),
        ([[0, 1, 0], [1, 2, 1]], EdgeError, "edge 0 -> 1 appears twice"),
        ([[0, 1], [1, 2], [2, 0]], ShapeError, "transpose it"),
        ([0, 1], ShapeError, r"expected \(2, n_edges\)"),
        ([[0.0, 1.0], [1.0, 2.0]], ShapeError, "expected integers"),
    ],
)
def test_invalid_edges(edges: list, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Wiring.from_edges(np.array(edges), 3)


@pytest.mark.parametrize(
    ("columns", "ids", "message"),
    [
        ([0, 1], None, "stimulus_column: got shape"),
        ([0, 1, -2], None, "expected -1"),
        ([0.0, 1.0, 2.0], None, "integers"),
        (None, [1, 1, 2], "neuron_ids: 1 ids appear twice"),
        (None, [1.5, 2.5, 3.5], "integers or strings"),
        (None, [1, 2], "neuron_ids: got shape"),
    ],
)
def test_invalid_columns_and_ids(columns: list | None, ids: list | None, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Wiring.from_edges(np.array([[0], [1]]), 3, stimulus_column=columns, neuron_ids=ids)


def test_no_edges_is_a_wiring() -> None:
    wiring = Wiring.from_edges(np.zeros((2, 0), dtype=int), 2)
    assert (wiring.n_edges, wiring.indptr.tolist()) == (0, [0, 0, 0])
    assert wiring.csr(np.zeros(0)).shape == (2, 2)


@pytest.mark.parametrize("ids", [None, [10, 7, 3], ["AVAL", "AVAR", "PVCL"]])
def test_saved_wiring_is_read_back(tmp_path: Path, ids: list | None) -> None:
    wiring = Wiring.from_edges(np.array([[2, 0, 1], [0, 1, 2]]), 3, np.array([0, -1, 1]), ids, n_columns=5)
    wiring.save(zarr.create_group(tmp_path / "wiring.zarr"))
    loaded = Wiring.load(zarr.open_group(tmp_path / "wiring.zarr", mode="r"))
    for name in ("edge_index", "stimulus_column", "neuron_ids", "edge_order"):
        assert np.array_equal(getattr(loaded, name), getattr(wiring, name)), name
    assert (loaded.n_neurons, loaded.n_columns) == (3, 5)


def test_group_without_wiring_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no wiring here"):
        Wiring.load(zarr.create_group(tmp_path / "empty.zarr"))
