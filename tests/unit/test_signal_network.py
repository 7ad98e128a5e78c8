"""Random connectivity: its statistics, its files, and that a list of edges and a matrix say the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.signal_equations import dense

import lobula
from lobula.connectome import Connectome, Draw
from lobula.connectome.random import CONNECTIVITY, lorentz, lorentz_exponent, low_rank
from lobula.data import Recording, RecordingWriter, Streams, Wiring
from lobula.data import wiring as wiring_module
from lobula.errors import EdgeError, LobulaError, MissingInputError, NonFiniteError, ShapeError, StoreError
from lobula.kernels import SparsePattern, message_sum
from lobula.metrics import spectral_radius
from lobula.simulation import SignalCircuit

NOTHING = np.zeros(0, dtype=np.float32)
# from neuron j to neuron i: rows are postsynaptic, and nothing is symmetric
MATRIX = np.array([[0, 2.0, 0, 0], [0, 0, -3, 0], [0, 0, 0, 0.5], [4, 0, 1, 0]])


def draw(n: int, rank: int = 5, seed: int = 0) -> Draw:
    return Draw(n, np.arange(n) * 4 // n, rank, Streams(seed))


@given(st.data())
def test_edges_and_matrix_carry_the_same_messages(data):
    n = data.draw(st.integers(2, 9))
    pairs = [(j, i) for j in range(n) for i in range(n) if i != j]
    chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    matrix = np.zeros((n, n))
    for pre, post in chosen:
        matrix[post, pre] = rng.standard_normal()
    edges = np.array(chosen).T
    wiring = Wiring.from_edges(edges, n)
    weight = matrix[wiring.post, wiring.pre]
    h = rng.standard_normal((n, 2))
    expected = matrix @ h
    by_edge = message_sum(torch.from_numpy(weight), torch.from_numpy(h), SparsePattern(wiring))
    by_matrix = message_sum(torch.from_numpy(wiring.csr(weight).toarray()), torch.from_numpy(h))
    np.testing.assert_allclose(by_edge.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(by_matrix.numpy(), expected, atol=1e-12)
    turned = Wiring.from_edges(edges[::-1], n)  # the published mistake: the same matrix on the edges turned round
    wrong = message_sum(torch.from_numpy(matrix[turned.post, turned.pre]), torch.from_numpy(h), SparsePattern(turned))
    assert np.allclose(wrong.numpy(), expected, atol=1e-9) == np.array_equal(matrix != 0, matrix.T != 0)


@pytest.mark.parametrize("fill", [0.08, 0.5])  # sparse and dense
def test_what_is_simulated_is_the_matrix(fill):
    c = lobula.signal_network(40, fill=fill, seed=2)
    u = np.random.default_rng(0).standard_normal(40).astype(np.float32)
    g, s, leak = (c.equation.column(name)[c.cell_type] for name in "gsc")
    expected = g * (dense(c) @ np.tanh(u)) + s * np.tanh(u) - leak * u
    np.testing.assert_allclose(SignalCircuit(c).drift(u, NOTHING), expected, atol=1e-5)
    np.testing.assert_allclose(c.wiring.csr(c.effective_weight).toarray(), g[:, None] * dense(c))


@pytest.mark.parametrize("kind", CONNECTIVITY)
def test_every_kind_has_no_self_connection_and_follows_its_seed(kind):
    c = lobula.signal_network(40, connectivity=kind, fill=0.7, seed=5)
    assert (c.wiring.pre != c.wiring.post).all()
    again, other = (lobula.signal_network(40, connectivity=kind, fill=0.7, seed=seed) for seed in (5, 6))
    np.testing.assert_array_equal(dense(again), dense(c))
    np.testing.assert_array_equal(again.wiring.edge_index, c.wiring.edge_index)
    assert not np.array_equal(other.wiring.edge_index, c.wiring.edge_index)
    np.testing.assert_array_equal(c.cell_type, np.repeat(np.arange(4), 10))


def test_share_of_connections():
    n = 300
    for fill in (0.05, 0.75):
        c = lobula.signal_network(n, fill=fill)
        n_pairs = n * (n - 1)
        assert abs(c.n_edges - fill * n_pairs) < 5 * np.sqrt(n_pairs * fill * (1 - fill))
    full = lobula.signal_network(n)
    assert full.n_edges == n * (n - 1)
    some = lobula.signal_network(n, fill=0.75)
    np.testing.assert_array_equal(dense(full)[some.wiring.post, some.wiring.pre], some.weight)  # the others are cut


def test_cauchy_weights():
    n = 400
    weight = lorentz(draw(n)) * n**0.7
    assert np.abs(weight).max() <= 25
    zero = 1 - 2 / np.pi * np.arctan(25)
    assert np.mean(weight == 0) == pytest.approx(zero, rel=0.05)
    for quantile, magnitude in ((0.5, 1.0), (0.75, 1 + np.sqrt(2))):  # of a Cauchy law: tan(pi q / 2)
        assert np.quantile(np.abs(weight[weight != 0]), quantile * (1 - zero) / (1 - zero)) == pytest.approx(
            np.tan(np.pi * quantile * (1 - zero) / 2), rel=0.03
        )
        assert np.tan(np.pi * quantile / 2) == pytest.approx(magnitude)
    assert [lorentz_exponent(n) for n in (1999, 2000, 3999, 4000, 7999, 8000, 8001)] == [
        *(0.7, 0.675, 0.675, 0.67, 0.67),
        *(0.66, 0.5),
    ]


def test_normal_weights_have_spectral_radius_one():
    c = lobula.signal_network(500, connectivity="gaussian", seed=1)
    radius = spectral_radius(c.wiring.csr(c.weight))
    assert radius == pytest.approx(1, abs=0.1)
    assert spectral_radius(c.wiring.csr(c.effective_weight)) == pytest.approx(10 * radius)


def test_low_rank_weights_have_that_rank_but_for_the_diagonal():
    values = np.linalg.svd(low_rank(draw(80)), compute_uv=False)
    assert values[4] > 0.1
    assert values[5] < 1e-12
    c = lobula.signal_network(80, connectivity="low_rank", rank=5)
    full = low_rank(draw(80))
    np.testing.assert_array_equal(dense(c), full - np.diag(np.diag(full)))


def test_ring_and_successor():
    n = 12
    ring = dense(lobula.signal_network(n, connectivity="ring_attractor"))
    np.testing.assert_allclose(ring, ring.T)
    np.testing.assert_allclose(ring[0, 3], (np.cos(2 * np.pi * 3 / n) + 0.5) / n)
    chain = np.linalg.inv(np.eye(n) - 0.98 * np.eye(n, k=1))
    np.testing.assert_allclose(dense(lobula.signal_network(n, connectivity="successor")), chain - np.eye(n), atol=1e-12)


def test_structured_weights_have_one_sign_per_pair_of_types():
    c = lobula.signal_network(80, connectivity="structured", seed=1)
    kept = c.weight != 0
    pair = 4 * c.cell_type[c.wiring.post] + c.cell_type[c.wiring.pre]
    signs = [np.unique(np.sign(c.weight[kept & (pair == k)])) for k in range(16)]
    assert all(len(sign) == 1 for sign in signs)
    assert len(np.unique(np.concatenate(signs))) == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_dale_law(share):
    free = lobula.signal_network(50, fill=0.6)
    c = lobula.signal_network(50, fill=0.6, dale_law=True, dale_factor=share)
    excites = c.wiring.pre < round(50 * share)
    assert (c.weight[excites] >= 0).all()
    assert (c.weight[~excites] <= 0).all()
    np.testing.assert_array_equal(np.abs(c.weight), np.abs(free.weight))


def write(path: Path, matrix: np.ndarray = MATRIX) -> Path:
    """The matrix in the form that the file's name asks for."""
    post, pre = np.nonzero(matrix)
    order = np.argsort(matrix[post, pre])  # as an exporter may leave it
    post, pre = post[order], pre[order]
    weight = matrix[post, pre]
    if path.suffix == ".npy":
        np.save(path, matrix)
    elif path.stem == "matrix" and path.suffix == ".csv":
        np.savetxt(path, matrix, delimiter=",")
    elif path.suffix == ".csv":
        rows = "\n".join(f"{j},{i},{w}" for j, i, w in zip(pre, post, weight, strict=True))
        path.write_text(f"pre,post,weight\n{rows}\n")
    elif path.stem == "matrix":
        torch.save(torch.from_numpy(matrix), path)
    elif path.suffix == ".npz":
        np.savez(path, edge_index=np.stack([pre, post]), weight=weight)
    else:
        torch.save({"edge_index": torch.from_numpy(np.stack([pre, post])), "W": torch.from_numpy(weight)}, path)
    return path


