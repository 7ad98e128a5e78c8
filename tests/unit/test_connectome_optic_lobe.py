"""The tiled optic lobe equals the published graph, to the bit and in its order."""

import hashlib
import time
from importlib import resources

import numpy as np
import pytest

from lobula.connectome import build_graph, hexagonal_columns, optic_lobe, optic_lobe_types
from lobula.errors import ConfigError

PUBLISHED = {
    8: {
        "sizes": (13_741, 434_112, 1_736, 217),
        "signs": (282_123, 151_989, 3_724),
        "sums": (1_594_991.492350, 259_376.720071),
        "degrees": (208, 256, 44, 462),
        "edges": "efc5966afb655b038852bbd0d44db962f5280ef74eebfefca7638e3e0c3a0d1b",
        "neurons": "edb04d0bc1008a6463041139ca6d0fd84528b298956e5101f6ced78fd2c2b19e",
    },
    15: {
        "sizes": (45_669, 1_513_231, 5_768, 721),
        "signs": (983_980, 529_251, 12_380),
        "sums": (5_440_440.568876, 910_339.609823),
        "degrees": (208, 256, 79, 1_492),
        "edges": "fca7c9edcc30e821b3f9c89fb12f87aef3247a274926ced31fb4ceb0e51ecfaf",
        "neurons": "2fccabb38cc4379589a00d54e3a0c93cc78e6a1b91597466b8210b5a87b2949c",
    },
}


def digest(*arrays: np.ndarray) -> str:
    joined = hashlib.sha256()
    for array in arrays:
        joined.update(np.ascontiguousarray(array).tobytes())
    return joined.hexdigest()


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda extent: f"extent{extent}")
def published(request):
    """An extent's connectome and what was published about it."""
    return optic_lobe(request.param), PUBLISHED[request.param]


def test_sizes(published):
    c, expected = published
    assert (c.n_neurons, c.n_edges, c.receptors.size, c.n_columns) == expected["sizes"]


def test_signs_and_self_loops(published):
    c, expected = published
    n_self = int((c.wiring.pre == c.wiring.post).sum())
    assert (int((c.sign > 0).sum()), int((c.sign < 0).sum()), n_self) == expected["signs"]


def test_synapse_sums(published):
    c, expected = published
    assert (c.n_syn.sum(), c.sign @ c.n_syn) == pytest.approx(expected["sums"], abs=1e-6, rel=0)


def test_degrees(published):
    c, expected = published
    into, out = c.wiring.in_degree, c.wiring.out_degree
    assert (into.max(), out.max(), (into == 0).sum(), (out == 0).sum()) == expected["degrees"]


def test_edge_digest(published):
    c, expected = published
    pre, post = c.wiring.edge_index.astype("<i4")
    assert digest(pre, post, c.sign.astype("<f4"), c.n_syn.astype("<f4")) == expected["edges"]


def test_neuron_digest(published):
    c, expected = published
    assert digest(c.cell_type.astype("<i4"), c.u.astype("<i4"), c.v.astype("<i4")) == expected["neurons"]


def test_receptors_are_the_first_eight_types_and_see_their_own_column(published):
    c, _ = published
    np.testing.assert_array_equal(c.receptors, np.arange(8 * c.n_columns))
    assert [c.cell_type_names[i] for i in range(8)] == [f"R{i}" for i in range(1, 9)]
    seen = c.columns[c.wiring.stimulus_column[c.receptors]]
    np.testing.assert_array_equal(seen, np.stack([c.u, c.v], axis=1)[c.receptors])


def test_gap_filling_adds_238_offsets():
    types = optic_lobe_types()
    assert (types.n_types, types.n_pairs, types.offset_pair.size) == (65, 605, 2_140 + 238)


def test_604_pairs_and_2355_offsets_are_used():
    graph, types = build_graph(8), optic_lobe_types()
    assert np.unique(graph.edge_pair).size == 604
    np.testing.assert_array_equal(np.unique(graph.edge_offset), np.flatnonzero(types.offset_used))
    assert types.offset_used.sum() == 2_355


def test_weight_is_sign_times_count_times_strength_of_the_pair():
    c, graph = optic_lobe(3), build_graph(3)
    strength = c.weight / (c.sign * c.n_syn)
    by_pair = {pair: strength[graph.edge_pair == pair] for pair in np.unique(graph.edge_pair)}
    assert all(np.ptp(values) < 1e-12 and values[0] > 0 for values in by_pair.values())


@pytest.mark.parametrize("extent", [0, 1, 2, 5])
def test_columns_fill_the_hexagon_in_order(extent):
    columns = hexagonal_columns(extent)
    assert len(columns) == 3 * extent * (extent + 1) + 1
    assert columns.tolist() == sorted(columns.tolist())
    assert np.abs(np.stack([columns[:, 0], columns[:, 1], columns.sum(axis=1)])).max(initial=0) == extent


def test_column_positions_are_a_regular_lattice():
    c = optic_lobe(2)
    distance = np.linalg.norm(c.column_positions[:, None] - c.column_positions[None], axis=2)
    assert distance[distance > 0].min() == pytest.approx(1.0)
    centre = int(np.flatnonzero((c.columns == 0).all(axis=1))[0])
    assert np.isclose(distance[centre], 1.0).sum() == 6


@pytest.mark.parametrize("extent", [-1, 21, 2.5, True, "8"])
def test_a_bad_extent_is_refused(extent):
    with pytest.raises(ConfigError, match="extent: got"):
        optic_lobe(extent)


def test_the_notice_of_the_source_is_shipped():
    notice = resources.files("lobula.package_data").joinpath("NOTICE_optic_lobe.txt").read_text()
    assert "MIT License" in notice
    assert "Copyright (c) 2023 Lappalainen, Tschopp, McGill, Macke, Turaga" in notice


def test_published_size_is_built_fast():
    optic_lobe(8)
    begin = time.process_time()
    optic_lobe(8)
    assert time.process_time() - begin < 1.0