@pytest.mark.parametrize("name", ["matrix.npy", "matrix.csv", "matrix.pt", "edges.csv", "edges.npz", "edges.pt"])
def test_weights_of_a_file(tmp_path, name):
    file = write(tmp_path / name)
    c = lobula.signal_network(4, connectivity="file", connectivity_file=file)
    np.testing.assert_array_equal(dense(c), MATRIX)
    assert c.n_edges == 5


def test_a_file_may_hold_self_connections_which_are_left_out(tmp_path):
    file = write(tmp_path / "matrix.npy", MATRIX + np.eye(4))
    np.testing.assert_array_equal(dense(lobula.signal_network(4, "file", connectivity_file=file)), MATRIX)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.npy", None, MissingInputError, "no file"),
        ("weights.mat", b"x", LobulaError, "expected a file of .npy, .npz, .csv, .pt"),
        ("weights.npy", b"x", StoreError, "cannot be read"),
        ("weights.pt", b"x", StoreError, "cannot be read"),
        ("weights.csv", b"a,b\n1,x\n", StoreError, "cannot be read"),
        ("weights.npy", np.zeros((3, 3)), ShapeError, r"shape \(3, 3\), expected \(4, 4\); set signal.n_neurons"),
        ("weights.npy", np.zeros(4), ShapeError, "expected a matrix"),
        ("weights.npy", np.full((4, 4), np.nan), NonFiniteError, "12 weights are NaN|16 weights are NaN"),
        ("weights.csv", b"pre,post,weight\n0,9,1\n", EdgeError, "out of range"),
        ("weights.csv", b"pre,post,weight\n0,1,1\n0,1,2\n", EdgeError, "appears twice"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, name, content, error, message):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        np.save(file, content)
    with pytest.raises(error, match=message):
        lobula.signal_network(4, "file", connectivity_file=file)


@pytest.mark.parametrize("model", ["N2", "N7", "N11"])
def test_a_stored_network_is_read_back(tmp_path, model):
    c = lobula.signal_network(20, fill=0.5, model=model, n_driven=5, drift_period=3.0)
    c.save(tmp_path / "truth.zarr")
    read = Connectome.load(tmp_path / "truth.zarr")
    for name in ("weight", "tau", "v_rest", "cell_type", "n_syn", "sign", "columns", "effective_weight"):
        np.testing.assert_array_equal(getattr(read, name), getattr(c, name), err_msg=name)
    np.testing.assert_array_equal(read.wiring.edge_index, c.wiring.edge_index)
    np.testing.assert_array_equal(read.wiring.stimulus_column, c.wiring.stimulus_column)
    kept = ("model", "names", "message_functions", "drift_period")
    assert [getattr(read.equation, name) for name in kept] == [getattr(c.equation, name) for name in kept]
    np.testing.assert_array_equal(read.equation.table, c.equation.table)


@pytest.mark.parametrize("relabelled", [False, True])
def test_where_most_pairs_are_connected_a_store_holds_bits(tmp_path, monkeypatch, relabelled):
    monkeypatch.setattr(wiring_module, "DENSE_EDGES", 10)
    wiring = lobula.signal_network(21, fill=0.6).wiring
    if relabelled:
        wiring = wiring.relabel(np.random.default_rng(0).permutation(21))
    RecordingWriter.create(tmp_path / "a.zarr", wiring, 0.01, {"train": 2}, ("voltage",)).append(
        "train", voltage=np.zeros((2, 21))
    )
    assert not (tmp_path / "a.zarr" / "wiring" / "edge_index").exists()
    read = Recording.open(tmp_path / "a.zarr").wiring
    np.testing.assert_array_equal(read.edge_index, wiring.edge_index)
    np.testing.assert_array_equal(read.edge_order, wiring.edge_order)


def test_neurons_that_see_an_eye():
    c = lobula.signal_network(100, fill=0.1, n_driven=30, seed=1)
    assert c.wiring.n_columns == 30
    assert len(c.receptors) == 30
    np.testing.assert_array_equal(np.sort(c.wiring.stimulus_column[c.receptors]), np.arange(30))
    assert len(np.unique(c.columns, axis=0)) == 30
    assert len(np.unique(c.cell_type[c.receptors])) == 4
    np.testing.assert_array_equal(c.weight, lobula.signal_network(100, fill=0.1, seed=1).weight)


def test_time_constants_and_rests():
    c = lobula.signal_network(8, parameters=[[10, 1, 1], [10, 2, 1], [10, 1, 2], [10, 2, 2]])
    np.testing.assert_array_equal(c.tau, [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(c.v_rest, 0)
    n4 = lobula.signal_network(8, model="N4", parameters=[[2, 3, 1, 1, 1, 0], [4, -1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(n4.tau, [0.5] * 4 + [0.25] * 4)
    np.testing.assert_array_equal(n4.v_rest, [1.5] * 4 + [-0.25] * 4)
    alone = n4.with_weight(np.zeros(n4.n_edges))
    without_self = [[2, 3, 1, 0, 1, 0], [4, -1, 1, 0, 1, 0]]
    alone = lobula.signal_network(8, model="N4", parameters=without_self).with_weight(alone.weight)
    np.testing.assert_allclose(lobula.integrate(alone, 1_000)[-1], n4.v_rest, atol=1e-4)
